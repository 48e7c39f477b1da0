"""Your environment: a PettingZoo ParallelEnv, registered under a name and trained asynchronously."""

import sys

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

import sfmarl
from sfmarl.command.launching import launch


class Meet(ParallelEnv):  # two agents on a line of eight cells earn 1 for every step at whose end they share a cell
    possible_agents = ("agent_0", "agent_1")
    sight, moves = spaces.Box(0, 7, (2,), np.float32), spaces.Discrete(3)

    def observation_space(self, agent):
        return self.sight

    def action_space(self, agent):
        return self.moves

    def reset(self, seed=None, options=None):
        self.np_random = np.random.default_rng(seed) if seed is not None else self.np_random
        self.agents, self.time, self.cells = list(self.possible_agents), 0, self.np_random.integers(0, 8, 2)
        return self.look(), {agent: {} for agent in self.agents}

    def look(self):
        return dict(zip(self.possible_agents, np.float32([self.cells, self.cells[::-1]]), strict=True))

    def step(self, actions):
        self.time += 1
        self.cells = np.clip(self.cells + [actions[agent] - 1 for agent in self.possible_agents], 0, 7)
        met, over, everyone = float(self.cells[0] == self.cells[1]), self.time == 16, self.agents
        self.agents = [] if over else everyone
        rewards, ended, cut = (dict.fromkeys(everyone, value) for value in (met, False, over))
        return self.look(), rewards, ended, cut, {agent: {"met": met} for agent in everyone}


sfmarl.register_env("meet", Meet, "two agents on a line of eight cells")

CONFIG = sfmarl.Config(env="meet", algo="ippo", env_steps=200_000, imports=(__file__,), info_metrics=("met:mean",))

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
