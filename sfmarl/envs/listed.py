"""Environments with gymnasium's calls and one list entry per agent, as LBF and RWARE have, as a ParallelEnv.

Spaces are Tuples, `reset` and `step` answer with a list of observations, `step` with a list of rewards and one
`terminated` and `truncated` for everybody. Agents are called `agent_0`, `agent_1`, ... Rewards are passed on as they
are: each agent's own, never summed or averaged (see `--team-reward`). There is no `state()`; a central critic is given
the team's observations side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from sfmarl.errors import UsageError


class ListedEnv(ParallelEnv):
    """Wraps such an environment."""

    def __init__(self, env: gymnasium.Env, was_cut_off: Callable[[gymnasium.Env], bool] | None = None) -> None:
        """`was_cut_off(env)` says of an episode reported as terminated that a time limit ended it, not its rules.

        Raises UsageError for an environment without Tuple spaces.
        """
        if not isinstance(env.action_space, spaces.Tuple) or not isinstance(env.observation_space, spaces.Tuple):
            raise UsageError(f"{env}: spaces must be Tuples with one entry per agent, not {env.action_space}")
        self.env = env
        self.metadata = env.metadata
        self.render_mode = env.render_mode
        self.possible_agents = [f"agent_{i}" for i in range(len(env.action_space.spaces))]
        self.agents: list[str] = []
        self._was_cut_off = was_cut_off
        self._spaces = {
            agent: (env.observation_space[i], env.action_space[i]) for i, agent in enumerate(self.possible_agents)
        }

    @property
    def np_random(self) -> np.random.Generator:
        """The environment's random generator."""
        return self.env.unwrapped.np_random

    def observation_space(self, agent: str) -> gymnasium.Space:
        """Return the agent's entry of the observation space."""
        return self._spaces[agent][0]

    def action_space(self, agent: str) -> gymnasium.Space:
        """Return the agent's entry of the action space."""
        return self._spaces[agent][1]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Start an episode."""
        observations, info = self.env.reset(seed=seed, options=options)
        self.agents = list(self.possible_agents)
        return self._by_agent(observations), dict.fromkeys(self.agents, info)

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """Step with everybody's action."""
        players = self.possible_agents
        observations, rewards, terminated, truncated, info = self.env.step([actions[agent] for agent in players])
        if terminated and self._was_cut_off is not None and self._was_cut_off(self.env):
            terminated, truncated = False, True
        if terminated or truncated:
            self.agents = []
        return (
            self._by_agent(observations),
            self._by_agent(rewards),
            dict.fromkeys(players, bool(terminated)),
            dict.fromkeys(players, bool(truncated)),
            dict.fromkeys(players, info),
        )

    def _by_agent(self, values: Any) -> dict[str, Any]:
        return dict(zip(self.possible_agents, values, strict=True))

    def render(self) -> Any:
        """Return the environment's frame."""
        return self.env.unwrapped.render(mode=self.render_mode or "human")

    def close(self) -> None:
        """Close the environment."""
        self.env.close()
