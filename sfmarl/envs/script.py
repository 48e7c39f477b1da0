"""Players that are Python callables: they act and never learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sfmarl.envs.rows import random_actions
from sfmarl.errors import RunError
from sfmarl.registry import Registry
from sfmarl.specs import TeamSpec

Act = Callable[[np.ndarray, np.ndarray | None, TeamSpec, np.random.Generator], Any]
"""(obs [B, A, *obs], action_mask bool [B, A, n] or None, team, rng) -> actions [B, A, *action], counted from zero."""


SCRIPTS: Registry[Act] = Registry("script")
"""Scripts by name."""


def register_script(name: str, act: Act, description: str = "") -> None:
    """Make a player known as `name`; UsageError if it is taken.

    `act(obs [B, A, *obs], action_mask, team, rng)` returns actions [B, A, *action], counted from zero. Other processes
    know the name if the module that registers it is among the run's `imports`.
    """
    SCRIPTS.register(name, act, description)


def random(obs: np.ndarray, action_mask: np.ndarray | None, team: TeamSpec, rng: np.random.Generator) -> np.ndarray:
    """Draw uniformly over legal actions; unbounded continuous ones from a standard normal."""
    return random_actions(team.action, obs.shape[:2], rng, action_mask)


def find_script(call: str) -> Act:
    """Return the callable that a registered name or `module:callable` names. Raises UsageError when there is none."""
    return SCRIPTS.find_callable(call)


register_script("random", random)


class ScriptedPlayer:
    """A callable in the place of a policy (the interface of `sfmarl.models.acting.Acting`)."""

    state_size = 0

    def __init__(self, call: str, team: TeamSpec, seed: int) -> None:
        """Raises UsageError when there is no such callable."""
        self._act = find_script(call)
        self._call, self._team = call, team
        self.generator = np.random.default_rng(seed)
        """What the callable is handed to draw from."""

    def act(
        self,
        obs: np.ndarray,
        action_mask: np.ndarray | None = None,
        agent_index: np.ndarray | None = None,
        greedy: bool = False,
        rnn_state: None = None,
        is_first: np.ndarray | None = None,
    ) -> tuple[np.ndarray, None]:
        """See `Acting.act`; `greedy` changes nothing. Raises RunError when the callable fails or answers wrongly."""
        action = self._team.action
        try:
            answer = np.asarray(self._act(obs, action_mask, self._team, self.generator))
        except Exception as error:
            raise RunError(f"script {self._call!r} raised {type(error).__name__}: {error}") from error
        expected = (*obs.shape[:2], *action.shape)
        if answer.shape != expected or not np.can_cast(answer.dtype, action.dtype, "same_kind"):
            raise RunError(
                f"script {self._call!r} returned {answer.dtype} {answer.shape}; team {self._team.name!r} needs "
                f"{action.dtype} {expected}: one action per row and agent."
            )
        if action.kind == "continuous":
            return answer.astype(np.float32, copy=False), None
        chosen = answer.reshape(*obs.shape[:2], len(action.nvec))
        if (chosen < 0).any() or (chosen >= np.array(action.nvec)).any():
            raise RunError(
                f"script {self._call!r} returned an action outside 0 to {[n - 1 for n in action.nvec]} "
                f"({int(chosen.min())} to {int(chosen.max())}); actions count from zero."
            )
        return answer.astype(action.dtype, copy=False), None

    def new_state(self, rows: int, agents: int) -> None:
        """See `Acting.new_state`: it remembers what it likes, but not for us."""
