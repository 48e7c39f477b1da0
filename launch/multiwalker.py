"""MAPPO on multiwalker: three walkers with continuous joints carry a package on their heads.

Needs `pip install 'sfmarl[sisl]'`. All walkers earn for how far the package moves and are fined when one of them falls.
"""

import sys
from dataclasses import replace

from sfmarl import Config
from sfmarl.algorithms import get_algorithm
from sfmarl.command.launching import launch

CONFIG = Config(
    env="sisl/multiwalker-v9",
    algo="mappo",
    hp=replace(get_algorithm("mappo").hyperparameters(), hidden=(128, 128), lr=3e-4, minibatches=4, entropy_coef=0.0),
    state_source="joint",
    rollout=64,
    env_steps=1_000_000,
    num_workers=2,
    num_envs_per_worker=16,
    eval_env_steps=100_000,
    eval_episodes=16,
    final_eval_episodes=100,
)

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
