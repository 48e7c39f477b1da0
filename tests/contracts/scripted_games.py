"""The script as a `TurnVectorEnv`: any number of seats, irregular orders of moves, rewards for all at any time."""

from __future__ import annotations

import numpy as np
from script import choice, mask_of, script
from scripted_turns import turn_reward

from sfmarl.envs.vector_turns import TurnOutcome
from sfmarl.specs import EnvSpec


class ScriptedGames:
    """Copies of a game of `length` rounds; in each round the seats that are not skipped move in order.

    Observations, rewards and orders are those of `ScriptedTurnEnv`, but that somebody moves in every episode. With
    `quiet_seat`, that seat never moves in odd episodes.
    """

    def __init__(self, env_spec: EnvSpec, envs, seed: int = 0, quiet_seat: int | None = None) -> None:
        """`envs` are the copies' numbers in the script."""
        self.spec = env_spec
        self.envs, self.seed, self.quiet_seat = list(envs), seed, quiet_seat
        self.num_envs, self.seats = len(self.envs), len(env_spec.teams)
        self.seat = np.zeros(self.num_envs, np.int64)
        self.episode = np.full(self.num_envs, -1)
        self.clock = np.zeros(self.num_envs, int)
        self.moved = np.zeros((self.num_envs, self.seats), int)
        self.order: list[list[int]] = [[] for _ in self.envs]
        self.history: list[list[list[tuple[int, int]]]] = [[] for _ in self.envs]
        """Per copy and episode: (seat, clock at which it moved)."""

    def plan(self, e: int):
        return script(self.envs[e], int(self.episode[e]), 1, self.seed, deaths=False)

    def reset(self, envs) -> None:
        for e in envs.tolist():
            self.episode[e] += 1
            rng = np.random.default_rng((self.seed, self.envs[e], self.episode[e], 1))
            moves = [s for _ in range(self.plan(e).length) for s in range(self.seats) if rng.random() < 0.6]
            if self.quiet_seat is not None and self.episode[e] % 2:
                moves = [s for s in moves if s != self.quiet_seat]
            self.order[e] = moves or [int(self.quiet_seat == 0)]
            self.clock[e] = self.moved[e] = 0
            self.seat[e] = self.order[e][0]
            self.history[e].append([])

    def seen(self, seat: int, e: int) -> np.ndarray:
        return np.array((self.envs[e], self.episode[e], self.clock[e], seat, self.moved[e, seat]), np.float32)

    def observe(self, seat, envs, obs, action_mask, state) -> None:
        for row, e in enumerate(envs.tolist()):
            over = self.clock[e] == len(self.order[e])
            assert self.plan(e).truncated if over else seat == self.order[e][self.clock[e]], "nobody is to look"
            obs[row] = self.seen(seat, e)
            action_mask[row] = mask_of(obs[row])
            if state is not None:
                state[row] = (self.episode[e], self.clock[e])

    def act(self, envs, actions) -> TurnOutcome:
        assert len(set(envs.tolist())) == len(envs) == len(actions)
        reward = np.zeros((len(envs), self.seats))
        over, cut = np.zeros((2, len(envs)), bool)
        for row, (e, action) in enumerate(zip(envs.tolist(), actions, strict=True)):
            seat = self.order[e][self.clock[e]]
            assert action == choice(self.seen(seat, e)), f"a foreign action for {self.seen(seat, e)}"
            self.history[e][-1].append((seat, int(self.clock[e])))
            self.moved[e, seat] += 1
            self.clock[e] += 1
            for other in range(self.seats):
                reward[row, other] = turn_reward(self.envs[e], int(self.episode[e]), int(self.clock[e]), other)
            ends = self.clock[e] == len(self.order[e])
            over[row], cut[row] = ends and not self.plan(e).truncated, ends and self.plan(e).truncated
            self.seat[e] = -7 if ends else self.order[e][self.clock[e]]
        return TurnOutcome(reward, over, cut)

    def close(self) -> None:
        pass


class History:
    """One copy's history, as `ScriptedTurnEnv` keeps its own."""

    def __init__(self, games: ScriptedGames, e: int) -> None:
        self.env, self.history = games.envs[e], games.history[e]
