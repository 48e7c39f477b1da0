"""Asynchronous MAPPO on the native simple_spread, which steps all its copies at once: ten times the env-steps."""

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
    env_steps=20_000_000,
    num_workers=2,
    num_envs_per_worker=128,
    eval_env_steps=2_000_000,
)

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
