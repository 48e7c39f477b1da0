"""Looks at what an environment hands out, raw: observations beside their spaces, masks, state(), arrays, generators."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from gymnasium import spaces

from sfmarl.envs.checks.report import CheckReport
from sfmarl.envs.codec import MASK_KEY
from sfmarl.envs.leaves import leaves
from sfmarl.envs.probe import Probe
from sfmarl.specs import AgentId


class Inspector:
    """Remembers the first of each kind of finding; `conclude` puts them into words."""

    def __init__(self, probe: Probe) -> None:
        self._codecs = {
            agent: (team.name, codec)
            for team, codec in zip(probe.spec.teams, probe.codecs, strict=True)
            for agent in team.agents
        }
        self._needs_state = probe.spec.state_shape is not None or probe.spec.state_is_joint
        self._warnings: dict[Any, str] = {}
        self._problems: dict[Any, str] = {}
        self._held: list[tuple[AgentId, np.ndarray, np.ndarray]] = []
        self._state_shape: tuple[int, ...] | None = None
        self._stateless = False
        self.where = "reset"
        """Where the environment is, for the sentences."""

    @property
    def found_problems(self) -> bool:
        """Whether something was found that the trainer cannot work with."""
        return bool(self._problems)

    @property
    def found_anything(self) -> bool:
        """Whether there is anything to say."""
        return bool(self._warnings or self._problems)

    def warn(self, key: Any, sentence: str) -> None:
        """Keep a warning, unless there is one of that `key`."""
        self._warnings.setdefault(key, sentence)

    def refuse(self, key: Any, sentence: str) -> None:
        """Keep a problem, unless there is one of that `key`."""
        self._problems.setdefault(key, sentence)

    def conclude(self, report: CheckReport) -> None:
        """Add what was found."""
        report.add([], list(self._warnings.values()), list(self._problems.values()))

    def observation(self, agent: AgentId, raw: Any, space: spaces.Space) -> None:
        """Compare one observation with its space, part by part."""
        team, _ = self._codecs[agent]
        for path, leaf in leaves(space):
            if path[:1] == (MASK_KEY,):
                continue
            value = raw
            try:
                for key in path:
                    value = value[key]
            except (TypeError, KeyError, IndexError):
                # the codec says it better
                return
            name = f"observation {'.'.join(map(str, path))!r}" if path else "observation"
            self._compare(agent, (team, path), name, value, leaf)

    def _compare(self, agent: AgentId, key: Any, name: str, value: Any, leaf: spaces.Space) -> None:
        if not isinstance(leaf, spaces.Box):
            return
        if isinstance(value, np.ndarray | np.generic) and value.dtype != leaf.dtype:
            self.warn(
                ("dtype", key),
                f"agent {agent!r}: {name}s are {value.dtype}, declared {leaf.dtype}: converted at every step",
            )
        array = np.asarray(value)
        if array.shape != leaf.shape or array.dtype.kind not in "biuf":
            return
        if (outside := (array < leaf.low) | (array > leaf.high)).any():
            at = tuple(int(axis[0]) for axis in np.nonzero(outside))
            place = f" at {at[0] if len(at) == 1 else at}" if at else ""
            self.warn(
                ("bounds", key),
                f"agent {agent!r}: {name} outside its declared space ({self.where}): {array[at]:.6g}{place}, declared "
                f"{leaf.low[at]:.6g} to {leaf.high[at]:.6g}. It is stored as it is; the trainer does not clip",
            )

    def mask(self, agent: AgentId, raw: Any, info: Mapping[str, Any]) -> None:
        """Look at the agent's action mask, whose size and emptiness the codec checks."""
        _, codec = self._codecs[agent]
        if not (codec.obs.has_mask or codec.mask_in_info):
            return
        try:
            values = [number for part in _arrays(codec.mask_of(raw, info)) for number in np.unique(part)]
        except (TypeError, ValueError, KeyError, IndexError):
            return
        if odd := [value for value in values if value not in (0, 1)]:
            self.warn(
                ("mask", agent),
                f"agent {agent!r}: its action mask holds {odd[0]} ({self.where}); whatever is not zero counts as legal",
            )

    def hold(self, agent: AgentId, raw: Any) -> None:
        """Remember the arrays of an observation, to see whether they are left alone."""
        parts = raw.values() if isinstance(raw, Mapping) else raw if isinstance(raw, tuple) else (raw,)
        self._held += [(agent, part, part.copy()) for part in parts if isinstance(part, np.ndarray)]

    def release(self, by: str, keep: bool = False) -> None:
        """Look whether arrays that are held have changed, and forget them, unless `keep`.

        `by` says what may have changed them.
        """
        for agent, array, before in self._held:
            if not np.array_equal(array, before, equal_nan=array.dtype.kind == "f"):
                self.warn(
                    ("alias", by),
                    f"agent {agent!r}: the array of its observation is overwritten by {by}. The trainer copies every "
                    "observation before that; code of yours that keeps observations must copy them, too",
                )
                keep = False
                break
        if not keep:
            self._held.clear()

    def state(self, env: Any) -> None:
        """Look at `env.state()`, if there is one."""
        if self._stateless:
            return
        try:
            state = np.asarray(env.state())
        except Exception as error:
            if self._state_shape is None:
                self._stateless = True
            elif self._needs_state:
                self.refuse("state", f"state() raised {type(error).__name__}: {error} ({self.where}): this ends a run")
            return
        if self._state_shape is None:
            self._state_shape = state.shape
        if state.shape != self._state_shape:
            what = f"state() changes its shape from {self._state_shape} to {state.shape} ({self.where})"
            if self._needs_state:
                self.refuse("state", f"{what}: this ends a run. Pad it to one shape, or use --state-source joint")
            else:
                self.warn("state", f"{what}: it is not used, so a central critic is given observations")
        elif state.dtype.kind == "f" and not np.isfinite(state).all():
            self.refuse(
                "state finite",
                f"state() is not finite ({self.where}): a central critic could not learn a single update from it. "
                "Replace what is unknown, or use --state-source joint, or ippo or appo",
            )

    @contextmanager
    def global_generators(self, call: str) -> Iterator[None]:
        """Look whether what happens inside draws from generators that belong to the process, not to the environment."""
        before = _generator_states()
        try:
            yield
        finally:
            for name, state in _generator_states().items():
                if before.get(name, state) != state:
                    self.warn(
                        ("global", name),
                        f"{call} draws from {name}, which all environments of a process share and the trainer does not "
                        "seed: episodes depend on what other copies drew, so runs cannot be reproduced. Use "
                        "gymnasium.utils.seeding.np_random(seed) in reset()",
                    )


def _arrays(raw: Any) -> Iterator[np.ndarray]:
    """Yield the arrays of a mask, or of a tuple or dict of masks."""
    if isinstance(raw, Mapping):
        raw = tuple(raw.values())
    if isinstance(raw, tuple):
        for part in raw:
            yield from _arrays(part)
    elif raw is not None:
        yield np.asarray(raw)


def _generator_states() -> dict[str, Any]:
    # what is asked is whether somebody else uses the legacy generator
    _, keys, *position = np.random.get_state()  # noqa: NPY002
    states: dict[str, Any] = {
        "the global generator np.random": (keys.tobytes(), *position),
        "Python's global random module": random.getstate(),
    }
    if torch := sys.modules.get("torch"):
        states["torch's global generator"] = torch.get_rng_state().numpy().tobytes()
    return states
