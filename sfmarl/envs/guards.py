"""Native environments in a rollout: whatever they raise or write becomes an `EnvFault`, and they can be replaced.

One object steps all copies of a native environment, so that a fault of one copy loses the running episodes of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sfmarl.envs.infos import EpisodeInfos
from sfmarl.envs.leaves import all_finite
from sfmarl.envs.rebuild import RAISED, Rebuild
from sfmarl.envs.turns import ResumableTurns, Turn, TurnEnv
from sfmarl.envs.vector import Informative, ObsRows, OutcomeRows, Reporting, Resumable, VectorEnv
from sfmarl.envs.vector_turns import TurnOutcome, TurnVectorEnv
from sfmarl.errors import EnvFault, SfmarlError


def guard_vector(env: VectorEnv | TurnVectorEnv, rebuild: Rebuild) -> VectorEnv | TurnVectorEnv:
    """Return a native environment that is replaced when it fails."""
    return GuardedTurnVectorEnv(env, rebuild) if isinstance(env, TurnVectorEnv) else GuardedVectorEnv(env, rebuild)


class _Guarded:
    """What the guards of both vector protocols share."""

    def __init__(self, env: Any, rebuild: Rebuild) -> None:
        """`rebuild` is asked for a successor of `env`, which is all copies."""
        self.spec = env.spec
        self.num_envs: int = env.num_envs
        self._env, self._rebuild = env, rebuild

    @property
    def infos(self) -> EpisodeInfos | None:
        """See `Informative`."""
        return getattr(self._env, "infos", None)

    def _replace(self, fault: EnvFault) -> None:
        infos = self.infos
        self._env, _ = self._rebuild(self._env, range(self.num_envs), fault)
        if isinstance(self._env, Reporting):
            self._env.infos = infos

    def _failure(self, what: str, error: BaseException) -> EnvFault:
        said = str(error) if isinstance(error, SfmarlError) else f"{what} raised {type(error).__name__}: {error}"
        return EnvFault(f"{self.spec.env}: {said}")

    def _bad(self, rows: np.ndarray, envs: np.ndarray, team: int, what: str) -> EnvFault:
        """Return the fault of the first number in a team's rows [n, ...] of `envs` that is NaN or infinite."""
        place = tuple(int(axis[0]) for axis in np.nonzero(~np.isfinite(rows)))
        who = f", {self.spec.teams[team].name}" if what != "state" else ""
        return EnvFault(f"{self.spec.env}, copy {envs[place[0]]}{who}: {what}: {rows[place]}; it must be finite")

    def generator_states(self) -> list[dict[str, Any] | None]:
        """See `Resumable`."""
        return self._env.generator_states() if isinstance(self._env, Resumable) else [None] * self.num_envs

    def restore_generators(self, states: Sequence[dict[str, Any] | None]) -> None:
        """See `Resumable`."""
        if isinstance(self._env, Resumable):
            self._env.restore_generators(states)

    def close(self) -> None:
        """See `VectorEnv.close`. Raises EnvFault."""
        try:
            self._env.close()
        except RAISED as error:
            raise self._failure("close()", error) from error


class GuardedVectorEnv(_Guarded):
    """A native `VectorEnv` (see there for the contract, and `Rebuilt`)."""

    def __init__(self, env: VectorEnv, rebuild: Rebuild) -> None:
        """See _Guarded."""
        super().__init__(env, rebuild)
        self.failed: list[int] = []
        self._all = np.arange(env.num_envs)

    def reset(self, envs: Sequence[int], out: Sequence[ObsRows]) -> None:
        """See `VectorEnv.reset`. Raises EnvFault when it fails for good."""
        self.failed = []
        envs = np.asarray(envs)
        while True:
            try:
                self._env.reset(envs, out)
                fault = self._look(envs, out, ())
            except RAISED as error:
                fault = self._failure("reset()", error)
                fault.__cause__ = error
            if fault is None:
                return
            self._replace(fault)
            self.failed = np.setdiff1d(self._all, envs).tolist()

    def step(
        self,
        actions: Sequence[np.ndarray],
        running: np.ndarray,
        out: Sequence[ObsRows],
        outcome: Sequence[OutcomeRows],
    ) -> np.ndarray:
        """See `VectorEnv.step`. Raises EnvFault when it fails for good."""
        self.failed = []
        try:
            ended = self._env.step(actions, running, out, outcome)
            # anything may stand where envs are not running
            fault = self._look(self._all if running.all() else np.flatnonzero(running), out, outcome)
        except RAISED as error:
            fault = self._failure("step()", error)
            fault.__cause__ = error
        if fault is None:
            return ended
        self._replace(fault)
        self.failed = np.flatnonzero(running).tolist()
        return np.zeros(self.num_envs, bool)

    def _look(self, envs: np.ndarray, out: Sequence[ObsRows], outcome: Sequence[OutcomeRows]) -> EnvFault | None:
        """Return what is wrong with the rows of `envs`; None when every number is finite."""
        whole = len(envs) == self.num_envs
        for team, rows in enumerate(out):
            views = [("observation", rows.obs), ("state", rows.state)]
            if outcome:
                views.append(("reward", outcome[team].reward))
            for what, array in views:
                if array is None or array.dtype.kind != "f":
                    continue
                of_envs = array if whole else array[envs]
                if not all_finite(of_envs):
                    return self._bad(of_envs, envs, team, what)
        return None


class GuardedTurnVectorEnv(_Guarded):
    """A native `TurnVectorEnv` (see there for the contract). Every method raises EnvFault when the game fails."""

    @property
    def seat(self) -> np.ndarray:
        """See `TurnVectorEnv.seat`."""
        return self._env.seat

    def reset(self, envs: np.ndarray) -> None:
        """See `TurnVectorEnv.reset`."""
        try:
            self._env.reset(envs)
        except RAISED as error:
            raise self._failure("reset()", error) from error

    def observe(
        self, seat: int, envs: np.ndarray, obs: np.ndarray, action_mask: np.ndarray | None, state: np.ndarray | None
    ) -> None:
        """See `TurnVectorEnv.observe`."""
        try:
            self._env.observe(seat, envs, obs, action_mask, state)
        except RAISED as error:
            raise self._failure("observe()", error) from error
        for what, array in (("observation", obs), ("state", state)):
            if array is not None and array.dtype.kind == "f" and not all_finite(array):
                raise self._bad(array, envs, seat, what)

    def act(self, envs: np.ndarray, actions: np.ndarray) -> TurnOutcome:
        """See `TurnVectorEnv.act`."""
        try:
            outcome = self._env.act(envs, actions)
        except RAISED as error:
            raise self._failure("act()", error) from error
        if not all_finite(outcome.reward):
            seat = int(np.nonzero(~np.isfinite(outcome.reward))[1][0])
            raise self._bad(outcome.reward, envs, seat, "reward")
        return outcome

    def rebuild(self, fault: EnvFault) -> None:
        """Replace all copies; each has to be reset. Raises RunError when they must not be."""
        self._replace(fault)


class GuardedTurnEnv:
    """A `TurnEnv` that writes its rows itself (see there for the contract). Every method raises EnvFault."""

    def __init__(self, env: TurnEnv, copy: int, rebuild: Rebuild) -> None:
        """`copy` is its number among its likes."""
        self.spec = env.spec
        self._env, self._copy, self._rebuild = env, copy, rebuild

    @property
    def infos(self) -> EpisodeInfos | None:
        """See `Informative`."""
        return getattr(self._env, "infos", None)

    def reset(self, seed: int | None = None) -> None:
        """See `TurnEnv.reset`."""
        self._call("reset()", self._env.reset, seed)

    def turn(self) -> Turn | None:
        """See `TurnEnv.turn`."""
        turn = self._call("turn()", self._env.turn)
        if turn is not None and not np.isfinite(turn.reward):
            raise EnvFault(f"{self._who()}: turn(): reward {turn.reward}; it must be finite", self._copy)
        return turn

    def observe(self, obs: np.ndarray, action_mask: np.ndarray | None, state: np.ndarray | None) -> None:
        """See `TurnEnv.observe`."""
        self._call("observe()", self._env.observe, obs, action_mask, state)
        for what, array in (("observation", obs), ("state", state)):
            if array is not None and array.dtype.kind == "f" and not all_finite(array):
                raise EnvFault(f"{self._who()}: observe(): the {what} must be finite", self._copy)

    def act(self, action: np.ndarray | None) -> None:
        """See `TurnEnv.act`."""
        self._call("act()", self._env.act, action)

    def rebuild(self, fault: EnvFault) -> int:
        """See `RebuiltTurns`."""
        infos = self.infos
        self._env, (seed,) = self._rebuild(self._env, [self._copy], fault)
        if isinstance(self._env, Informative):
            self._env.infos = infos
        return seed

    def generator_state(self) -> dict[str, Any] | None:
        """See `ResumableTurns`."""
        return self._env.generator_state() if isinstance(self._env, ResumableTurns) else None

    def restore_generator(self, state: dict[str, Any] | None) -> None:
        """See `ResumableTurns`."""
        if isinstance(self._env, ResumableTurns):
            self._env.restore_generator(state)

    def close(self) -> None:
        """See `TurnEnv.close`."""
        self._call("close()", self._env.close)

    def _who(self) -> str:
        return f"{self.spec.env}, copy {self._copy}"

    def _call(self, what: str, method: Any, *args: Any) -> Any:
        try:
            return method(*args)
        except RAISED as error:
            raise EnvFault(f"{self._who()}: {what} raised {type(error).__name__}: {error}", self._copy) from error
