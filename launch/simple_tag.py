"""MAPPO on simple_tag: three predators (`adversary`) chase one faster prey (`agent`), and both sides learn.

Predators share one policy, the prey has its own. Their returns oppose each other: neither tells alone how good a side
is, since the other side learns too.
"""

import sys
from dataclasses import replace

from sfmarl import Config
from sfmarl.algorithms import get_algorithm
from sfmarl.command.launching import launch

CONFIG = Config(
    env="mpe2.simple_tag_v3",
    algo="mappo",
    hp=replace(get_algorithm("mappo").hyperparameters(), gamma=0.95, lr=1e-3),
    env_steps=2_000_000,
    num_workers=2,
)

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
