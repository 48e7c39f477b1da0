"""Environments by name: register, list, look at, and build a batch of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sfmarl.config import Config
from sfmarl.envs.parallel import ParallelVectorEnv
from sfmarl.envs.probe import Probe, probe
from sfmarl.envs.resolve import Factory, pettingzoo_ids, resolve, sibling_modules
from sfmarl.envs.vector import VectorEnv
from sfmarl.errors import RunError, UsageError
from sfmarl.specs import EnvSpec

_factories: dict[str, Callable[..., Any] | str] = {}
_descriptions: dict[str, str] = {}


def register_env(name: str, factory: Callable[..., Any] | str, description: str) -> None:
    """Register `factory` (a callable or "module:callable") as the environment called `name`.

    It is called with the environment's keyword arguments and returns a ParallelEnv or a gymnasium.Env; or, when its
    signature has `num_envs` and `seeds`, with those too, and returns a VectorEnv. Worker processes import a name anew:
    a factory that only the main script knows must be named `module:callable` instead.
    Raises UsageError when the name is taken by another factory.
    """
    if _factories.get(name, factory) != factory:
        raise UsageError(f"an environment called {name!r} is registered already")
    _factories[name] = factory
    _descriptions[name] = description


def list_envs() -> list[tuple[str, str]]:
    """Return (name, description): registered names, then what installed PettingZoo packages offer."""
    found = sorted(_descriptions.items())
    found += [(name, "MPE2 particle world") for name in sibling_modules("mpe2")]
    found += [(name, f"PettingZoo (pip install 'pettingzoo[{name.split('/')[0]}]')") for name in pettingzoo_ids()]
    return found


def is_native(name: str) -> bool:
    """Return whether the environment called `name` implements the vector protocol itself. Raises UsageError."""
    return resolve(name, _factories).is_vector


def load_spec(config: Config) -> EnvSpec:
    """Return what the environment of `config` looks like. Builds one and closes it.

    Raises UsageError when the environment cannot be found, built, or trained on.
    """
    factory = resolve(config.env, _factories)
    if factory.is_vector:
        env = _build_vector(factory, config, 1, [0])
        spec = env.spec
        env.close()
        return spec
    return probe_env(config).spec


def probe_env(config: Config) -> Probe:
    """Build one ParallelEnv of `config`, look at it for a few steps and close it. Raises like `load_spec`."""
    env = make_env(config)
    try:
        return probe(env, config.env, config.teams)
    finally:
        env.close()


def make_env(config: Config, render_mode: str | None = None) -> Any:
    """Return one ParallelEnv of `config`. Raises UsageError for a name of a native vector env, and like `load_spec`."""
    factory = resolve(config.env, _factories)
    if factory.is_vector:
        raise UsageError(f"{config.env} steps many environments at once; it has no single environment to build")
    return factory.make(_kwargs(config, render_mode))


def make_vector_env(config: Config, num_envs: int, seeds: Sequence[int], render_mode: str | None = None) -> VectorEnv:
    """Return `num_envs` copies of the environment of `config` behind the vector protocol.

    `seeds[e]` goes to the first reset of copy e; later resets continue its own random stream. `render_mode` goes to the
    constructor. Raises UsageError like `load_spec`, RunError when a further copy cannot be built.
    """
    if len(seeds) != num_envs:
        raise ValueError(f"{num_envs} envs need as many seeds, got {len(seeds)}")
    factory = resolve(config.env, _factories)
    if factory.is_vector:
        if render_mode is not None:
            raise UsageError(f"{config.env} is a native vector environment, which cannot render")
        return _build_vector(factory, config, num_envs, list(seeds))
    found = probe_env(config)
    kwargs = _kwargs(config, render_mode)
    envs: list[Any] = []
    try:
        for _ in range(num_envs):
            envs.append(factory.make(kwargs, RunError))
    except BaseException:
        for env in envs:
            env.close()
        raise
    return ParallelVectorEnv(envs, list(seeds), found.spec, found.codecs)


def _kwargs(config: Config, render_mode: str | None) -> dict[str, Any]:
    return dict(config.env_kwargs) if render_mode is None else {**config.env_kwargs, "render_mode": render_mode}


def _build_vector(factory: Factory, config: Config, num_envs: int, seeds: list[int]) -> VectorEnv:
    env = factory.make_vector(num_envs, seeds, config.env_kwargs)
    if config.teams != "auto":
        teams = ", ".join(team.name for team in env.spec.teams)
        raise UsageError(f"{config.env} is a native vector environment with fixed teams ({teams}): use teams=auto")
    env.spec = replace(env.spec, env=config.env)
    return env


register_env("native/simple_spread", "sfmarl.envs.spread:SimpleSpread", "mpe2 simple_spread_v3, vectorised in NumPy")
register_env("games/dict", "sfmarl.envs.games:DictEnv", "trivial dict environment for throughput measurements")
register_env("games/climbing", "sfmarl.envs.games:climbing", "climbing game, repeated 25 times, common reward")
register_env("games/recall", "sfmarl.envs.recall:Recall", "memory game: say at the end what was shown at the beginning")
register_env("games/penalty", "sfmarl.envs.games:penalty", "penalty game (k), repeated 25 times, common reward")
