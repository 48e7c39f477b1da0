"""MAPPO for the predators of simple_tag against a prey that a script plays.

The environment is the native one, which plays mpe2's `simple_tag_v3` step by step; `--env mpe2.simple_tag_v3` trains in
the original. Predators are paid for catches alone, and hardly make one before they have learned to corner the prey. The
script does not learn, so the predators' return says how good they are: compare it with that of random predators against
the same prey (`benchmarks/learn.py`).
"""

import sys
from dataclasses import replace

import numpy as np

from sfmarl import Config
from sfmarl.algorithms import get_algorithm
from sfmarl.command.launching import launch

MOVES = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]], np.float64)
"""Directions of the five actions: stay, left, right, down, up."""
PUSH, DAMPING, TOP_SPEED = 0.4, 0.25, 1.3
"""Of the prey, per step: speed that a move adds, share of its speed that it loses, fastest speed."""
LOOK_AHEAD = 0.3
"""Seconds: three steps."""
HOME = 0.9
"""Beyond this distance from the centre, in either coordinate, the environment fines the prey."""
OBSTACLE = 0.25
"""Radius of an obstacle plus that of the prey."""


def flee(obs, action_mask, team, rng):
    """Move to where the nearest predator will be farthest, but stay at home and out of obstacles.

    `obs` [B, A, 14] of mpe2 simple_tag with three predators and two obstacles: own velocity, own position, then the
    obstacles' and the predators' positions relative to it.
    """
    rows = np.asarray(obs, np.float64).reshape(-1, obs.shape[-1])
    velocity, position = rows[:, None, 0:2], rows[:, None, 2:4]
    obstacles, predators = rows[:, None, 4:8].reshape(-1, 1, 2, 2), rows[:, None, 8:14].reshape(-1, 1, 3, 2)
    speed = velocity * (1 - DAMPING) + PUSH * MOVES
    norm = np.linalg.norm(speed, axis=-1, keepdims=True)
    way = speed * np.minimum(1.0, TOP_SPEED / np.maximum(norm, 1e-9)) * LOOK_AHEAD
    room = np.linalg.norm(predators - way[:, :, None], axis=-1).min(-1)
    outside = np.maximum(np.abs(position + way) - HOME, 0.0).sum(-1)
    inside = np.maximum(OBSTACLE - np.linalg.norm(obstacles - way[:, :, None], axis=-1), 0.0).sum(-1)
    # a hair of noise decides between equal moves
    score = room - 3.0 * outside - inside + 1e-6 * rng.random(room.shape)
    return score.argmax(-1).reshape(obs.shape[:2])


# A setting names code by its import path: this file, which workers and `sfmarl evaluate` import. The latter finds it
# with PYTHONPATH=launch.
CONFIG = Config(
    env="native/simple_tag",
    algo="mappo",
    hp=replace(get_algorithm("mappo").hyperparameters(), gamma=0.95, lr=1e-3),
    players={"agent": {"script": "tag_scripted_prey:flee"}},
    env_steps=2_000_000,
    num_workers=2,
)

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
