"""Asynchronous MAPPO on simple_spread: three agents cover three landmarks. What `make train` runs.

V-trace corrects the central critic's targets for policy lag; at lag 0 it is GAE.
"""

import sys
from dataclasses import replace

from sfmarl import Config
from sfmarl.algorithms import get_algorithm
from sfmarl.command.launching import launch

# Discount .9: a step's consequences show within ten steps, and the episode has no end of its own.
CONFIG = Config(
    env="mpe2.simple_spread_v3",
    env_kwargs={"N": 3},
    algo="mappo",
    hp=replace(get_algorithm("mappo").hyperparameters(), gamma=0.9, trace_lambda=0.9, lr=1e-3),
    env_steps=2_000_000,
    num_workers=2,
)

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
