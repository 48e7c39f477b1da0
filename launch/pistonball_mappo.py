"""MAPPO on pistonball: pixels in, one continuous action out, a row of pistons moves a ball to the left wall.

Needs `pip install 'sfmarl[butterfly]'`. Pistonball's own pictures are 457 x 120 in colour, 164 kB per agent and step.
Cutting them out is most of a step, so the small ones are read off the screen directly; the last three frames
show where the ball is going. `env.state()` is the whole screen (0.8 million numbers for ten pistons), so the critic is
given the pistons' own pictures instead.
"""

import sys
from dataclasses import replace

from sfmarl import Config
from sfmarl.algorithms import get_algorithm
from sfmarl.command.launching import launch


def small_pistonball(n_pistons: int = 10, max_cycles: int = 125, render_mode: str = "rgb_array"):
    """Return pistonball with grey pictures of 46 x 40 pixels: every tenth row and every third column of its own."""
    import numpy as np
    from gymnasium import spaces
    from pettingzoo.butterfly.pistonball.pistonball import raw_env
    from pettingzoo.utils.conversions import aec_to_parallel
    from pygame import surfarray

    class SmallPistonball(raw_env):
        def observation_space(self, agent):
            height, width, _ = super().observation_space(agent).shape
            return spaces.Box(0, 255, (-(-height // 10), width // 3, 1), np.uint8)

        def observe(self, agent):
            # the piston, and one to its left and right
            left = self.wall_width + self.piston_width * (self.agent_name_mapping[agent] - 1)
            bottom = self.screen_height - self.wall_width - self.piston_body_height
            red = surfarray.pixels_red(self.screen)
            part = red[left : left + 3 * self.piston_width : 3, self.wall_width : bottom : 10]
            return np.ascontiguousarray(part.T)[..., None]

    return aec_to_parallel(
        SmallPistonball(n_pistons=n_pistons, max_cycles=max_cycles, continuous=True, render_mode=render_mode)
    )


# A setting names code by its import path: this file, which workers and `sfmarl evaluate` import. The latter finds it
# with PYTHONPATH=launch.
CONFIG = Config(
    env="pistonball_mappo:small_pistonball",
    frame_stack=3,
    algo="mappo",
    hp=replace(get_algorithm("mappo").hyperparameters(), hidden=(128,), epochs=4, minibatches=4, lr=3e-4),
    state_source="joint",
    env_steps=100_000,
    num_workers=2,
    num_envs_per_worker=8,
    eval_env_steps=20_000,
    eval_episodes=8,
    final_eval_episodes=20,
)

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
