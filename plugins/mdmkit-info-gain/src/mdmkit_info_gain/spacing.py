"""The best positions of which no two lie close together: what is written in one step should be weakly dependent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from mdmkit import ops

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Step


@dataclass(frozen=True)
class Reach:
    """What lies closer than `distance` to a position: along the sequence, or on a grid in both directions.

    Attributes:
        distance: from 1, which reaches nothing else. On a grid the larger of the distances in rows and in columns.
        grid: (height, width), where the sequence is a flattened image.
        cell: int64 [B, W]; each window column's place in its row. Read with a grid only.
    """

    distance: int
    grid: tuple[int, int] | None
    cell: Tensor

    @classmethod
    def of(cls, step: Step, distance: int) -> Reach:
        return cls(distance, step.canvas.grid, step.position)

    @property
    def most(self) -> int:
        """How many positions fit that do not reach one another."""
        sides = (self.cell.shape[-1],) if self.grid is None else self.grid
        return torch.Size(-(-side // self.distance) for side in sides).numel()

    def __call__(self, values: Tensor) -> Tensor:
        """The largest of values [B, N, W], from 0 up, within reach of each position."""
        width, margin = 2 * self.distance - 1, self.distance - 1
        if self.grid is None:
            return functional.max_pool1d(values, width, stride=1, padding=margin)
        # The window may be a part of the grid, and go on beyond it where another row's is wider: a column without a
        # cell has the value 0, which changes none.
        cell = self.cell.clamp_max(self.grid[0] * self.grid[1] - 1)[:, None].expand_as(values)
        cells = values.new_zeros(*values.shape[:2], self.grid[0] * self.grid[1])
        cells = cells.scatter_reduce(-1, cell, values, "amax").unflatten(-1, self.grid)
        return functional.max_pool2d(cells, width, stride=1, padding=margin).flatten(-2).gather(-1, cell)


def spaced_top(wants: Tensor, eligible: Tensor, count: Tensor, reach: Reach) -> Tensor:
    """Choose up to `count` eligible positions: bool [B, N, W].

    Walks down the wants and skips what is within reach of a position already taken. Where that leaves fewer than
    `count`, the best of those skipped make up for it, so that the plan is kept.

    Args:
        wants: [B, N, W]; the first of equal ones comes first.
        eligible: bool, broadcasts to [B, N, W].
        count: int64, broadcasts to [B, N].
        reach: of a position; at distance 1 this is plain top-k.
    """
    if reach.distance == 1:
        return ops.top(wants, eligible, count)
    apart = _apart(wants, eligible, reach)
    first = ops.top(wants, apart, count)
    return first | ops.top(wants, eligible & ~apart, count - first.sum(-1))


def _apart(wants: Tensor, eligible: Tensor, reach: Reach) -> Tensor:
    """Every position that such a walk takes if it goes on to the end."""
    width = wants.shape[-1]
    order = wants.masked_fill(~eligible, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    height = torch.where(eligible, width - order.argsort(dim=-1), 0).float()  # whole numbers, no two equal
    taken = torch.zeros_like(height, dtype=torch.bool)
    # A round takes every position that is the best within reach, at once: the walk would take it whatever else it
    # takes. It always takes one, and no more than this many fit.
    for _ in range(min(width, reach.most)):
        best = (height == reach(height)) & (height > 0)
        taken |= best
        height = height.masked_fill(reach(best.float()) > 0, 0.0)
    return taken
