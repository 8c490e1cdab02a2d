"""From counts to a transition matrix: Witten-Bell smoothing, interpolated with the unigram."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def witten_bell(first: Tensor, second: Tensor, count: Tensor, unigram: Tensor) -> Tensor:
    """Smooth pair counts into P(second | first), float64 [V, V], every row summing to 1.

    P(w | v) = (c(v, w) + t(v) p(w)) / (c(v) + t(v)), where t(v) counts the different words seen after v and p is the
    unigram (Witten & Bell 1991, method C; interpolated as in Chen & Goodman 1999). A word that is never followed by
    another gets the unigram. `first`, `second` and `count` are int [n], one entry per pair seen; `unigram` int [V],
    positive.
    """
    p = unigram.double() / unigram.sum()
    counts = torch.zeros(len(p), len(p), dtype=torch.float64)
    counts[first.long(), second.long()] = count.double()
    total, kinds = counts.sum(1, keepdim=True), (counts > 0).sum(1, keepdim=True).clamp_min(1)
    return (counts + kinds * p) / (total + kinds)
