"""A PettingZoo environment that does what it was told: who lives when, and how it ends, written down per episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from hypothesis import strategies as st
from pettingzoo import ParallelEnv

AGENTS = ("a_0", "a_1", "b_0")


@dataclass(frozen=True)
class Told:
    """One episode."""

    alive: tuple[tuple[bool, ...], ...]
    """[length, agents]: who acts at each step; never nobody."""
    truncated: bool
    """It is cut at its end, not over."""
    cut: frozenset[int]
    """Agents whose deaths before the end are truncations."""

    @property
    def length(self) -> int:
        """Steps."""
        return len(self.alive)

    def acts(self, agent: int, step: int) -> bool:
        """Whether the agent acts at `step`."""
        return step < self.length and self.alive[step][agent]

    def leaves(self, agent: int, step: int) -> tuple[bool, bool]:
        """Return (terminated, truncated) of an agent that acted at `step`."""
        if self.acts(agent, step + 1):
            return False, False
        cut = self.truncated if step + 1 == self.length else agent in self.cut
        return not cut, cut


@st.composite
def episodes(draw) -> Told:
    """Any episode of up to 6 steps: births, deaths, second lives, deaths that are truncations."""
    one = st.tuples(*[st.booleans()] * len(AGENTS)).filter(any)
    alive = draw(st.lists(one, min_size=1, max_size=6))
    return Told(tuple(alive), draw(st.booleans()), draw(st.frozensets(st.sampled_from(range(len(AGENTS))))))


def paid(env: int, episode: int, step: int, agent: int) -> float:
    """Return what an action earns: another number for each, exact in float32."""
    return float(((env * 50 + episode) * 8 + step) * 4 + agent + 1)


class ToldEnv(ParallelEnv):
    """Plays `scripts[seed]`, over and over. An observation is [env, episode, step, agent]."""

    metadata: ClassVar[dict[str, Any]] = {"name": "told"}
    scripts: ClassVar[list[list[Told]]] = [[Told(((True,) * len(AGENTS),), False, frozenset())]]

    def __init__(self) -> None:
        self.possible_agents = list(AGENTS)
        self.agents: list[str] = []
        self.render_mode = None
        self.env, self.episode = 0, -1

    def observation_space(self, agent):
        return spaces.Box(-np.inf, np.inf, (4,), np.float32)

    def action_space(self, agent):
        return spaces.Discrete(3)

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.env = seed % len(self.scripts)
        self.episode, self.step_of = self.episode + 1, 0
        script = self.scripts[self.env]
        self.told = script[self.episode % len(script)]
        self.agents = [agent for i, agent in enumerate(AGENTS) if self.told.acts(i, 0)]
        return self._look(self.agents), {agent: {} for agent in self.agents}

    def _look(self, agents):
        return {a: np.array((self.env, self.episode, self.step_of, AGENTS.index(a)), np.float32) for a in agents}

    def step(self, actions):
        assert list(actions) == self.agents
        step, acted = self.step_of, [AGENTS.index(agent) for agent in actions]
        self.step_of += 1
        self.agents = [agent for i, agent in enumerate(AGENTS) if self.told.acts(i, step + 1)]
        ends = {i: self.told.leaves(i, step) for i in acted}
        seen = self._look([agent for i, agent in enumerate(AGENTS) if i in acted or agent in self.agents])
        rewards = {AGENTS[i]: paid(self.env, self.episode, step, i) for i in acted}
        terminated = {AGENTS[i]: over for i, (over, _) in ends.items()}
        truncated = {AGENTS[i]: cut for i, (_, cut) in ends.items()}
        return seen, rewards, terminated, truncated, {agent: {} for agent in seen}
