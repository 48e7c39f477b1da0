"""Published weights as NumPy acts with them: views of one flat vector, rewritten once per load.

A tanh network is computed as the sigmoid network that equals it, tanh(x) = 2 sigmoid(2 x) - 1, with the factors and the
shift moved into the weights; the sigmoid is torch's, which is faster than NumPy's tanh.
"""

from __future__ import annotations

import numpy as np

from sfmarl.models.actor import Actor
from sfmarl.models.gru_numpy import GruWeights


class FoldedWeights:
    """Weights and statistics of one categorical policy with R parameter sets and A agents."""

    def __init__(self, actor: Actor) -> None:
        """Zeros in the shapes of `actor`, one that `NumpyActing.supports`."""
        network = actor.network
        self._tanh = network.activation == "tanh"
        self._sets = np.array(network.parameter_set)
        state = actor.state_dict()
        self._flat = np.zeros(sum(tensor.numel() for tensor in state.values()), np.float32)
        views, start = {}, 0
        for name, tensor in state.items():
            views[name] = self._flat[start : start + tensor.numel()].reshape(tensor.shape)
            start += tensor.numel()
        self.mean: np.ndarray | None = views.get("normaliser.mean")
        """Of the observations [*obs]; None when they are not normalised."""
        self.inv_std: np.ndarray | None = views.get("normaliser.inv_std")
        """[*obs], or None."""
        count = len(network.layers)
        self.weights = [views[f"network.layers.{i}.weight"] for i in range(count)]
        """[R, in, out] of each layer; a GRU lies before the last one."""
        self.biases = [views[f"network.layers.{i}.bias"] for i in range(count)]
        """[R, out]."""
        self.ids: np.ndarray | None = views.get("network.ids.weight")
        """What an agent's id adds to the first layer [A, out]; None without ids."""
        self.agent_bias = None if self.ids is None else np.empty_like(self.ids)
        """The first layer's bias of each agent [A, out]: its set's and its id's."""
        self.group_weights, self.group_biases = self.weights, self.biases
        """[A, in, out] and [A, out] of each layer, one per agent, when there are several sets; else those above."""
        self._gathered = network.num_sets > 1 and not network.identity
        if self._gathered:
            agents = len(self._sets)
            self.group_weights = [np.empty((agents, *w.shape[1:]), np.float32) for w in self.weights]
            self.group_biases = [np.empty((agents, *b.shape[1:]), np.float32) for b in self.biases]
        self.gru = GruWeights(views, "network.recurrence") if actor.state_size else None
        """Of the recurrent layer, if there is one."""

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        own = [self._flat]
        if self._gathered:
            own += self.group_weights + self.group_biases
        if self.agent_bias is not None:
            own.append(self.agent_bias)
        return sum(array.nbytes for array in own) + (0 if self.gru is None else self.gru.nbytes)

    def load(self, flat: np.ndarray) -> None:
        """Take over `flat` float32 [flat_size], as `acting.flatten_into` wrote it."""
        np.copyto(self._flat, flat)
        if self._tanh:
            self._to_sigmoid()
        if self.gru is not None:
            self.gru.fold(from_sigmoid=self._tanh and len(self.weights) > 1)
        if self._gathered:
            for i in range(len(self.weights)):
                np.take(self.weights[i], self._sets, axis=0, out=self.group_weights[i])
                np.take(self.biases[i], self._sets, axis=0, out=self.group_biases[i])
        if self.agent_bias is not None:
            np.add(self.biases[0][self._sets], self.ids, out=self.agent_bias)

    def _to_sigmoid(self) -> None:
        """Rewrite the weights so that each hidden layer ends in a sigmoid s, whose 2 s - 1 is the layer's tanh."""
        last = len(self.weights) - 1
        for i, (weights, biases) in enumerate(zip(self.weights, self.biases, strict=True)):
            # what a GRU remembers is no sigmoid: the head takes it as it is
            if i > 0 and (i < last or self.gru is None):
                biases -= weights.sum(axis=1)
                weights *= 2.0
            if i < last:
                weights *= 2.0
                biases *= 2.0
        if self.ids is not None and last > 0:
            self.ids *= 2.0
