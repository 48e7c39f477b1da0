"""The script as a turn-based game: agents move in turn, some pass, some never move, rewards come any time."""

from __future__ import annotations

import numpy as np
from script import choice, mask_of, script

from sfmarl.envs.turns import Turn
from sfmarl.specs import EnvSpec


def turn_reward(env: int, episode: int, clock: int, agent: int) -> float:
    """Return what `agent` earns when the clock of the game moves to `clock`: every agent, at everybody's turn."""
    return float((env * 7 + episode * 3 + clock * 5 + agent) % 11)


class ScriptedTurnEnv:
    """`length` rounds; in each round the agents that are not skipped move in order. The clock counts moves.

    An observation says [env, episode, clock, agent, moves of this agent so far]. With `quiet_agent`, that agent never
    moves in odd episodes. Every agent's death turn comes after the last move, as in PettingZoo.
    """

    def __init__(self, env_spec: EnvSpec, env: int, seed: int = 0, quiet_agent: int | None = None) -> None:
        self.spec = env_spec
        self.env, self.seed, self.quiet_agent = env, seed, quiet_agent
        self.episode = -1
        self._seat_of = [(s, i) for s, team in enumerate(env_spec.teams) for i in range(len(team.agents))]
        self.history: list[list[tuple[int, int]]] = []
        """Per episode: (agent, clock at which it moved)."""

    def _order(self) -> list[int]:
        plan = script(self.env, self.episode, 1, self.seed, deaths=False)
        rng = np.random.default_rng((self.seed, self.env, self.episode, 1))
        agents = range(len(self._seat_of))
        moves = [a for _ in range(plan.length) for a in agents if rng.random() < 0.8]
        if self.quiet_agent is not None and self.episode % 2:
            moves = [a for a in moves if a != self.quiet_agent]
        return moves

    @property
    def truncated(self) -> bool:
        return script(self.env, self.episode, 1, self.seed, deaths=False).truncated

    def reset(self, seed: int | None = None) -> None:
        self.episode += 1
        self.clock = 0
        self.moves = self._order()
        self.moved = [0] * len(self._seat_of)
        self.owed = [0.0] * len(self._seat_of)
        self.passing = list(range(len(self._seat_of)))
        self.history.append([])

    def turn(self) -> Turn | None:
        over = self.clock >= len(self.moves)
        if over and not self.passing:
            return None
        agent = self.passing[0] if over else self.moves[self.clock]
        seat, index = self._seat_of[agent]
        return Turn(seat, index, self.owed[agent], over and not self.truncated, over and self.truncated)

    def seen(self) -> np.ndarray:
        over = self.clock >= len(self.moves)
        agent = self.passing[0] if over else self.moves[self.clock]
        return np.array((self.env, self.episode, self.clock, agent, self.moved[agent]), np.float32)

    def observe(self, obs, action_mask, state) -> None:
        obs[...] = self.seen()
        action_mask[...] = mask_of(obs)
        if state is not None:
            state[...] = (self.episode, self.clock)

    def act(self, action) -> None:
        if self.clock >= len(self.moves):
            assert action is None
            self.passing.pop(0)
            return
        assert action == choice(self.seen()), f"a foreign action for {self.seen()}"
        agent = self.moves[self.clock]
        self.history[-1].append((agent, self.clock))
        self.owed[agent] = 0.0
        self.moved[agent] += 1
        self.clock += 1
        for other in range(len(self.owed)):
            self.owed[other] += turn_reward(self.env, self.episode, self.clock, other)

    def close(self) -> None:
        pass


def earned(env: int, episode: int, agent: int, first: int, last: int) -> float:
    """Return what the agent earned while the clock went from `first` (exclusive) to `last`."""
    return sum(turn_reward(env, episode, clock, agent) for clock in range(first + 1, last + 1))
