"""Self-play PPO in OpenSpiel's Leduc poker: one policy plays both seats.

Needs `pip install 'sfmarl[openspiel]'`. PettingZoo's `leduc_holdem_v4` has other stakes and shows no betting history:
there is no exploitability to look up for it. Here agents see OpenSpiel's own information states, so that a trained
policy can be read off at every one of them and OpenSpiel computes its NashConv:

    python launch/leduc_selfplay.py --run-dir runs/leduc
    python benchmarks/leduc.py runs/leduc
"""

import sys
from dataclasses import replace

import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv

from sfmarl import Config
from sfmarl.algorithms import get_algorithm
from sfmarl.command.launching import launch
from sfmarl.errors import UsageError


def load_game():
    """Return OpenSpiel's `leduc_poker`. Raises UsageError when OpenSpiel is missing."""
    try:
        import pyspiel
    except ImportError as error:
        raise UsageError("Leduc poker is OpenSpiel's: pip install 'sfmarl[openspiel]'") from error
    return pyspiel.load_game("leduc_poker")


class Leduc(AECEnv):
    """`leduc_poker`; observations are information state tensors, which begin with the player's number as a one-hot."""

    metadata = {"name": "leduc_poker", "is_parallelizable": False}  # noqa: RUF012 - PettingZoo's own form

    def __init__(self, render_mode: str | None = None) -> None:
        """Raises UsageError when OpenSpiel is missing."""
        super().__init__()
        self.game = load_game()
        self.render_mode = render_mode
        self.possible_agents = ["player_0", "player_1"]
        self.agents: list[str] = []
        self.np_random = np.random.default_rng()
        self._moves = self.game.num_distinct_actions()

    def observation_space(self, agent):
        return spaces.Dict(
            {
                "observation": spaces.Box(0, 1, (self.game.information_state_tensor_size(),), np.float32),
                "action_mask": spaces.Box(0, 1, (self._moves,), np.int8),
            }
        )

    def action_space(self, agent):
        return spaces.Discrete(self._moves)

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.np_random = np.random.default_rng(seed)
        self.agents = list(self.possible_agents)
        self.state = self.game.new_initial_state()
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos = {agent: {} for agent in self.agents}
        self._deal()

    def observe(self, agent):
        player = self.possible_agents.index(agent)
        mask = np.zeros(self._moves, np.int8)
        mask[self.state.legal_actions(player)] = 1
        return {"observation": np.float32(self.state.information_state_tensor(player)), "action_mask": mask}

    def step(self, action):
        agent = self.agent_selection
        if self.terminations[agent]:
            self._was_dead_step(action)
            return
        self._cumulative_rewards[agent] = 0.0
        self.state.apply_action(int(action))
        self._deal()
        if self.state.is_terminal():
            self.rewards = dict(zip(self.agents, self.state.returns(), strict=True))
            self.terminations = dict.fromkeys(self.agents, True)
            self.agent_selection = self.agents[0]
            self._accumulate_rewards()

    def _deal(self):
        """Draw the cards that are due and see whose turn it is."""
        while self.state.is_chance_node():
            cards, probabilities = zip(*self.state.chance_outcomes(), strict=True)
            self.state.apply_action(int(self.np_random.choice(cards, p=probabilities)))
        if not self.state.is_terminal():
            self.agent_selection = self.possible_agents[self.state.current_player()]

    def close(self):
        pass


# A setting names code by its import path: this file, which workers and `sfmarl evaluate` import. The latter finds it
# with PYTHONPATH=launch.
CONFIG = Config(
    env="leduc_selfplay:Leduc",
    policies={"player_0": "main", "player_1": "main"},
    algo="ippo",
    hp=replace(
        get_algorithm("ippo").hyperparameters(),
        hidden=(128, 128),
        lr=1e-3,
        lr_schedule="linear",
        epochs=4,
        gamma=1.0,
        entropy_coef=0.1,
    ),
    env_steps=2_000_000,
    num_workers=2,
    rollout=16,
    eval_env_steps=0,
)

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
