"""Connect Four by league: one policy plays itself and its past selves, the hard ones more often.

    python launch/connect_four_league.py --env-steps 20_000_000
    python launch/connect_four_league.py --matchmaker latest --self-play 1.0

The game is the native one, move for move PettingZoo's connect_four_v3. Watch league/main/win_rate_random and
league/main/win_rate_oldest in TensorBoard. The second command is plain self-play without a pool of past selves.
"""

import sys
from dataclasses import replace

from sfmarl import Config, LeagueConfig
from sfmarl.algorithms import get_algorithm
from sfmarl.command.launching import launch

CONFIG = Config(
    env="native/connect_four",
    algo="ippo",
    hp=replace(get_algorithm("ippo").hyperparameters(), hidden=(128, 128), gamma=0.99, lr=5e-4, epochs=4),
    league=LeagueConfig(matchmaker="pfsp?weighting=squared", self_play=0.5, snapshot_env_steps=200_000),
    env_steps=10_000_000,
    num_envs_per_worker=128,
    eval_env_steps=0,
    final_eval_episodes=0,
)

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
