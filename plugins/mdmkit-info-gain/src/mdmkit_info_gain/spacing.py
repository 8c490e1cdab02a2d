"""The best positions of which no two lie close together: what is written in one step should be weakly dependent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from mdmkit import ops

if TYPE_CHECKING:
    from torch import Tensor


def spaced_top(wants: Tensor, eligible: Tensor, count: Tensor, distance: int) -> Tensor:
    """Choose up to `count` eligible positions: bool [B, N, W].

    Walks down the wants and skips what lies closer than `distance` to a position already taken. Where that leaves fewer
    than `count`, the best of those skipped make up for it, so that the plan is kept.

    Args:
        wants: [B, N, W]; the first of equal ones comes first.
        eligible: bool, broadcasts to [B, N, W].
        count: int64, broadcasts to [B, N].
        distance: from 1; 1 is plain top-k.
    """
    if distance == 1:
        return ops.top(wants, eligible, count)
    apart = _apart(wants, eligible, distance)
    first = ops.top(wants, apart, count)
    return first | ops.top(wants, eligible & ~apart, count - first.sum(-1))


def _apart(wants: Tensor, eligible: Tensor, distance: int) -> Tensor:
    """Every position that such a walk takes if it goes on to the end."""
    width = wants.shape[-1]
    order = wants.masked_fill(~eligible, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    height = torch.where(eligible, width - order.argsort(dim=-1), 0).float()  # whole numbers, no two equal
    taken = torch.zeros_like(height, dtype=torch.bool)
    # A round takes every position that is the best within reach, at once: the walk would take it whatever else it
    # takes. It always takes one, and no more than this many fit.
    for _ in range(-(-width // distance)):
        best = (height == _reach(height, distance)) & (height > 0)
        taken |= best
        height = height.masked_fill(_reach(best.float(), distance) > 0, 0.0)
    return taken


def _reach(values: Tensor, distance: int) -> Tensor:
    """The largest value closer than `distance`, position by position."""
    return functional.max_pool1d(values, 2 * distance - 1, stride=1, padding=distance - 1)
