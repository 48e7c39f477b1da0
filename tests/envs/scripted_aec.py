"""AECEnvs whose every answer is drawn from a seeded script, with a log of what they said."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv

N = 4
"""Actions."""


class ChaosTurns(AECEnv):
    """Agents move in random order, earn at anybody's turn, are cut off or die at any time, and may come back.

    `masks` is None, "obs" or "info". Observations say [episode, clock, agent].
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "chaos_turns"}

    def __init__(self, agents=("a_0", "a_1", "b_0", 7), masks=None, chaos=1.0, state=False, render_mode=None) -> None:
        super().__init__()
        self.possible_agents = list(agents)
        self.agents: list = []
        self.render_mode = render_mode
        self.masks, self.chaos, self.has_state = masks, chaos, state
        self.np_random = np.random.default_rng()
        self.episode = 0
        self.moves: list[tuple[Any, Any]] = []
        self.closed = False

    def observation_space(self, agent):
        box = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        if self.masks != "obs":
            return box
        return spaces.Dict({"observation": box, "action_mask": spaces.MultiBinary(N)})

    def action_space(self, agent):
        return spaces.Discrete(N, start=0 if isinstance(agent, str) else 3)

    def state(self):
        if not self.has_state:
            raise NotImplementedError
        return np.array([self.episode, self.clock], np.float64)

    def observe(self, agent):
        vector = np.array([self.episode, self.clock, self.possible_agents.index(agent)], np.float32)
        if self.masks != "obs":
            return vector
        return {"observation": vector, "action_mask": self.infos[agent].get("mask", np.zeros(N)).astype(np.int8)}

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.np_random = np.random.default_rng(seed)
        self.episode += 1
        self.clock = 0
        rng = self.np_random
        self.length = int(rng.integers(1, 15))
        self.agents = [a for a in self.possible_agents if rng.random() > 0.2 * self.chaos] or [self.possible_agents[0]]
        for name, value in (("rewards", 0.0), ("_cumulative_rewards", 0.0), ("terminations", False)):
            setattr(self, name, dict.fromkeys(self.agents, value))
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos = {agent: {} for agent in self.agents}
        self._skip_agent_selection = None
        self._pay()
        self._pass_on()

    def _pay(self) -> None:
        for agent in self.agents:
            if self.np_random.random() < 0.5:
                self._cumulative_rewards[agent] += float(self.np_random.integers(-5, 6))

    def _pass_on(self) -> None:
        living = [a for a in self.agents if not (self.terminations[a] or self.truncations[a])]
        if living:
            self.agent_selection = living[int(self.np_random.integers(len(living)))]
            mask = self.np_random.random(N) < 0.5
            mask[self.np_random.integers(N)] = True
            self.legal = mask
            self.infos[self.agent_selection] = {"mask": mask} | ({"action_mask": mask} if self.masks == "info" else {})
        self._deads_step_first()

    def step(self, action):
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            if self.agents and self._skip_agent_selection is None:
                self._pass_on()
            return
        choice = action - self.action_space(agent).start
        assert isinstance(action, int) and 0 <= choice < N
        assert self.masks is None or self.legal[choice], "an illegal move"
        self.moves.append((agent, action))
        self._cumulative_rewards[agent] = 0.0
        self.clock += 1
        self._pay()
        rng = self.np_random
        if self.clock >= self.length:
            flags = self.truncations if rng.random() < 0.5 else self.terminations
            for name in self.agents:
                flags[name] = True
        else:
            for name in self.agents:
                if rng.random() < 0.08 * self.chaos:
                    (self.truncations if rng.random() < 0.5 else self.terminations)[name] = True
            if rng.random() < 0.2 * self.chaos:
                self._join()
        self._pass_on()

    def _join(self) -> None:
        absent = [agent for agent in self.possible_agents if agent not in self.agents]
        if absent:
            agent = absent[int(self.np_random.integers(len(absent)))]
            self.agents.append(agent)
            self.rewards[agent] = self._cumulative_rewards[agent] = 0.0
            self.terminations[agent] = self.truncations[agent] = False
            self.infos[agent] = {}

    def render(self):
        frame = np.zeros((10, 20, 3), np.uint8)
        frame[:, self.clock % 20] = 255
        return frame if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        self.closed = True


def chaos_turns(**kwargs) -> ChaosTurns:
    """Named by tests as `scripted_aec:chaos_turns`."""
    return ChaosTurns(**kwargs)


class Redraws(ChaosTurns):
    """Draws another observation space at every reset."""

    def observation_space(self, agent):
        return spaces.Box(-np.inf, np.inf, (3 + self.episode,), np.float32)

    def observe(self, agent):
        return np.zeros(3 + self.episode, np.float32)


class Renames(ChaosTurns):
    """Has other agents in every episode."""

    def reset(self, seed=None, options=None):
        self.possible_agents = [f"x_{self.episode}", f"y_{self.episode}"]
        super().reset(seed, options)


class SaysLittle(ChaosTurns):
    """Forgets what last() returns."""

    def last(self, observe=True):
        return self.observe(self.agent_selection)


class Breaks(ChaosTurns):
    """Raises at its first step."""

    def step(self, action):
        raise ValueError("the dice fell off")
