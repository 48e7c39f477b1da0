"""MAPPO on simple_speaker_listener: one agent sees the goal and may only talk, the other hears and must go there.

Two teams with spaces of their own, so two policies, each with its own learner.
"""

import sys
from dataclasses import replace

from sfmarl import Config
from sfmarl.algorithms import get_algorithm
from sfmarl.command.launching import launch

CONFIG = Config(
    env="mpe2.simple_speaker_listener_v4",
    algo="mappo",
    hp=replace(get_algorithm("mappo").hyperparameters(), gamma=0.9, trace_lambda=0.9, lr=1e-3),
    env_steps=1_000_000,
    num_workers=2,
)

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
