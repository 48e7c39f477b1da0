"""A gymnasium environment as a ParallelEnv with one agent."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from pettingzoo import ParallelEnv

AGENT = "agent_0"


class SingleAgentEnv(ParallelEnv):
    """Wraps `env`; its flags, rewards and info (with an action mask, if any) are passed on as they are."""

    def __init__(self, env: gymnasium.Env) -> None:
        self.env = env
        self.metadata = env.metadata
        self.render_mode = env.render_mode
        self.possible_agents = [AGENT]
        self.agents: list[str] = []

    @property
    def np_random(self) -> np.random.Generator:
        """The environment's random generator."""
        return self.env.unwrapped.np_random

    def observation_space(self, agent: str) -> gymnasium.Space:
        """Return the environment's observation space."""
        return self.env.observation_space

    def action_space(self, agent: str) -> gymnasium.Space:
        """Return the environment's action space."""
        return self.env.action_space

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self.agents = [AGENT]
        return {AGENT: observation}, {AGENT: info}

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """Step with the one agent's action."""
        observation, reward, terminated, truncated, info = self.env.step(actions[AGENT])
        if terminated or truncated:
            self.agents = []
        return {AGENT: observation}, {AGENT: reward}, {AGENT: terminated}, {AGENT: truncated}, {AGENT: info}

    def render(self) -> Any:
        """Return the environment's frame."""
        return self.env.render()

    def close(self) -> None:
        """Close the environment."""
        self.env.close()
