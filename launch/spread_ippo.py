"""Asynchronous IPPO on simple_spread: each agent's critic sees only what the agent sees."""

import sys
from dataclasses import replace

from sfmarl import Config
from sfmarl.algorithms import get_algorithm
from sfmarl.command.launching import launch

CONFIG = Config(
    env="mpe2.simple_spread_v3",
    env_kwargs={"N": 3},
    algo="ippo",
    hp=replace(get_algorithm("ippo").hyperparameters(), gamma=0.9, trace_lambda=0.9, lr=1e-3),
    env_steps=2_000_000,
    num_workers=2,
)

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
