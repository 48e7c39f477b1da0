"""A name typed by a user -> what builds the environment."""

from __future__ import annotations

import importlib.util
import inspect
import os
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from traceback import walk_tb
from types import ModuleType
from typing import Any

import gymnasium

from sfmarl.envs.adapters import adapted
from sfmarl.envs.pictures import draws_what_is_seen
from sfmarl.envs.single import SingleAgentEnv
from sfmarl.envs.stacking import stack_frames
from sfmarl.envs.turns import TurnEnv
from sfmarl.envs.vector import VectorEnv
from sfmarl.envs.vector_turns import TurnVectorEnv, require_seats
from sfmarl.errors import SfmarlError, UsageError, nearest

# pygame-based environments greet on stdout when they are imported
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")


@dataclass(frozen=True)
class Factory:
    """Builds environments of one name."""

    name: str
    """The name as the user gave it."""
    build: Callable[..., Any]
    """Called with the environment's keyword arguments; a vector factory with `num_envs` and `seeds` before them."""
    signature_of: Callable[..., Any]
    """Whose parameters are the accepted keyword arguments (behind `**kwargs` wrappers)."""
    extra: tuple[str, ...] = ()
    """Keyword arguments `build` takes besides."""

    @property
    def is_vector(self) -> bool:
        """Whether one call builds all envs of a split: its signature has `num_envs` and `seeds`."""
        return {"num_envs", "seeds"} <= set(_parameters(self.signature_of))

    def accepted(self) -> list[str] | None:
        """Return the accepted keyword arguments; None when the signature does not tell."""
        parameters = _parameters(self.signature_of)
        if not parameters or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
            return None
        return [name for name in dict.fromkeys((*parameters, *self.extra)) if name not in ("num_envs", "seeds")]

    def make(self, kwargs: Mapping[str, Any], error: type[SfmarlError] = UsageError, frame_stack: int = 1) -> Any:
        """Return one environment that shows `frame_stack` frames.

        It is a ParallelEnv (gymnasium environments are wrapped), an AECEnv or a TurnEnv. Where observations are
        pictures and `kwargs` name no `render_mode`, it is built with `rgb_array` if it offers that: some environments
        show their agents the screen, and draw on it only when they are to render (pistonball).

        Raises UsageError for keyword arguments it does not take and for what is no environment; `error` when the
        constructor raises.
        """
        env = self._call(kwargs, {}, error)
        if "render_mode" not in kwargs and "render_mode" in (self.accepted() or ()) and draws_what_is_seen(env):
            env.close()
            env = self._call({**kwargs, "render_mode": "rgb_array"}, {}, error)
        if isinstance(env, gymnasium.Env):
            env = SingleAgentEnv(env)
        if isinstance(env, TurnEnv):
            if frame_stack != 1:
                raise UsageError(f"{self.name} writes its own rows, so its frames are not stacked: frame_stack=1")
            return env
        if not all(callable(getattr(env, method, None)) for method in ("reset", "step", "observation_space")):
            raise UsageError(
                f"{self.name} built a {type(env).__name__}; expected a PettingZoo ParallelEnv or AECEnv, or a "
                "gymnasium.Env"
            )
        return stack_frames(env, frame_stack)

    def make_vector(self, num_envs: int, seeds: list[int], kwargs: Mapping[str, Any]) -> VectorEnv | TurnVectorEnv:
        """Return what a vector factory builds. Raises like `make`, and for what does not keep to its protocol."""
        env = self._call(kwargs, {"num_envs": num_envs, "seeds": seeds}, UsageError)
        if isinstance(env, TurnVectorEnv):
            require_seats(self.name, env.spec)
        elif not isinstance(env, VectorEnv):
            raise UsageError(
                f"{self.name} takes num_envs and seeds but built a {type(env).__name__}, which is neither a VectorEnv "
                "nor a TurnVectorEnv"
            )
        return env

    def _call(self, kwargs: Mapping[str, Any], ours: Mapping[str, Any], error: type[SfmarlError]) -> Any:
        """Build with the user's `kwargs` and `ours`."""
        accepted = self.accepted()
        for name in kwargs:
            if name in ours or (accepted is not None and name not in accepted):
                raise UsageError(self._unknown_kwarg(name, accepted))
        try:
            return self.build(**ours, **kwargs)
        except SfmarlError:
            raise
        except ModuleNotFoundError as raised:
            raise UsageError(_needs(self.name, raised.name or str(raised), raised)) from raised
        except Exception as raised:
            match = re.search(r"unexpected keyword argument '(\w+)'", str(raised))
            if isinstance(raised, TypeError) and match and match[1] in kwargs:
                raise UsageError(self._unknown_kwarg(match[1], accepted)) from raised
            given = ", ".join(f"{name}={value!r}" for name, value in kwargs.items()) or "no arguments"
            raise error(f"{self.name} could not be built with {given}: {type(raised).__name__}: {raised}") from raised

    def _unknown_kwarg(self, name: str, accepted: list[str] | None) -> str:
        takes = f" It takes {', '.join(accepted) or 'none'}.{nearest(name, accepted)}" if accepted is not None else ""
        return f"{self.name} takes no keyword argument {name!r}.{takes}"


def resolve(name: str, registered: Mapping[str, Callable[..., Any] | str]) -> Factory:
    """Return the factory of the environment called `name`; `registered` are the project's own names.

    Tried in this order: a registered name, an adapter's (`lbf/Foraging-8x8-2p-2f-coop-v3`), a PettingZoo registry id
    (`butterfly/pistonball-v6`), `module:callable`, a gymnasium id (`CartPole-v1`, `gymnasium:CartPole-v1`,
    `package:Its-v0`), a PettingZoo-style module (`mpe2.simple_spread_v3`). Where a module or id offers both APIs, all
    agents act at once; `module:env` has them take turns. Raises UsageError with the nearest names for anything else.
    """
    if name in registered:
        target = registered[name]
        factory = _attribute(name, *target.split(":")) if isinstance(target, str) else target
        return Factory(name, factory, factory)
    if (adapter := adapted(name)) is not None:
        return Factory(name, *adapter)
    if "/" in name and (found := _pettingzoo_id(name)) is not None:
        return found
    module, _, attribute = name.partition(":")
    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", name) and name not in gymnasium.registry:
        factory = _attribute(name, module, attribute)
        return Factory(name, factory, factory)
    if attribute or name in gymnasium.registry:
        return _gymnasium_id(name)
    if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+", name) or (name.isidentifier() and importlib.util.find_spec(name)):
        return _pettingzoo_module(name)
    known = {*registered, *gymnasium.registry, *pettingzoo_ids()}
    raise UsageError(
        f"there is no environment {name!r}.{nearest(name, known)} Give package.module (mpe2.simple_spread_v3), "
        "module:callable, or a registered name (`sfmarl list`); a file of yours that registers one goes with --imports."
    )


def pettingzoo_ids() -> list[str]:
    """Return the ids in PettingZoo's registries of parallel and turn-based environments (`classic/chess-v6`)."""
    parallel, turn_based = _pettingzoo_registries()
    return sorted({*parallel, *turn_based})


def sibling_modules(package: str) -> list[str]:
    """Return the versioned environment modules of `package` (`mpe2.simple_tag_v3`); empty when it is not installed."""
    try:
        path = importlib.import_module(package).__path__
    except (ImportError, AttributeError):
        return []
    return [f"{package}.{info.name}" for info in pkgutil.iter_modules(path) if re.search(r"_v\d+$", info.name)]


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return {}


def _import(name: str, module: str) -> ModuleType:
    """Import `module` for the environment `name`; UsageError when there is none or it fails."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if module != missing and not module.startswith(missing + "."):
            raise UsageError(_needs(name, missing, error)) from error
        raise UsageError(_no_module(name, module, missing, error)) from error
    except Exception as error:
        raise UsageError(f"{name}: importing {module} raised {type(error).__name__}: {error}") from error


_EXTRA_OF = {"magent2": "magent2", "supersuit": "supersuit", "shimmy": "openspiel", "pyspiel": "openspiel"}
"""Package -> the extra that installs it, where the environment's family does not say so."""
_FAMILIES = ("butterfly", "classic", "sisl")
"""PettingZoo's families that have an extra of their name here."""


def pettingzoo_extra(name: str) -> str:
    """Return what pip installs for an id of PettingZoo's registries: `sfmarl[classic]`, `pettingzoo[atari]`."""
    family = name.partition("/")[0]
    extras = f"{family},openspiel" if name.startswith("classic/hanabi") else family
    return f"sfmarl[{extras}]" if family in _FAMILIES else f"pettingzoo[{family}]"


def _needs(name: str, missing: str, error: ImportError) -> str:
    """Say which package is missing and what installs it: the extra of whoever imported it, where there is one.

    A user's own factory may wrap an environment of PettingZoo's, so the importer is read off the traceback.
    """
    importers = [str(frame.f_globals.get("__name__")) for frame, _ in walk_tb(error.__traceback__)]
    families = [m[1] for m in (re.match(rf"pettingzoo\.({'|'.join(_FAMILIES)})\b", who) for who in importers) if m]
    extra = _EXTRA_OF.get(missing) or (families[-1] if families else None)
    hint = f": pip install 'sfmarl[{extra}]'" if extra else ". Install what provides it beside sfmarl."
    return f"{name} needs the package {missing!r}, which is not installed{hint}"


def _no_module(name: str, module: str, missing: str, error: ImportError) -> str:
    """Say what is missing of `module`: the package, or a module or attribute inside it."""
    package, _, last = missing.rpartition(".")
    if missing == "magent2":
        return _needs(name, missing, error)
    if not package:
        return f"there is no environment {name!r}: no package {missing!r} is installed.{nearest(missing, ['mpe2'])}"
    try:
        parent = importlib.import_module(package)
    except Exception:
        return f"there is no environment {name!r}: {package} cannot be imported"
    if callable(getattr(parent, last, None)):
        return f"there is no module {module!r}. Did you mean '{package}:{last}'?"
    inside = [f"{package}.{info.name}" for info in pkgutil.iter_modules(getattr(parent, "__path__", []))]
    return f"there is no environment {name!r}: {package} has no module {last!r}.{nearest(missing, inside)}"


def _attribute(name: str, module: str, attribute: str) -> Callable[..., Any]:
    found: Any = _import(name, module)
    for part in attribute.split("."):
        names = [known for known in dir(found) if not known.startswith("_")]
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise UsageError(f"{name}: {module} has no {part!r}.{nearest(part, names)}") from error
    if not callable(found):
        raise UsageError(f"{name} is a {type(found).__name__}, not a callable that builds an environment")
    return found


def _pettingzoo_module(name: str) -> Factory:
    module = _import(name, name)
    for maker in ("parallel_env", "env", "raw_env"):
        if callable(build := getattr(module, maker, None)):
            return Factory(name, build, _behind_wrappers(build))
    inside = [f"{name}.{info.name}" for info in pkgutil.iter_modules(getattr(module, "__path__", []))]
    modules = [known for known in inside if re.search(r"_v\d+$", known)]
    hint = f" It holds {', '.join(modules)}." if modules else " Name what builds it as module:callable."
    raise UsageError(f"{name} has no parallel_env and no env, so it is no PettingZoo environment module.{hint}")


def _pettingzoo_id(name: str) -> Factory | None:
    """Return the factory of a PettingZoo registry id, None when the registry does not know it."""
    parallel, turn_based = _pettingzoo_registries()
    env_id = re.sub(r"_v(?=\d+$)", "-v", name)
    known = parallel if env_id in parallel else turn_based
    if env_id not in known:
        return None
    target = known[env_id].entry_point
    build = _attribute(name, *target.split(":")) if isinstance(target, str) else target
    return Factory(name, build, _behind_wrappers(build))


def _pettingzoo_registries() -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return PettingZoo's {id: spec} of parallel and of turn-based environments; empty before it had registries."""
    try:
        registration = importlib.import_module("pettingzoo.env_registry").registration
    except ImportError:
        return {}, {}
    return registration.parallel_registry, registration.aec_registry


def _behind_wrappers(build: Callable[..., Any]) -> Callable[..., Any]:
    """Return what has the real parameters: PettingZoo's `parallel_env` and `env(**kwargs)` pass them to a `raw_env`."""
    hidden = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in _parameters(build).values())
    if not hidden or not inspect.isfunction(build):
        return build
    seen = inspect.getclosurevars(build)
    candidates = (*seen.nonlocals.values(), seen.globals.get("raw_env"))
    inner = next((value for value in candidates if callable(value) and value is not build), None)
    return build if inner is None else _behind_wrappers(inner)


def _gymnasium_id(name: str) -> Factory:
    env_id = name.removeprefix("gymnasium:")
    package = env_id.partition(":")[0] if ":" in env_id else ""
    if package:
        _import(name, package)
    plain = env_id.rpartition(":")[2]
    if plain not in gymnasium.registry:
        raise UsageError(f"gymnasium has no environment {plain!r}.{nearest(plain, gymnasium.registry)}")

    def build(**kwargs: Any) -> gymnasium.Env:
        return gymnasium.make(plain, disable_env_checker=True, **kwargs)

    entry_point = gymnasium.registry[plain].entry_point
    creator = _attribute(name, *entry_point.split(":")) if isinstance(entry_point, str) else entry_point
    return Factory(name, build, creator, extra=("max_episode_steps", "render_mode"))
