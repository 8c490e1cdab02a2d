"""The best positions of which no two are close, so that tokens of one step depend little on each other."""

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
    """The positions closer than `distance` to a position: along the sequence, or on a grid in both directions.

    Attributes:
        distance: at least 1, which reaches no other position. On a grid the larger of the distances in rows and in
            columns.
        grid: (height, width), if the sequence is a flattened image.
        cell: int64 [B, W]; the position in its row of each column of the window. Read only with a grid.
    """

    distance: int
    grid: tuple[int, int] | None
    cell: Tensor

    @classmethod
    def of(cls, step: Step, distance: int) -> Reach:
        return cls(distance, step.canvas.grid, step.position)

    @property
    def most(self) -> int:
        """How many positions fit that do not reach each other."""
        sides = (self.cell.shape[-1],) if self.grid is None else self.grid
        return torch.Size(-(-side // self.distance) for side in sides).numel()

    def __call__(self, values: Tensor) -> Tensor:
        """The largest of values [B, N, W], from 0 up, within reach of each position."""
        width, margin = 2 * self.distance - 1, self.distance - 1
        if self.grid is None:
            return functional.max_pool1d(values, width, stride=1, padding=margin)
        # The window may be a part of the grid, or wider than it, if another row's window is wider. A column without a
        # cell has the value 0, which has no effect.
        cell = self.cell.clamp_max(self.grid[0] * self.grid[1] - 1)[:, None].expand_as(values)
        cells = values.new_zeros(*values.shape[:2], self.grid[0] * self.grid[1])
        cells = cells.scatter_reduce(-1, cell, values, "amax").unflatten(-1, self.grid)
        return functional.max_pool2d(cells, width, stride=1, padding=margin).flatten(-2).gather(-1, cell)


def spaced_top(wants: Tensor, eligible: Tensor, count: Tensor, reach: Reach) -> Tensor:
    """Choose up to `count` eligible positions: bool [B, N, W].

    Take the positions by `wants`, largest first, and skip those within reach of one already taken. If fewer than
    `count` are left, the best of the skipped ones are added, so that the plan is kept.

    Args:
        wants: [B, N, W]; the first of equal ones comes first.
        eligible: bool, broadcasts to [B, N, W].
        count: int64, broadcasts to [B, N].
        reach: the reach of a position; at distance 1 this is plain top-k.
    """
    if reach.distance == 1:
        return ops.top(wants, eligible, count)
    apart = _apart(wants, eligible, reach)
    first = ops.top(wants, apart, count)
    return first | ops.top(wants, eligible & ~apart, count - first.sum(-1))


def _apart(wants: Tensor, eligible: Tensor, reach: Reach) -> Tensor:
    """Every position that this procedure takes without a limit on the count."""
    width = wants.shape[-1]
    order = wants.masked_fill(~eligible, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    height = torch.where(eligible, width - order.argsort(dim=-1), 0).float()  # whole numbers, no two equal
    taken = torch.zeros_like(height, dtype=torch.bool)
    # A round takes every position that is the best within its reach, because the one-by-one procedure would take it
    # too. Each round takes at least one, and at most this many fit.
    for _ in range(min(width, reach.most)):
        best = (height == reach(height)) & (height > 0)
        taken |= best
        height = height.masked_fill(reach(best.float()) > 0, 0.0)
    return taken
