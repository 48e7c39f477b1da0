"""Many policies at once in torch: rows sorted by policy and cut into blocks of equal height, one bmm per layer.

A policy with many rows takes several blocks, so that one which plays most of the rows does not set the height of all:
at most as many rows are added as there are. A block's weights are gathered within the device. Outputs go back to the
order of the rows before anything is drawn.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sfmarl.models import distributions
from sfmarl.models.actor import Actor
from sfmarl.models.bank_slots import TorchSlots, in_order
from sfmarl.models.mlp import tanh_
from sfmarl.models.normaliser import CLIP
from sfmarl.specs import PolicySpec

_LOW = 32
"""Rows below which a product takes no less time."""


def _height(rows: int, policies: int) -> int:
    """Return the rows of a block: a quarter of a policy's mean, which pads little and copies weights four times."""
    mean = -(-rows // policies)
    return max(-(-mean // 4), min(mean, _LOW))


class Blocks:
    """Acts for K feed-forward policies with R parameter sets each, on any device."""

    def __init__(self, actor: Actor, spec: PolicySpec, slots: TorchSlots) -> None:
        """`slots` hold the weights; the generator is that of their `acting`."""
        network = actor.network
        self._spec, self._device = spec, slots.flat.device
        self._generator = slots.acting.generator
        self._tanh = network.activation == "tanh"
        self._num_sets, self._num_agents = network.num_sets, network.num_agents
        self._sets = np.array(network.parameter_set)
        views, start = {}, 0
        for name, tensor in actor.state_dict().items():
            views[name] = slots.flat[:, start : start + tensor.numel()].unflatten(1, tensor.shape)
            start += tensor.numel()
        count = len(network.layers)
        self._weights = [views[f"network.layers.{i}.weight"] for i in range(count)]
        self._biases = [views[f"network.layers.{i}.bias"] for i in range(count)]
        self._ids: Tensor | None = views.get("network.ids.weight")
        self._log_std: Tensor | None = views.get("log_std")
        self._mean: Tensor | None = views.get("normaliser.mean")
        self._inv_std: Tensor | None = views.get("normaliser.inv_std")

    @staticmethod
    def supports(actor: Actor) -> bool:
        """Whether this implementation covers `actor`."""
        network = actor.network
        plain = network.conv is None and network.recurrence is None and not network.layer_norm
        return plain and network.precision == "float32"

    @torch.inference_mode()
    def act(
        self,
        obs: np.ndarray,
        slot: np.ndarray,
        action_mask: np.ndarray | None,
        agent_index: np.ndarray | None,
        greedy: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `WeightBank.act`."""
        b, a = obs.shape[:2]
        agents = np.broadcast_to(np.arange(a), (b, a)) if agent_index is None else agent_index
        sets = self._sets[agents]
        # what is sorted are rows, or with several sets the agents of rows: U units of W agents each
        if self._num_sets == 1:
            units, width, keys = b, a, slot
        else:
            units, width, keys = b * a, 1, (slot[:, None] * self._num_sets + sets).reshape(-1)
        order = in_order(keys)
        height = _height(units, len(order.keys))
        per_key = -(-order.counts // height)
        block_key = np.repeat(order.keys, per_key)
        first_unit, first_place = (np.cumsum(n) - n for n in (order.counts, per_key * height))
        # where each unit lies in the blocks, and which unit lies in each place; padding repeats some unit
        place = np.empty(units, np.int64)
        place[order.rows] = np.arange(units) + np.repeat(first_place - first_unit, order.counts)
        source = np.full(len(block_key) * height, order.rows[0])
        source[place] = np.arange(units)
        block_slot = block_key // self._num_sets
        source, place, block_slot, block_set, agent, set_, slot = self._indices(
            source, place, block_slot, block_key % self._num_sets, agents, sets, slot
        )
        x = self._tensor(obs).reshape(units, width, -1)[source].view(len(block_key), height * width, -1).float()
        if self._mean is not None:
            mean, inv_std = (view.flatten(1)[block_slot, None] for view in (self._mean, self._inv_std))
            x = (x - mean).mul_(inv_std).clamp_(-CLIP, CLIP)
        last = len(self._weights) - 1
        for i in range(last + 1):
            x = torch.baddbmm(self._biases[i][block_slot, block_set, None], x, self._weights[i][block_slot, block_set])
            if i == 0 and self._ids is not None:
                of_unit = agent.reshape(units, width)[source].view(len(block_key), -1)
                x += self._ids[block_slot[:, None], of_unit]
            if i < last:
                x = tanh_(x) if self._tanh else x.relu_()
        params = x.view(len(source), width, -1)[place].view(b, a, -1)
        log_std = None if self._log_std is None else self._log_std[slot.view(b, 1), set_.view(b, a)]
        mask = None if action_mask is None else self._tensor(action_mask)
        return self._draw(params, mask, log_std, greedy)

    def _draw(
        self, params: Tensor, mask: Tensor | None, log_std: Tensor | None, greedy: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what is chosen from head outputs [B, A, P], on the host."""
        spec = self._spec.action
        if greedy:
            action = distributions.mode(spec, params, mask)
            log_prob = distributions.log_prob(spec, params, action, mask, log_std)
        else:
            noise = distributions.draw_noise(spec, torch.empty_like(params), self._generator)
            action, log_prob = distributions.sample(spec, params, noise, mask, log_std)
        dtype = torch.float32 if spec.kind == "continuous" else torch.int32
        return action.to(dtype).cpu().numpy(), log_prob.cpu().numpy()

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.require(array, requirements="CW")).to(self._device)

    def _indices(self, *arrays: np.ndarray) -> list[Tensor]:
        """Return index arrays, flat, on the device; there they went together."""
        flat = [array.reshape(-1) for array in arrays]
        together = torch.from_numpy(np.concatenate(flat, dtype=np.int64)).to(self._device)
        return list(together.split([len(array) for array in flat]))
