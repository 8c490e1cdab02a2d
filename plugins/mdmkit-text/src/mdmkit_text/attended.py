"""How much each column attends to each key, for samplers that read attention.

The kernels of attention return no weights. So the weights of the last layers are computed once more, beside them.

Shapes: M states, L columns each, K keys (shadow columns included in both), H query heads, G heads of keys, E the width
of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor

# The layers nearest to the prediction; DAWN (arXiv:2602.06953) averages over as many.
LAYERS = 4
# Scores that are computed at a time, in heads: 64 MiB of fp32.
MOST = 1 << 24


class Attended:
    """Adds up the attention weights of one forward.

    Args:
        layers: how many layers the model has.

    Attributes:
        weights: fp32 [M, L, K]; after the forward: the mean over all heads of the last `LAYERS` layers.
    """

    weights: Tensor

    def __init__(self, layers: int):
        self._first = max(0, layers - LAYERS)
        self._layers, self._begun = layers - self._first, False

    def add(self, layer: int, query: Tensor, key: Tensor, mask: Tensor | None, scale: float | None) -> None:
        """Add a layer's weights: query [M, H, L, E], key [M, G, K, E], mask bool [M, 1, L, K]; None: all are read."""
        if layer < self._first:
            return
        (m, heads, length, width), keys = query.shape, key.shape[2]
        if not self._begun:
            self.weights, self._begun = query.new_zeros(m, length, keys, dtype=torch.float32), True
        query = query * (width**-0.5 if scale is None else scale)
        owner = torch.arange(heads, device=key.device) // (heads // key.shape[1])
        for some in torch.arange(heads, device=key.device).split(max(1, MOST // (m * length * keys))):
            scores = (query[:, some] @ key[:, owner[some]].transpose(2, 3)).float()
            if mask is not None:
                scores = scores.masked_fill(~mask, -torch.inf)
            self.weights += scores.softmax(-1).sum(1) / (heads * self._layers)
