"""Your reward shaping: learn from more than the environment pays. Scores stay those of the environment."""

import sys

import numpy as np
import own_env  # noqa: F401 (registers `meet`)

import sfmarl
from sfmarl.command.launching import launch


def closer(transition, weight=0.1, gamma=0.99):
    """Add `weight` times what the gap between an agent and its partner shrinks: potential-based shaping.

    The best policies stay the best ones (Ng, Harada, Russell 1999, "Policy invariance under reward transformations").
    """
    before = -np.abs(transition.obs[..., 0] - transition.obs[..., 1])
    after = -np.abs(transition.next_obs[..., 0] - transition.next_obs[..., 1])
    return transition.reward + weight * (gamma * np.where(transition.terminated, 0.0, after) - before)


sfmarl.register_reward("closer", closer, "pays for coming closer in `meet`")

CONFIG = sfmarl.Config(
    env="meet",
    algo="ippo",
    env_steps=200_000,
    imports=(__file__,),
    reward="closer?weight=0.2",
)

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
