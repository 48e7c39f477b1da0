"""MAPPO on pistonball: pixels in, one continuous action out, a row of pistons moves a ball to the left wall.

Needs `pip install 'sfmarl[butterfly,supersuit]'`. Pistonball's own pictures are 457 x 120 in colour, 164 kB per agent
and step; SuperSuit makes them grey and small, and the last three frames show where the ball is going. `env.state()` is
the whole screen (1.5 million numbers), so the critic is given the pistons' own pictures instead.
"""

import sys
from dataclasses import replace

from sfmarl import Config
from sfmarl.algorithms import get_algorithm
from sfmarl.command.launching import launch


def small_pistonball(n_pistons: int = 10, max_cycles: int = 125, render_mode: str | None = None):
    """Return pistonball with grey pictures of 48 x 36 pixels."""
    import supersuit
    from pettingzoo.butterfly import pistonball_v6

    env = pistonball_v6.parallel_env(
        n_pistons=n_pistons, max_cycles=max_cycles, continuous=True, render_mode=render_mode
    )
    return supersuit.resize_v1(supersuit.color_reduction_v0(env, mode="B"), x_size=36, y_size=48)


# A setting names code by its import path: this file, which workers and `sfmarl evaluate` import. The latter finds it
# with PYTHONPATH=launch.
CONFIG = Config(
    env="pistonball_mappo:small_pistonball",
    frame_stack=3,
    algo="mappo",
    hp=replace(get_algorithm("mappo").hyperparameters(), hidden=(128,), epochs=4, minibatches=4, lr=3e-4),
    state_source="joint",
    env_steps=300_000,
    num_workers=2,
    num_envs_per_worker=8,
    eval_env_steps=50_000,
    eval_episodes=8,
    final_eval_episodes=20,
)

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
