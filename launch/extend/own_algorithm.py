"""Your algorithm: REINFORCE with a baseline (Williams 1992), in any mode, on any environment."""

import sys
from dataclasses import dataclass

import sfmarl
from sfmarl.algorithms.actor_only import ActorOnly
from sfmarl.algorithms.losses import masked_mean
from sfmarl.algorithms.returns import discounted
from sfmarl.command.launching import launch


@dataclass
class Hyperparameters:
    """Settings of REINFORCE; their docstrings are the command line's help."""

    lr: float = 3e-3
    """Adam's learning rate."""
    gamma: float = 0.9
    """Discount per time step."""
    hidden: tuple[int, ...] = (64,)
    """Units of the hidden layers."""


class Reinforce(ActorOnly):  # an algorithm with networks of its own implements `sfmarl.algorithms.base.Algorithm`
    """Raise the log-probability of actions by the discounted rewards that follow, less their mean."""

    Hyperparameters = Hyperparameters

    def loss(self, batch, log_prob, entropy, weight):
        """Return the loss of a batch [T, N, A]; rows of `weight` 0 are padding and the dead."""
        returns = discounted(batch.reward, batch.terminated, batch.truncated, weight > 0, self.hp.gamma)
        return -masked_mean(log_prob * (returns - masked_mean(returns, weight)), weight)


sfmarl.register_algorithm("reinforce", Reinforce)
CONFIG = sfmarl.Config(env="games/penalty", algo="reinforce", env_steps=200_000, imports=(__file__,))

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
