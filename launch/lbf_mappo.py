"""MAPPO on level-based foraging: two players must load together what neither can load alone.

Needs `pip install 'sfmarl[lbf]'`. Each player is paid its own share of a load; learning from the team's sum instead
(`team_reward`) is what published results do. 1.0 is the best team return.
"""

import sys
from dataclasses import replace

from sfmarl import Config
from sfmarl.algorithms import get_algorithm
from sfmarl.command.launching import launch

CONFIG = Config(
    env="lbf/Foraging-8x8-2p-2f-coop-v3",
    algo="mappo",
    hp=replace(get_algorithm("mappo").hyperparameters(), hidden=(128, 128), lr=5e-4),
    team_reward="sum",
    env_steps=5_000_000,
    num_workers=2,
)

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
