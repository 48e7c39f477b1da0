"""The trivial dict environment as a native vector environment: what the data plane costs when stepping is free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sfmarl.envs.games import BANK, DictEnv
from sfmarl.envs.vector import ObsRows, OutcomeRows
from sfmarl.specs import ActionSpec, EnvSpec, ObsSpec, TeamSpec


class NativeDict:
    """E copies of `games/dict` (see `VectorEnv` for the contract); a copy's seed draws its bank, as there."""

    def __init__(self, num_envs: int, seeds: Sequence[int], **kwargs: Any) -> None:
        """`kwargs` are `DictEnv`'s."""
        self.num_envs = num_envs
        env = DictEnv(**kwargs)
        self._length = env.length
        self._obs, self._rewards, self._masks = _banks(env, seeds)
        self._t = np.zeros(num_envs, np.int64)
        team = TeamSpec(
            "agent",
            tuple(env.possible_agents),
            ObsSpec(env.box.shape, env.box.dtype),
            ActionSpec("discrete", (env.num_actions,), (0,)),
            has_mask=env.masks,
        )
        self.spec = EnvSpec("native/dict", (team,))

    def reset(self, envs: Sequence[int], out: Sequence[ObsRows]) -> None:
        """See `VectorEnv.reset`."""
        at, rows = np.asarray(envs, np.int64), out[0]
        self._t[at] = 0
        rows.obs[at] = self._obs[0, at]
        if rows.action_mask is not None:
            rows.action_mask[at] = self._masks[0, at]
        rows.active[at] = rows.is_first[at] = True

    def step(
        self,
        actions: Sequence[np.ndarray],
        running: np.ndarray,
        out: Sequence[ObsRows],
        outcome: Sequence[OutcomeRows],
    ) -> np.ndarray:
        """See `VectorEnv.step`."""
        rows, paid = out[0], outcome[0]
        everywhere = running.all()
        self._t[running] += 1
        # copies that began together are at the same place of their banks: whole blocks instead of rows
        together = everywhere and (self._t == self._t[0]).all()
        at: Any = slice(None) if everywhere else np.flatnonzero(running)
        place: Any = self._t[0] % BANK if together else (self._t[at] % BANK, np.arange(self.num_envs)[at])
        over = self._t[at] >= self._length
        rows.obs[at] = self._obs[place]
        paid.reward[at] = self._rewards[place]
        paid.terminated[at] = False
        paid.truncated[at] = over[:, None]
        rows.active[at] = ~over[:, None]
        rows.is_first[at] = False
        if rows.action_mask is not None:
            rows.action_mask[at] = self._masks[place] | over[:, None, None]
        ended = np.zeros(self.num_envs, bool)
        ended[at] = over
        return ended

    def close(self) -> None:
        """Nothing is held."""


def _banks(env: DictEnv, seeds: Sequence[int]) -> list[np.ndarray]:
    """Return observations [BANK, E, A, ...], rewards float32 [BANK, E, A] and masks bool [BANK, E, A, n]."""
    drawn = [zip(*env.draw(np.random.default_rng(seed)), strict=True) for seed in seeds]
    obs, rewards, masks = (np.stack([np.stack(part) for part in parts], axis=1) for parts in zip(*drawn, strict=True))
    return [obs, rewards.astype(np.float32), masks.astype(bool)]
