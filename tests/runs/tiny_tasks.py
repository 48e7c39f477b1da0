"""Tasks that are learned within seconds and whose best score is known, one per kind of action, and one with masks.

In all of them the observation, or the mask, says what to do now. The reward follows one step later (the last action is
not paid), for continuous actions at once. Who ignores what it sees cannot score well: see `BLIND` and `CHANCE`. Who
cares for immediate rewards only learns nothing where they are late.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv
from turn_games import Betting

CONTEXTS = 3
LENGTH = 8
"""Steps of an episode."""
PAID = LENGTH - 1
"""Actions of an episode that are paid, at best 1 each, where rewards are late; else all are."""

POINTS = 0.7 * np.array([[1, 0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]])
"""The continuous task's best action in each context: corners of a triangle around 0."""


@dataclass(frozen=True)
class Kind:
    """What answers look like and what they are worth."""

    space: spaces.Space
    worth: Callable[[int, Any], float]
    """(context, action) -> at most 1, which one action earns."""


KINDS = {
    "discrete": Kind(spaces.Discrete(4), lambda context, action: float(action == context)),
    "multi_discrete": Kind(
        spaces.MultiDiscrete([3, 2]), lambda context, action: float(tuple(action) == (context, context % 2))
    ),
    "continuous": Kind(
        spaces.Box(-1, 1, (2,), np.float32),
        lambda context, action: 1 - float(np.square(action - POINTS[context]).sum()),
    ),
}

CHANCE = {"discrete": 1 / 4, "multi_discrete": 1 / 6, "continuous": 1 - 0.49 - 2 / 3, "masked": 1 / 2}
"""Expected worth of a uniformly random (legal) action."""
BLIND = {"discrete": 1 / 3, "multi_discrete": 1 / 3, "continuous": 1 - 0.49, "masked": 2 / 5}
"""Best expected worth of an action that does not depend on what is seen; illegal actions are worth nothing."""


class Task(ParallelEnv):
    """Two agents that are each paid for what they did, late or at once; subclasses say what an action is worth."""

    metadata: ClassVar[dict[str, Any]] = {"name": "task"}

    def __init__(self, late: bool = True) -> None:
        self.late = late
        self.possible_agents = ["agent_0", "agent_1"]
        self.agents: list[str] = []
        self.render_mode = None
        self.np_random = np.random.default_rng()

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.np_random = np.random.default_rng(seed)
        self.agents, self.time = list(self.possible_agents), 0
        self.owed = dict.fromkeys(self.agents, 0.0)
        return self.look(), {agent: {} for agent in self.agents}

    def step(self, actions):
        self.time += 1
        over = self.time == LENGTH
        worth = {agent: self.worth(agent, action) for agent, action in actions.items()}
        rewards = self.owed if self.late else worth
        self.owed = worth
        seen = self.look()
        self.agents = [] if over else self.agents
        return seen, rewards, dict.fromkeys(worth, over), dict.fromkeys(worth, False), {agent: {} for agent in worth}

    def look(self) -> dict[str, Any]:
        """Draw and return what each agent sees next."""
        raise NotImplementedError

    def worth(self, agent: str, action: Any) -> float:
        """Return the worth of an action for what `agent` has just seen."""
        raise NotImplementedError


class Answer(Task):
    """Each agent sees one of three contexts, drawn anew at every step, and answers with an action of the given kind."""

    def __init__(self, kind: str = "discrete") -> None:
        super().__init__(late=kind != "continuous")
        self.kind = KINDS[kind]

    def observation_space(self, agent):
        return spaces.Box(0, 1, (CONTEXTS,), np.float32)

    def action_space(self, agent):
        return self.kind.space

    def look(self):
        self.context = {agent: int(self.np_random.integers(CONTEXTS)) for agent in self.agents}
        return {agent: np.eye(CONTEXTS, dtype=np.float32)[context] for agent, context in self.context.items()}

    def worth(self, agent, action):
        return self.kind.worth(self.context[agent], action)


class Highest(Task):
    """The observation is constant; two of five actions are legal, drawn at every step: the higher one is worth 1."""

    def observation_space(self, agent):
        mask = spaces.Box(0, 1, (5,), np.int8)
        return spaces.Dict({"observation": spaces.Box(0, 1, (1,), np.float32), "action_mask": mask})

    def action_space(self, agent):
        return spaces.Discrete(5)

    def look(self):
        self.legal = {agent: self.np_random.choice(5, 2, replace=False) for agent in self.agents}
        ones = np.ones(1, np.float32)
        return {
            agent: {"observation": ones, "action_mask": np.isin(np.arange(5), legal).astype(np.int8)}
            for agent, legal in self.legal.items()
        }

    def worth(self, agent, action):
        assert action in self.legal[agent], "an illegal move"
        return float(action == self.legal[agent].max())


class OpenBetting(Betting):
    """`Betting` with a global state for central critics: the card and whose turn it is."""

    state_space = spaces.Box(0, 1, (2,), np.float32)

    def state(self):
        return np.float32([self.card, self.agent_selection == "player_1"])
