"""Each row's window: the columns of its block, gathered so that all rows have the same width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mdmkit import ops


def pick(x: Tensor, columns: Tensor) -> Tensor:
    """Gather x [M, L, …] at columns int64 [M, S], each row at its own: [M, S, …]."""
    return x.gather(1, columns.view(*columns.shape, *[1] * (x.dim() - 2)).expand(-1, -1, *x.shape[2:]))


@dataclass(frozen=True)
class Window:
    """Columns start + 0 … start + W − 1 of each of B rows.

    Attributes:
        start: int64 [B].
        member: bool [B, W]; the columns that belong to the row's own block. The others are there only because another
            row's block is longer.
        same: the start, if it is the same for all rows: a slice then replaces the gather.
    """

    start: Tensor
    member: Tensor
    same: int | None

    @classmethod
    def of(cls, spans: Sequence[tuple[int, int]], device: torch.device) -> Window:
        """Make the window over blocks [start, stop), one per row."""
        width = max(1, *(stop - start for start, stop in spans))
        numbers = ops.uploaded(spans, device)
        start, size = numbers[:, 0], numbers[:, 1] - numbers[:, 0]
        member = torch.arange(width, device=device) < size[:, None]
        same = spans[0][0] if all(span[0] == spans[0][0] for span in spans) else None
        return cls(start, member, same)

    @property
    def width(self) -> int:
        return self.member.shape[1]

    @cached_property
    def columns(self) -> Tensor:
        """int64 [B, W]."""
        return self.start[:, None] + torch.arange(self.width, device=self.start.device)

    def __call__(self, x: Tensor) -> Tensor:
        """Gather any [B, T, …] into [B, W, …]; columns beyond the last one get arbitrary values."""
        if self.same is not None:
            return x[:, self.same : self.same + self.width]
        columns = self.columns.clamp_max(x.shape[1] - 1)
        return pick(x, columns)

    def put(self, x: Tensor, w: Tensor) -> Tensor:
        """Return x [B, T, …] with w [B, W, …] in the row's own block; other columns keep their values."""
        member = self.member.view(*self.member.shape, *[1] * (x.dim() - 2))
        inside = torch.where(member, w.to(x.dtype), self(x))
        if self.same is not None:
            out = x.clone()
            out[:, self.same : self.same + self.width] = inside
            return out
        index = self.columns.view(*self.columns.shape, *[1] * (x.dim() - 2)).expand_as(inside)
        return x.scatter(1, index, inside)

    def placed(self, x: Tensor, place: Tensor, w: Tensor | bool) -> Tensor:
        """Return x [B, T] with w [B, W], or one value, at positions of the window, `place` bool [B, W]."""
        out = x.clone()
        self.write(out, place, w)
        return out

    def write(self, x: Tensor, place: Tensor, w: Tensor | bool) -> None:
        """Write w [B, W], or one value, into x [B, T] in place, at positions of the window, `place` bool [B, W]."""
        if self.same is None:
            own = x.gather(1, self.columns)
            new = own.masked_fill(place, w) if isinstance(w, bool) else torch.where(place, w, own)
            x.scatter_(1, self.columns, new)
            return
        inside = x[:, self.same : self.same + self.width]
        if isinstance(w, bool):
            inside.masked_fill_(place, w)
        else:
            torch.where(place, w, inside, out=inside)

    def at(self, rows: Tensor | slice) -> Window:
        """The windows of rows int64 [M], in this order."""
        return Window(self.start[rows], self.member[rows], self.same)
