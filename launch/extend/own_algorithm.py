"""Your algorithm: REINFORCE with a baseline (Williams 1992) in one file, in any mode, on any environment."""

import sys
from dataclasses import dataclass

import torch

import sfmarl
from sfmarl.algorithms.losses import masked_mean
from sfmarl.algorithms.returns import discounted
from sfmarl.algorithms.saving import load_in_place
from sfmarl.command.launching import launch
from sfmarl.models.actor import Actor
from sfmarl.models.encoders import NetConfig


@dataclass
class Hyperparameters:
    """Settings of REINFORCE; their docstrings are the command line's help."""

    lr: float = 3e-3
    """Adam's learning rate."""
    gamma: float = 0.9
    """Discount per time step."""
    hidden: tuple[int, ...] = (64,)
    """Units of the hidden layers."""


class Reinforce:
    """Raise the log-probability of actions by the discounted rewards that follow, less their mean."""

    Hyperparameters = Hyperparameters

    def __init__(self, spec, hp, device, seed):
        self.hp, self.actor = hp, self.build_actor(spec, hp, seed).to(device)
        self.adam = torch.optim.Adam(self.actor.parameters(), hp.lr)

    @staticmethod
    def build_actor(spec, hp, seed=0):
        """Build the network that acts: inference workers and evaluations load its weights."""
        return Actor(spec, NetConfig(hp.hidden, normalise_obs=False), seed)

    @staticmethod
    def central_critic(hp):
        """There is no critic, so no state is stored."""
        return False

    def update(self, batch, progress):
        """Take one step on a batch [T, N, A]; what is returned becomes `learner/<policy>/<name>`."""
        acted, mask = batch.active[:-1], None if batch.action_mask is None else batch.action_mask[:-1]
        returns = discounted(batch.reward, batch.terminated, batch.truncated, acted, self.hp.gamma)
        weight = acted.float()  # padding and the dead have no influence
        advantage = returns - masked_mean(returns, weight)
        obs = self.actor.prepare(batch.obs[:-1])
        log_prob, entropy = self.actor.evaluate(obs, batch.action, mask, batch.agent_index)
        loss = -masked_mean(log_prob * advantage, weight)
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        return {"loss_policy": loss.detach(), "entropy": masked_mean(entropy, weight).detach()}

    def state_dict(self):
        """Return what a resumed run needs; Adam's averages begin anew."""
        return {"tensors": {name: x.detach().clone() for name, x in self.actor.state_dict().items()}, "scalars": {}}

    def load_state_dict(self, state):
        """Restore it."""
        load_in_place(self.actor.state_dict(), state["tensors"])


sfmarl.register_algorithm("reinforce", Reinforce)

CONFIG = sfmarl.Config(env="games/penalty", algo="reinforce", env_steps=200_000, imports=(__file__,))

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
