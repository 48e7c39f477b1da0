"""MAPPO on the native simple_spread without parameter sharing: each of the three agents has networks of its own.

One corner of a square; the others are `--sharing full` (one set of parameters that is told which agent it is) and, with
either, `--critic own` (critics that see only what their agent sees). `benchmarks/learning.py sharing` trains all four.
"""

import sys
from dataclasses import replace

from sfmarl import Config
from sfmarl.algorithms import get_algorithm
from sfmarl.command.launching import launch

CONFIG = Config(
    env="native/simple_spread",
    env_kwargs={"N": 3},
    algo="mappo",
    hp=replace(get_algorithm("mappo").hyperparameters(), gamma=0.9, trace_lambda=0.9, lr=1e-3),
    sharing="none",
    env_steps=2_000_000,
    num_workers=2,
)

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
