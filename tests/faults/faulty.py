"""Environments that fail at a place that is asked for, in all the given ways in turn, for whole runs."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv, ParallelEnv

from sfmarl.envs.native_dict import NativeDict
from sfmarl.envs.vector_turns import TurnOutcome
from sfmarl.specs import ActionSpec, EnvSpec, ObsSpec, TeamSpec

COUNTS: dict[str, int] = {"failed": 0, "close": 0, "reset": 0, "step": 0, "due": 0}
"""How often something was called since the test began, by all copies in this process."""

SEEDS: list[int] = []
SUCCESSORS: list[int] = []
"""How many had failed whenever one was built, once one had failed."""


def begin() -> None:
    """Forget what earlier runs did."""
    COUNTS.update(dict.fromkeys(COUNTS, 0))
    SEEDS.clear()
    SUCCESSORS.clear()


class Faulty:
    """When and how it fails: `place` is reset, step or close; `every` counts the calls of all copies in a process."""

    def __init__(self, place: str, ways: str, every: int, looks: int = 0) -> None:
        """`ways` are words, separated by commas: raise, exit, or what the environment makes of them.

        For its first `looks` steps it is alright: it may be one that is only looked at.
        """
        self.place, self.ways, self.every = place, ways.split(","), every
        self.steps, self.looks = 0, looks
        if COUNTS["failed"]:
            SUCCESSORS.append(COUNTS["failed"])

    def now(self, counter: str) -> str | None:
        """Count a call; return how it is to fail, if it is; raises where that is the way."""
        COUNTS[counter] += 1
        self.steps += counter == "step"
        if self.place != counter or self.steps < self.looks or COUNTS[counter] < COUNTS["due"]:
            return None
        COUNTS["due"] = COUNTS[counter] + self.every
        way = self.ways[COUNTS["failed"] % len(self.ways)]
        COUNTS["failed"] += 1
        if way == "raise":
            raise FloatingPointError(f"the physics exploded in {counter}")
        if way == "exit":
            raise SystemExit(3)
        return way


class Together(ParallelEnv):
    """Two agents that see three numbers and their common state for 10 steps."""

    metadata: ClassVar[dict[str, Any]] = {"name": "together"}

    def __init__(self, place="", ways="raise", every=50) -> None:
        self.possible_agents = ["agent_0", "agent_1"]
        self.render_mode = None
        self.np_random = np.random.default_rng()
        self.faulty = Faulty(place, ways, every, looks=30)

    def observation_space(self, agent):
        return spaces.Box(-1, 1, (3,), np.float32)

    def action_space(self, agent):
        return spaces.Discrete(3)

    def state(self):
        return np.full(4, np.nan if self.how == "state" else 0.5, np.float32)

    def _look(self):
        seen = {a: self.np_random.uniform(-1, 1, 3).astype(np.float32) for a in self.agents}
        return spoil(seen, self.how, self.agents)

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.np_random = np.random.default_rng(seed)
            SEEDS.append(seed)
        self.agents, self.clock = list(self.possible_agents), 0
        self.how = self.faulty.now("reset")
        return self._look(), {agent: {} for agent in self.agents}

    def step(self, actions):
        self.how = self.faulty.now("step")
        self.clock += 1
        rewards = dict.fromkeys(self.agents, 1.0)
        if self.how == "reward":
            rewards["agent_1"] = np.inf
        elif self.how == "word":
            rewards["agent_0"] = "much"
        acted, over = self.agents, self.clock == 10
        seen = self._look()
        self.agents = [] if over else list(self.agents)
        if self.how == "nobody":
            return None, rewards, {}, {}, {}
        return seen, rewards, dict.fromkeys(acted, False), dict.fromkeys(acted, over), {agent: {} for agent in acted}

    def close(self):
        self.faulty.now("close")


def spoil(seen: dict, how: str | None, agents: list) -> dict:
    """Return observations that break a rule in the way `how`."""
    if how in ("nan", "inf"):
        seen["agent_1"][1] = float(how)
    elif how == "shape":
        seen["agent_0"] = np.zeros(4, np.float32)
    elif how == "dtype":
        seen["agent_1"] = np.array(["a", "b", "c"])
    elif how == "stranger":
        seen["somebody"] = seen["agent_0"]
    elif how == "nothing":
        seen.clear()
        agents.clear()
    return seen


class ByTurns(AECEnv):
    """Two players that see three numbers and move five times each; a move is paid at once."""

    metadata: ClassVar[dict[str, Any]] = {"name": "by_turns"}

    def __init__(self, place="", ways="raise", every=50) -> None:
        super().__init__()
        self.possible_agents = ["agent_0", "agent_1"]
        self.agents: list[str] = []
        self.render_mode = None
        self.np_random = np.random.default_rng()
        self.faulty = Faulty(place, ways, every, looks=60)

    def observation_space(self, agent):
        return spaces.Box(-1, 1, (3,), np.float32)

    def action_space(self, agent):
        return spaces.Discrete(3)

    def state(self):
        return np.full(4, np.nan if self.how == "state" else 0.5, np.float32)

    def observe(self, agent):
        seen = {agent: np.full(3, self.clock / 10, np.float32)}
        if self.how in ("nan", "inf"):
            seen[agent][1] = float(self.how)
        elif self.how == "shape":
            return np.zeros(4, np.float32)
        elif self.how == "dtype":
            return np.array(["a", "b", "c"])
        return seen[agent]

    def reset(self, seed=None, options=None):
        if seed is not None:
            SEEDS.append(seed)
        self.agents, self.clock = list(self.possible_agents), 0
        for name, value in (("rewards", 0.0), ("_cumulative_rewards", 0.0), ("terminations", False)):
            setattr(self, name, dict.fromkeys(self.agents, value))
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos = {agent: {} for agent in self.agents}
        self.agent_selection = "agent_0"
        self.how = self.faulty.now("reset")
        self._misname()

    def _misname(self):
        if self.how == "stranger":
            self.agent_selection = "somebody"
            for told in (self.rewards, self._cumulative_rewards, self.terminations, self.truncations, self.infos):
                told["somebody"] = 0.0
        elif self.how == "nobody":
            self.agent_selection = None

    def step(self, action):
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        self.how = self.faulty.now("step")
        self.clock += 1
        self._cumulative_rewards[agent] = 1.0
        if self.how in ("reward", "word"):
            self._cumulative_rewards = dict.fromkeys(self.agents, np.nan if self.how == "reward" else "much")
        if self.clock == 10:
            self.truncations = dict.fromkeys(self.agents, True)
        self.agent_selection = self.agents[self.clock % 2]
        self._misname()

    def close(self):
        self.faulty.now("close")


class AllAtOnce(NativeDict):
    """`native/dict`, a native vector environment, with faults."""

    def __init__(self, num_envs, seeds, place="", ways="raise", every=50) -> None:
        super().__init__(num_envs, seeds, num_agents=2, length=10)
        SEEDS.extend(seeds)
        self.faulty = Faulty(place, ways, every, looks=5)

    def reset(self, envs, out):
        how = self.faulty.now("reset")
        super().reset(envs, out)
        if how in ("nan", "inf"):
            out[0].obs[envs[-1], 1] = float(how)

    def step(self, actions, running, out, outcome):
        how = self.faulty.now("step")
        ended = super().step(actions, running, out, outcome)
        if how in ("nan", "inf"):
            out[0].obs[0, 1] = float(how)
        elif how == "reward":
            outcome[0].reward[0, 0] = np.inf
        return ended

    def close(self):
        self.faulty.now("close")


class Tables:
    """A native turn-based game: two seats see three numbers and move five times each."""

    def __init__(self, num_envs, seeds, place="", ways="raise", every=50) -> None:
        obs, action = ObsSpec((3,), np.dtype(np.float32)), ActionSpec("discrete", nvec=(3,), start=(0,))
        teams = tuple(TeamSpec(f"agent_{i}", (f"agent_{i}",), obs, action, False) for i in range(2))
        self.spec = EnvSpec("tables", teams, turn_based=True)
        self.num_envs = num_envs
        self.seat, self.clock = np.zeros(num_envs, np.int64), np.zeros(num_envs, np.int64)
        SEEDS.extend(seeds)
        self.faulty = Faulty(place, ways, every, looks=5)
        self.how = None

    def reset(self, envs):
        self.clock[envs] = self.seat[envs] = 0
        self.how = self.faulty.now("reset") or self.how

    def observe(self, seat, envs, obs, action_mask, state):
        obs[...] = self.clock[envs, None] / 10
        if self.how in ("nan", "inf"):
            obs[0, 1] = float(self.how)

    def act(self, envs, actions):
        self.how = self.faulty.now("step")
        self.clock[envs] += 1
        self.seat[envs] = self.clock[envs] % 2
        reward = np.ones((len(envs), 2))
        if self.how == "reward":
            reward[0, 1] = np.nan
        over = self.clock[envs] == 10
        return TurnOutcome(reward, over, np.zeros(len(envs), bool))

    def close(self):
        self.faulty.now("close")


class Stubborn(Together):
    """Cannot be built any more once the first has failed, twice; then it can."""

    tries = itertools.count()

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        if COUNTS["failed"] and next(self.tries) < 2:
            raise OSError("the licence server is down")
