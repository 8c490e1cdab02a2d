"""The largest entries along the last dimension.

On a CPU torch's `max` with an index, `argmax` and `topk` take an entry at a time; `amax` takes many. So large rows are
cut into parts: the maximum of each part, then a search in the best part alone. The results are the same: the first of
equal entries wins, and NaN beats everything.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Columns of one part, and from how many entries on it pays to cut.
PART, FROM = 128, 1 << 16


def largest(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest entry of each row of [n, V] and its index int64, both [n]."""
    if not _is_cut(z):
        best = z.max(-1)
        return best.values, best.indices
    top, part = _maxima(z).max(-1)
    columns = _columns(z, part)
    return top, columns.gather(1, z.gather(1, columns).argmax(-1, keepdim=True))[:, 0]


def second(z: Tensor) -> Tensor:
    """Return the second-largest entry of each row of [n, V], V ≥ 2: [n]."""
    if not _is_cut(z):
        return z.topk(2, dim=-1).values[:, 1]
    best = _maxima(z).topk(2, dim=-1)
    inside = z.gather(1, _columns(z, best.indices[:, 0]))
    return torch.maximum(inside.topk(2, dim=-1).values[:, 1], best.values[:, 1])


def _is_cut(z: Tensor) -> bool:
    return z.device.type == "cpu" and z.numel() >= FROM and z.shape[-1] >= 4 * PART


def _maxima(z: Tensor) -> Tensor:
    """The maximum of each part of the rows: [n, parts]."""
    whole = z.shape[-1] // PART * PART
    maxima = z[:, :whole].unflatten(1, (-1, PART)).amax(-1)
    return maxima if whole == z.shape[-1] else torch.cat((maxima, z[:, whole:].amax(-1, keepdim=True)), 1)


def _columns(z: Tensor, part: Tensor) -> Tensor:
    """The columns of one part of each row, int64 [n] -> [n, PART]; the last part begins early enough to be whole."""
    first = (part * PART).clamp_max(z.shape[-1] - PART)
    return first[:, None] + torch.arange(PART, device=z.device)
