"""Settings of the PPO family, and the presets: named combinations of its three switches (see `ppo`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal

from sfmarl.errors import UsageError
from sfmarl.models.encoders import NetConfig
from sfmarl.models.recurrence import RnnKind


@dataclass
class Hyperparameters:
    """Settings of the PPO family; the defaults are MAPPO's (Yu et al. 2022)."""

    critic: Literal["own", "state"] = "state"
    """Critic's input: each agent's own observation, or a central state."""
    returns: Literal["gae", "vtrace", "nstep"] = "vtrace"
    """Return estimator; `vtrace` corrects for policy lag and is GAE when there is none (sync, serial)."""
    surrogate: Literal["clip", "pg"] = "clip"
    """Policy loss: PPO's clipped ratio, or the plain policy gradient."""

    gamma: float = 0.99
    """Discount per time step, in [0, 1]."""
    trace_lambda: float = 0.95
    """Lambda of GAE and V-trace, in [0, 1]."""
    n_step: int = 0
    """Steps of n-step returns; 0 = to the end of the slot."""
    rho_bar: float = 1.0
    """V-trace: ceiling of the importance weight of a step's own error."""
    c_bar: float = 1.0
    """V-trace: ceiling of the importance weights that carry later errors back."""
    recompute_values: bool = False
    """Recompute values, targets and advantages at every epoch instead of once per update."""

    lr: float = 7e-4
    """Adam's learning rate of the actor at the start of the run."""
    critic_lr: float = 0.0
    """Adam's learning rate of the critic; 0 = as `lr`."""
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Course of both learning rates over the run's step budget."""
    lr_final: float = 0.0
    """Learning rates at the end of the run, as a fraction of their start (linear and cosine)."""
    adam_eps: float = 1e-5
    """Adam's epsilon."""
    max_grad_norm: float = 10.0
    """Ceiling of the actor's and of the critic's gradient norm; 0 = no clipping."""
    epochs: int = 10
    """Passes over each batch."""
    minibatches: int = 1
    """Optimiser steps per epoch, on random disjoint parts of the batch: of its steps, or of its lanes with memory."""
    target_kl: float = 0.05
    """Stop the epochs of an update once KL(old || new) in nats exceeds this; checked once per epoch; 0 = never."""

    clip: float = 0.2
    """PPO's clipping range of the probability ratio."""
    entropy_coef: float = 0.01
    """Weight of the entropy bonus, per nat."""
    huber_delta: float = 10.0
    """Value errors beyond this count linearly (in standard deviations of the targets if normalised); 0 = squared."""
    value_clip: float = 0.2
    """Clipped value loss: how far a value may move within an update, in the critic's units; 0 = off."""
    normalise_values: bool = True
    """Train the critic on targets of mean 0 and standard deviation 1."""
    value_norm_decay: float = 0.999
    """Decay per update of the (debiased) averages behind `normalise_values`."""
    normalise_advantages: bool = True
    """Standardise advantages over the active samples of a batch."""
    normalise_returns: bool = False
    """Divide rewards by the running standard deviation of the discounted reward sums within slots."""

    hidden: tuple[int, ...] = (64, 64)
    """Units of the hidden layers of actor and critic."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Non-linearity of the hidden layers."""
    layer_norm: bool = False
    """Normalise each hidden layer's activations."""
    agent_id: bool = True
    """Tell agents that share parameters who they are."""
    normalise_obs: bool = True
    """Normalise vector observations by their running mean and standard deviation."""

    actor_rnn: RnnKind = "none"
    """Memory of the actor: none | gru | lstm, learned through the `rollout` steps of a slot."""
    critic_rnn: RnnKind = "none"
    """Memory of the critic; a central one remembers once for its whole team."""
    rnn_size: int = 64
    """Units of the recurrent layers."""
    encoder: str = ""
    """Registered model between an agent's observation and the hidden layers: `name?key=value`; empty = built in."""
    state_encoder: str = ""
    """The same for a central critic, whose input is the state."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Matrix products of encoders, hidden layers and memory, acting and learning alike; heads are always float32."""
    compile: bool = False
    """Compile the learner's networks and losses (torch.compile): worth it on a GPU; the first updates take longer."""

    def __post_init__(self) -> None:
        """Raises UsageError for numbers of the wrong kind or out of range; `hidden` may be given as a list."""
        self.hidden = _layer_sizes(self.hidden)
        unit = {"gamma", "trace_lambda", "lr_final", "value_norm_decay"}
        least = {"epochs": 1, "minibatches": 1, "rnn_size": 1}
        for field in fields(self):
            value, smallest = getattr(self, field.name), least.get(field.name, 0)
            if field.type not in ("int", "float"):
                continue
            if isinstance(value, bool) or not isinstance(value, int if field.type == "int" else (int, float)):
                raise UsageError(f"Hyperparameter {field.name} must be of type {field.type}, got {value!r}.")
            if not value >= smallest:
                raise UsageError(f"Hyperparameter {field.name} must be at least {smallest}, got {value}.")
            if field.name in unit and value > 1:
                raise UsageError(f"Hyperparameter {field.name} must lie in [0, 1], got {value}.")

    def net(self, rnn: RnnKind, encoder: str) -> NetConfig:
        """Return what the actor or the critic looks like, which has this memory and this encoder."""
        return NetConfig(
            hidden=self.hidden,
            activation=self.activation,
            layer_norm=self.layer_norm,
            agent_id=self.agent_id,
            normalise_obs=self.normalise_obs,
            rnn=rnn,
            rnn_size=self.rnn_size,
            encoder=encoder,
            precision=self.precision,
        )


def _layer_sizes(hidden: Any) -> tuple[int, ...]:
    sizes = tuple(hidden) if isinstance(hidden, (tuple, list)) else ()
    if not sizes or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in sizes):
        raise UsageError(f"Hyperparameter hidden must list at least one layer's units, e.g. (64, 64), got {hidden!r}.")
    return sizes


PRESETS: dict[str, tuple[Callable[[], Hyperparameters], str]] = {
    "ippo": (
        lambda: Hyperparameters(critic="own"),
        "PPO with V-trace, 10 epochs per batch; each agent's critic sees its own observation",
    ),
    "mappo": (lambda: Hyperparameters(critic="state"), "ippo with a central critic, which sees the state"),
    "appo": (
        lambda: Hyperparameters(critic="own", epochs=4),
        "ippo with 4 epochs per batch: less reuse, so updates are cheaper and data is fresher",
    ),
    "a2c": (
        lambda: Hyperparameters(critic="own", returns="nstep", surrogate="pg", epochs=1, value_clip=0.0),
        "advantage actor-critic: n-step returns, plain policy gradient, one epoch",
    ),
}
"""Preset name -> (fresh hyperparameters, one line for `sfmarl list`)."""
