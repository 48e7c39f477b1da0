"""Acting and learning in plain eager torch: what the same networks cost whoever writes them down as usual.

Nothing here is sfmarl's: `nn.Linear`, `nn.Conv2d`, `nn.GRU`, a categorical distribution in three lines. Observations
are normalised already, agents have no ids, sequences are not cut where episodes begin, and the loss is the shortest
one that reaches every output.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from bare_env import Bare
from torch import Tensor, nn

from sfmarl.algorithms.hyperparameters import Hyperparameters
from sfmarl.specs import PolicySpec, is_image

FORWARD_ROWS = 256
"""Rows of one bare forward pass."""
CONVOLUTIONS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
"""Nature CNN (Mnih et al. 2015): channels, kernel, stride."""


class EagerNet(nn.Module):
    """Rows [..., *shape] -> [..., outputs]; with a GRU rows are [T, N, *shape] and begin with an empty memory."""

    def __init__(self, shape: Sequence[int], outputs: int, hp: Hyperparameters, rnn: str) -> None:
        """`rnn` is `none` or `gru`; pictures need at least 36 x 36 pixels."""
        super().__init__()
        if rnn not in ("none", "gru") or hp.layer_norm or hp.encoder:
            raise ValueError("written for multi-layer perceptrons, pictures and GRUs")
        self.dims = len(shape)
        activation = nn.Tanh if hp.activation == "tanh" else nn.ReLU
        layers: list[nn.Module] = []
        width = math.prod(shape)
        self.pictures = is_image(tuple(shape))
        if self.pictures:
            height, breadth, channels = shape
            for units, kernel, stride in CONVOLUTIONS:
                layers += [nn.Conv2d(channels, units, kernel, stride), nn.ReLU()]
                height, breadth, channels = (height - kernel) // stride + 1, (breadth - kernel) // stride + 1, units
            layers.append(nn.Flatten())
            width = height * breadth * channels
        for units in hp.hidden:
            layers += [nn.Linear(width, units), activation()]
            width = units
        self.body = nn.Sequential(*layers)
        self.gru = nn.GRU(width, hp.rnn_size) if rnn == "gru" else None
        self.head = nn.Linear(hp.rnn_size if self.gru else width, outputs)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return (outputs, memory [1, N, units] after the last row)."""
        lead = x.shape[: x.dim() - self.dims]
        x = x.reshape(-1, *x.shape[-3:]).movedim(-1, 1) / 255.0 if self.pictures else x.flatten(len(lead))
        x = self.body(x).view(*lead, -1)
        if self.gru is not None:
            x, state = self.gru(x, state)
        return self.head(x), state


def forward_torch_work(spec: PolicySpec, hp: Hyperparameters) -> Bare:
    """Return one eager forward pass on `FORWARD_ROWS` rows, with a sampled action and its log-probability."""
    net = EagerNet(spec.obs.shape, spec.action.param_size, hp, hp.actor_rnn)
    obs = random_obs(spec, (1, FORWARD_ROWS) if net.gru else (FORWARD_ROWS,))
    mask = random_masks(spec, obs.shape[: obs.dim() - net.dims])
    memory = torch.zeros(1, FORWARD_ROWS, hp.rnn_size) if net.gru else None

    @torch.inference_mode()
    def work() -> int:
        nonlocal memory
        logits, memory = net(obs, memory)
        log_probs = _log_probs(logits, mask).view(FORWARD_ROWS, -1)
        action = torch.multinomial(log_probs.exp(), 1)
        log_probs.gather(-1, action)
        return FORWARD_ROWS

    return work


def learn_torch_work(spec: PolicySpec, hp: Hyperparameters, steps: int, lanes: int, agents: int) -> Bare:
    """Return forward, backward, clipping and Adam on one batch of `lanes` slots of `steps` steps and `agents` agents.

    A central critic sees each lane once.
    """
    own = spec.state_source == "own"
    actor = EagerNet(spec.obs.shape, spec.action.param_size, hp, hp.actor_rnn)
    joint = spec.state_shape or (spec.num_agents * math.prod(spec.obs.shape),)
    critic = EagerNet(spec.obs.shape if own else joint, 1 if own else agents, hp, hp.critic_rnn)
    adam = torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=1e-6, fused=True)
    rows = (steps, lanes * agents)
    obs, mask = random_obs(spec, rows), random_masks(spec, rows)
    seen = obs if own else torch.randn(steps, lanes, *joint)
    action = torch.randint(spec.action.nvec[0], (*rows, 1)) if mask is None else mask.int().argmax(-1, keepdim=True)
    advantage, target = torch.randn(*rows, 1), torch.randn(steps, lanes * agents)

    def work() -> int:
        log_probs = _log_probs(actor(obs)[0], mask)
        entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
        value = critic(seen)[0].reshape(rows)
        policy = -(log_probs.gather(-1, action) * advantage).mean()
        loss = policy - 0.01 * entropy + (value - target).square().mean()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(actor.parameters(), 10.0)
        nn.utils.clip_grad_norm_(critic.parameters(), 10.0)
        adam.step()
        return steps * lanes * agents

    return work


def random_obs(spec: PolicySpec, lead: Sequence[int]) -> Tensor:
    """Return random observations [*lead, *obs]: uint8 pictures, else float32."""
    if is_image(spec.obs.shape):
        return torch.randint(256, (*lead, *spec.obs.shape), dtype=torch.uint8)
    return torch.randn(*lead, *spec.obs.shape)


def random_masks(spec: PolicySpec, lead: Sequence[int]) -> Tensor | None:
    """Return random masks bool [*lead, n] with something legal everywhere; None for a policy without masks."""
    if not spec.has_mask:
        return None
    mask = torch.rand(*lead, spec.action.mask_size) < 0.5
    return mask.scatter_(-1, torch.randint(spec.action.mask_size, (*lead, 1)), True)


def _log_probs(logits: Tensor, mask: Tensor | None) -> Tensor:
    return (logits if mask is None else logits.masked_fill(~mask, -1e9)).log_softmax(-1)
