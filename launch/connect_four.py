"""Self-play PPO in connect four: one policy plays both seats, and so always meets an equal.

Needs `pip install 'sfmarl[classic]'`. What it earns against itself is 0 whatever it can do: `benchmarks/learn.py` has
it play against random moves in both seats.
"""

import sys
from dataclasses import replace

from sfmarl import Config
from sfmarl.algorithms import get_algorithm
from sfmarl.command.launching import launch

# Twice the entropy that would do elsewhere: a policy that only meets its own few openings forgets how to answer others.
CONFIG = Config(
    env="pettingzoo.classic.connect_four_v3",
    policies={"player_0": "main", "player_1": "main"},
    algo="ippo",
    hp=replace(get_algorithm("ippo").hyperparameters(), hidden=(128, 128), lr=3e-4, epochs=4, entropy_coef=0.1),
    env_steps=2_000_000,
    num_workers=2,
    eval_env_steps=0,
)

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
