"""Drawing categorical actions on the CPU, without allocation that grows with the actions.

Logits are laid out [G, P, M], actions before rows, so that every reduction of the softmax runs along contiguous rows.
Sampling inverts the cumulative distribution: one uniform number per row and component.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np

from sfmarl.models.buffers import Buffers
from sfmarl.models.distributions import ILLEGAL


class CategoricalDraw:
    """Draws actions of K categoricals side by side (`discrete`: K = 1)."""

    def __init__(self, nvec: Sequence[int], generator: np.random.Generator, buffers: Buffers) -> None:
        """`nvec` are the choices of each component; P is their sum."""
        self._generator, self._buffers = generator, buffers
        self._components = [slice(first, last) for first, last in pairwise(accumulate(nvec, initial=0))]

    def forbid(self, logits: np.ndarray, mask: np.ndarray) -> None:
        """Write ILLEGAL where `mask` [G, P, M] is False, unless a component has no legal action at all."""
        illegal = self._buffers("illegal", *logits.shape, dtype=np.bool_)
        for part in self._components:
            bad = illegal[:, part]
            legal = mask[:, part]
            np.logical_not(legal, out=bad)
            np.logical_and(bad, legal.any(axis=1, keepdims=True), out=bad)
        np.copyto(logits, ILLEGAL, where=illegal)

    def draw(self, logits: np.ndarray, greedy: bool, action: np.ndarray, log_prob: np.ndarray) -> None:
        """Write actions [G, M, K] and log-probabilities [G, M] of logits [G, P, M], which are overwritten."""
        groups, width, rows = logits.shape
        place = np.arange(rows) + np.arange(groups)[:, None] * (width * rows)
        uniform = self._buffers("uniform", len(self._components), groups, rows)
        if not greedy:
            self._generator.random(out=uniform, dtype=np.float32)
        chosen = self._buffers("chosen", groups, rows)
        for k, part in enumerate(self._components):
            p = logits[:, part]
            np.subtract(p, p.max(axis=1, keepdims=True), out=p)
            np.exp(p, out=p)
            cdf = np.cumsum(p, axis=1, out=self._buffers("cdf", *p.shape))
            total = cdf[:, -1]
            if greedy:
                index = p.argmax(axis=1)
            else:
                # strictly below the total, so that the first cdf above it belongs to an action of positive probability
                level = np.minimum(uniform[k] * total, np.nextafter(total, np.float32(0.0)))
                index = (cdf <= level[:, None]).sum(axis=1)
            action[:, :, k] = index
            np.take(logits.reshape(-1), place + (index + part.start) * rows, out=chosen, mode="clip")
            np.divide(chosen, total, out=chosen)
            np.log(chosen, out=chosen)
            if k == 0:
                log_prob[...] = chosen
            else:
                log_prob += chosen
