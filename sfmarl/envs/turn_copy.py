"""One copy of a `TurnVectorEnv` as a `TurnEnv`, for whoever looks at single games."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sfmarl.envs.turns import Turn
from sfmarl.envs.vector import Resumable
from sfmarl.envs.vector_turns import Drawn, TurnVectorEnv
from sfmarl.errors import UsageError

_COPY = np.zeros(1, np.int64)


class TurnCopy:
    """A game of its own (see `TurnEnv` for the contract). Once it is over, every seat is passed in its order."""

    def __init__(self, build: Callable[[int], TurnVectorEnv]) -> None:
        """`build(seed)` returns a `TurnVectorEnv` of one copy; it is built anew when `reset` is given a seed."""
        self._build = build
        self._env = build(0)
        self.spec = self._env.spec
        self._owed = np.zeros(len(self.spec.teams))
        self._passing: list[int] = []
        self._terminated = self._truncated = False
        self._restored: dict[str, Any] | None = None

    def reset(self, seed: int | None = None) -> None:
        """See `TurnEnv.reset`."""
        if seed is not None:
            self._env.close()
            self._env = self._build(seed)
            if isinstance(self._env, Resumable):
                self._env.restore_generators([self._restored])
        self._env.reset(_COPY)
        self._owed[:] = 0
        self._passing = []
        self._terminated = self._truncated = False

    def turn(self) -> Turn | None:
        """See `TurnEnv.turn`."""
        over = self._terminated or self._truncated
        if over and not self._passing:
            return None
        seat = self._passing[0] if over else int(self._env.seat[0])
        return Turn(seat, 0, float(self._owed[seat]), self._terminated, self._truncated)

    def observe(self, obs: np.ndarray, action_mask: np.ndarray | None, state: np.ndarray | None) -> None:
        """See `TurnEnv.observe`."""
        seat = self._passing[0] if self._passing else int(self._env.seat[0])
        rows = (None if row is None else row[None] for row in (obs, action_mask, state))
        self._env.observe(seat, _COPY, *rows)
        if self._passing and action_mask is not None:
            action_mask[...] = True

    def act(self, action: np.ndarray | None) -> None:
        """See `TurnEnv.act`."""
        if action is None:
            self._passing.pop(0)
            return
        self._owed[self._env.seat[0]] = 0
        outcome = self._env.act(_COPY, np.asarray(action)[None])
        self._owed += outcome.reward[0]
        self._terminated, self._truncated = bool(outcome.terminated[0]), bool(outcome.truncated[0])
        if self._terminated or self._truncated:
            self._passing = list(range(len(self._owed)))

    def render(self) -> Any:
        """Return what the game draws. Raises UsageError when it draws nothing."""
        if not isinstance(self._env, Drawn):
            raise UsageError(f"{self.spec.env} cannot render: it is a native turn-based environment.")
        return self._env.render(0)

    def generator_state(self) -> dict[str, Any] | None:
        """See `ResumableTurns`."""
        return self._env.generator_states()[0] if isinstance(self._env, Resumable) else None

    def restore_generator(self, state: dict[str, Any] | None) -> None:
        """See `ResumableTurns`."""
        self._restored = state

    def close(self) -> None:
        """Close the game."""
        self._env.close()
