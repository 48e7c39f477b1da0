"""Environments by name: register, list, look at, and build a batch of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from sfmarl.config import Config
from sfmarl.envs.adapters import examples
from sfmarl.envs.aec import AecTurnEnv
from sfmarl.envs.guards import GuardedTurnEnv, guard_vector
from sfmarl.envs.infos import OUTCOME, EpisodeInfos, InfoMetric, parse_info_metrics, with_outcome
from sfmarl.envs.mpe import SCENARIOS
from sfmarl.envs.parallel import ParallelVectorEnv
from sfmarl.envs.probe import Probe, probe
from sfmarl.envs.probe_turns import probe_turns
from sfmarl.envs.rebuild import RAISED, Rebuild, Rebuilder
from sfmarl.envs.resolve import Factory, pettingzoo_extra, pettingzoo_ids, resolve, sibling_modules
from sfmarl.envs.turn_copy import TurnCopy
from sfmarl.envs.turns import TurnEnv
from sfmarl.envs.vector import Reporting, VectorEnv
from sfmarl.envs.vector_turns import TurnVectorEnv
from sfmarl.errors import RunError, UsageError, nearest
from sfmarl.registry import Registry
from sfmarl.specs import EnvSpec

ENVS: Registry[Callable[..., Any] | str] = Registry("environment")
"""Factories, or where they are (`module:callable`), by name."""


def register_env(name: str, factory: Callable[..., Any] | str, description: str = "") -> None:
    """Register `factory` (a callable or "module:callable") as the environment called `name`.

    It is called with the environment's keyword arguments and returns a ParallelEnv, an AECEnv, a TurnEnv or a
    gymnasium.Env; or, when its signature has `num_envs` and `seeds`, with those too, and returns a VectorEnv or a
    TurnVectorEnv. Worker processes know the name if the module that registers it is among the run's `imports`.
    Raises UsageError when the name is taken by another factory.
    """
    ENVS.register(name, factory, description)


def list_envs() -> list[tuple[str, str]]:
    """Return (name, description): registered names, one per adapter, then what installed PettingZoo packages offer."""
    found: list[tuple[str, str]] = sorted(ENVS.entries()) + examples()
    found += [(name, "MPE2 particle world") for name in sibling_modules("mpe2")]
    found += [(name, f"PettingZoo (pip install '{pettingzoo_extra(name)}')") for name in pettingzoo_ids()]
    return found


def is_native(name: str) -> bool:
    """Return whether the environment called `name` steps all its copies at once itself. Raises UsageError."""
    return resolve(name, ENVS).is_vector


def load_spec(config: Config) -> EnvSpec:
    """Return what the environment of `config` looks like. Builds one and closes it.

    Raises UsageError when the environment cannot be found, built, or trained on.
    """
    factory = resolve(config.env, ENVS)
    if factory.is_vector:
        env = _build_vector(factory, config, 1, [0])
        _close(config, env)
        return env.spec
    return probe_env(config).spec


def probe_env(config: Config) -> Probe:
    """Build one environment of `config`, look at it for a few steps and close it. Raises like `load_spec`.

    There are no codecs when it is a TurnEnv, which writes its rows itself.
    """
    env = make_env(config)
    try:
        if isinstance(env, TurnEnv):
            _require_auto_teams(config, env.spec, "native turn-based")
            found = Probe(replace(env.spec, env=config.env), ())
        else:
            # what sets an AECEnv apart: agents are iterated over, one at a time
            look = probe_turns if hasattr(env, "agent_iter") else probe
            found = look(env, config.env, config.teams)
    except BaseException:
        with contextlib.suppress(Exception):
            env.close()
        raise
    _close(config, env)
    return found


def make_env(config: Config, render_mode: str | None = None) -> Any:
    """Return one ParallelEnv, AECEnv or TurnEnv of `config`.

    Raises UsageError for a name of a native vector env, and like `load_spec`.
    """
    factory = resolve(config.env, ENVS)
    if factory.is_vector:
        raise UsageError(f"{config.env} steps many environments at once; it has no single environment to build")
    return factory.make(_kwargs(config, render_mode), frame_stack=config.frame_stack)


def make_envs(
    config: Config,
    num_envs: int,
    seeds: Sequence[int],
    render_mode: str | None = None,
    found: Probe | None = None,
    rebuilder: Rebuilder | None = None,
    built: Callable[[], object] | None = None,
) -> VectorEnv | TurnVectorEnv | list[TurnEnv]:
    """Return `num_envs` copies of the environment of `config` as the data plane steps them.

    All agents act at once: one VectorEnv; agents take turns in a native game: one TurnVectorEnv. `seeds[e]` goes to the
    first reset of copy e, later resets continue its own random stream. Agents take turns in other environments: a list
    of TurnEnvs, whose first resets the caller gives their seeds. `render_mode` goes to the constructor; `found` is what
    `probe_env` said, if somebody has asked it before. With a `rebuilder` environments that fail are replaced
    (`Rebuilt`, `RebuiltTurns`), without it they raise. `built` is called after every single copy. Raises UsageError
    like `load_spec`, RunError when a further copy cannot be built.
    """
    if len(seeds) != num_envs:
        raise ValueError(f"{num_envs} envs need as many seeds, got {len(seeds)}")
    factory = resolve(config.env, ENVS)
    if factory.is_vector:

        def build(seeds: list[int]) -> VectorEnv | TurnVectorEnv:
            return _build_vector(factory, config, num_envs, seeds, render_mode)

        env = build(list(seeds))
        return env if rebuilder is None else guard_vector(env, partial(rebuilder.rebuild, build))
    found = found or probe_env(config)
    wanted = parse_info_metrics(config.info_metrics)
    if wanted and not found.codecs:
        raise UsageError(f"{config.env} writes its own rows and has no infos: leave out info_metrics")
    if config.league is not None and found.codecs:
        wanted = with_outcome(wanted)
    infos = EpisodeInfos(wanted, found.spec, num_envs) if wanted else None
    envs = _copies(factory, config, num_envs, render_mode, built)
    rebuild: Rebuild | None = None
    if rebuilder is not None:
        kwargs = _kwargs(config, render_mode)
        rebuild = partial(rebuilder.rebuild, lambda _: factory.make(kwargs, RunError, config.frame_stack))
    if not found.spec.turn_based:
        return ParallelVectorEnv(envs, list(seeds), found.spec, found.codecs, infos, rebuild)
    if found.codecs:
        return [AecTurnEnv(env, copy, found.spec, found.codecs, infos, rebuild) for copy, env in enumerate(envs)]
    for env in envs:
        env.spec = found.spec
    return envs if rebuild is None else [GuardedTurnEnv(env, copy, rebuild) for copy, env in enumerate(envs)]


def make_vector_env(
    config: Config, num_envs: int, seeds: Sequence[int], render_mode: str | None = None, found: Probe | None = None
) -> VectorEnv:
    """Return `make_envs` of an environment whose agents act at once. Raises UsageError when they take turns."""
    envs = make_envs(config, num_envs, seeds, render_mode, found)
    if isinstance(envs, list | TurnVectorEnv):
        raise UsageError(f"{config.env} is turn-based: its agents do not act at once")
    return envs


def make_turn_envs(config: Config, num_envs: int, found: Probe | None = None) -> list[TurnEnv]:
    """Return single games of an environment whose agents take turns. Raises UsageError when they act at once."""
    factory = resolve(config.env, ENVS)
    if factory.is_vector and load_spec(config).turn_based:
        return [TurnCopy(lambda seed: _build_vector(factory, config, 1, [seed])) for _ in range(num_envs)]
    envs = make_envs(config, num_envs, range(num_envs), found=found)
    if not isinstance(envs, list):
        envs.close()
        raise UsageError(f"{config.env} is not turn-based: all its agents act at once")
    return envs


def _close(config: Config, env: Any) -> None:
    """Close what was only looked at. Raises UsageError."""
    try:
        env.close()
    except RAISED as error:
        raise UsageError(f"{config.env} failed in close(): {error!r}") from error


def _copies(
    factory: Factory, config: Config, num_envs: int, render_mode: str | None, built: Callable[[], object] | None
) -> list[Any]:
    kwargs = _kwargs(config, render_mode)
    envs: list[Any] = []
    try:
        for _ in range(num_envs):
            envs.append(factory.make(kwargs, RunError, config.frame_stack))
            if built is not None:
                built()
    except BaseException:
        for env in envs:
            with contextlib.suppress(*RAISED):
                env.close()  # why there is no further copy is what must be told
        raise
    return envs


def _kwargs(config: Config, render_mode: str | None) -> dict[str, Any]:
    return dict(config.env_kwargs) if render_mode is None else {**config.env_kwargs, "render_mode": render_mode}


def _build_vector(
    factory: Factory, config: Config, num_envs: int, seeds: list[int], render_mode: str | None = None
) -> VectorEnv | TurnVectorEnv:
    if render_mode is not None and "render_mode" not in (factory.accepted() or ()):
        raise UsageError(f"{config.env} is a native vector environment, which cannot render")
    env = factory.make_vector(num_envs, seeds, _kwargs(config, render_mode))
    _require_auto_teams(config, env.spec, "native vector")
    if config.frame_stack != 1:
        raise UsageError(f"{config.env} is a native vector environment, whose frames are not stacked: frame_stack=1")
    env.spec = replace(env.spec, env=config.env)
    wanted = parse_info_metrics(config.info_metrics)
    if config.league is not None and isinstance(env, Reporting) and OUTCOME in env.info_keys:
        wanted = with_outcome(wanted)
    if wanted:
        _collect_infos(config, env, wanted)
    return env


def _collect_infos(config: Config, env: VectorEnv | TurnVectorEnv, wanted: Sequence[InfoMetric]) -> None:
    if not isinstance(env, Reporting):
        raise UsageError(f"{config.env} is a native vector environment, which has no infos: leave out info_metrics")
    for key in (metric.key for metric in wanted):
        if key not in env.info_keys:
            raise UsageError(
                f"info_metrics: {config.env} has no info {key!r}.{nearest(key, env.info_keys)} "
                f"It has {', '.join(env.info_keys)}."
            )
    env.infos = EpisodeInfos(wanted, env.spec, env.num_envs)


def _require_auto_teams(config: Config, spec: EnvSpec, kind: str) -> None:
    if config.teams != "auto":
        teams = ", ".join(team.name for team in spec.teams)
        raise UsageError(f"{config.env} is a {kind} environment with fixed teams ({teams}): use teams=auto")


register_env("native/connect_four", "sfmarl.envs.board.connect_four:ConnectFour", "Connect Four, many games at once")
register_env("native/tic_tac_toe", "sfmarl.envs.board.tic_tac_toe:TicTacToe", "tic-tac-toe, many games at once")
for _module, _where in SCENARIOS.items():
    _name = _module.rpartition("_")[0]
    register_env(f"native/{_name}", f"sfmarl.envs.mpe.{_where}", f"mpe2 {_module}, vectorised in NumPy")
register_env("games/dict", "sfmarl.envs.games:DictEnv", "trivial dict environment for throughput measurements")
register_env("native/dict", "sfmarl.envs.native_dict:NativeDict", "games/dict, many copies at once")
register_env("native/rock_paper_scissors", "sfmarl.envs.matrix.games:RockPaperScissors", "rps_v2, many copies at once")
register_env("native/prisoners_dilemma", "sfmarl.envs.matrix.games:PrisonersDilemma", "iterated, many copies at once")
register_env("native/matching_pennies", "sfmarl.envs.matrix.games:MatchingPennies", "repeated, many copies at once")
register_env("native/circle", "sfmarl.envs.matrix.games:Circle", "cyclic circle game, many copies at once")
register_env("native/matrix_game", "sfmarl.envs.matrix.games:MatrixGame", "repeated game of two, payoff as JSON lists")
register_env("games/climbing", "sfmarl.envs.games:climbing", "climbing game, repeated 25 times, common reward")
register_env("games/recall", "sfmarl.envs.recall:Recall", "memory game: say at the end what was shown at the beginning")
register_env("games/penalty", "sfmarl.envs.games:penalty", "penalty game (k), repeated 25 times, common reward")
