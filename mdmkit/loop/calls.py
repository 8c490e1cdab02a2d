"""How states share forwards: which states are in one call, and which columns the call computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mdmkit import ops
from mdmkit.model.cache import Reach

# Tokens (rows times columns) that one forward may hold; larger batches of states are split.
FORWARD_TOKENS = 1 << 16
# A shared forward may compute at most this many times the columns that are needed; otherwise there are two forwards.
SHARING = 1.25
# The same for a model that computes padding in its attention only, if this adds at most so many scores (columns times
# keys): more of them cost more than a second forward. Measured on one core, in a model of 4 layers, d 256.
PACKED, SCORES = 2.0, 1 << 15
# Rows that stand at the same column share a forward nevertheless, if fewer columns than this are computed for nothing:
# so few cost less than a second forward.
SPARE = 512


def share_out(
    reaches: Sequence[Reach], pads: bool, packs: bool = False, side_by_side: bool = False, branches: int = 1
) -> list[list[int]]:
    """Divide states into forwards: one; or two, if one would compute many columns only to fill up its rows.

    Two forwards are cut by width, at the place where the fewest columns are computed.

    A model that `packs` computes no padding, so all states share one forward. If its attention needs them
    `side_by_side`, this computes padding, so a forward may hold more of it, unless rows are long. A model that cannot
    pad runs once per length. A forward of more than `FORWARD_TOKENS` is split, by width too; with two `branches`, as
    under guidance, each state is in it twice.
    """
    everyone = list(range(len(reaches)))
    if not pads:
        groups = [[i for i in everyone if reaches[i].stop == size] for size in sorted({r.stop for r in reaches})]
    else:
        groups = [everyone] if packs and not side_by_side else _in_two(reaches, everyone, packs)
    out = []
    for group in groups:
        size = max(1, FORWARD_TOKENS // (branches * max(1, *(_width(reaches[i]) for i in group))))
        if len(group) > size:
            group = sorted(group, key=lambda i: _width(reaches[i]))
        out += [group[start : start + size] for start in range(0, len(group), size)]
    return out


def _width(reach: Reach) -> int:
    return reach.stop - reach.start


def _in_two(reaches: Sequence[Reach], everyone: list[int], packs: bool) -> list[list[int]]:
    wide = [i for i in everyone if reaches[i].keep]
    sizes = [_width(reach) for reach in reaches]
    spare = len(sizes) * max(sizes) - sum(sizes)
    in_step = len({reach.start for reach in reaches}) == 1 and (not wide or len(wide) == len(everyone))
    cheap = packs and spare * max(reach.last for reach in reaches) <= SCORES
    most = (PACKED if cheap else SHARING) - 1
    if spare <= most * sum(sizes) or (in_step and spare < SPARE):
        return [everyone]
    order = sorted(everyone, key=lambda i: sizes[i])
    cut = min(range(1, len(order)), key=lambda n: n * sizes[order[n - 1]] + (len(order) - n) * sizes[order[-1]])
    return [sorted(order[:cut]), sorted(order[cut:])]


@dataclass(frozen=True)
class Call:
    """The columns of one forward of M states; L columns each.

    Attributes:
        start: int64 [M].
        columns: int64 [M, L].
        length: L.
        span: the columns as a slice, if they are the same for all states.
        full: True if every state computes all L.
        inside: bool [M, L]; the columns that each state computes.
        seen, readable: bool [M, S]; frozen columns that a state reads, and all columns that it may read.
        keep: bool [M].
        reads, keeps: see `View`.
        starts: M; `start` on the host.
        plain: True if every state computes all L columns, and may read all S.
    """

    start: Tensor
    columns: Tensor
    length: int
    span: slice | None
    full: bool
    inside: Tensor
    seen: Tensor
    readable: Tensor
    keep: Tensor
    reads: bool
    keeps: bool | None
    starts: tuple[int, ...]
    plain: bool

    @classmethod
    def over(cls, reaches: Sequence[Reach], width: int, device: torch.device) -> Call:
        """Make the call that computes these reaches, in rows of `width` columns."""
        numbers = ops.uploaded(
            [(r.start, r.stop, r.left, r.length if r.right is None else r.right, r.length, r.keep) for r in reaches],
            device,
        )
        start, stop, left, right, length, keep = numbers.unbind(1)
        size = max(r.stop - r.start for r in reaches)
        columns = start[:, None] + torch.arange(size, device=device)
        alike = len({r.start for r in reaches}) == 1 and reaches[0].start + size <= width
        span = slice(reaches[0].start, reaches[0].start + size) if alike else None
        keys = torch.arange(max(r.last for r in reaches), device=device)
        seen = (keys < left[:, None]) | ((keys >= right[:, None]) & (keys < length[:, None]))
        readable = seen | ((keys >= start[:, None]) & (keys < stop[:, None]))
        kept = [r.keep for r in reaches]
        return cls(
            start=start,
            columns=columns,
            length=size,
            span=span,
            full=all(r.stop - r.start == size for r in reaches),
            inside=columns < stop[:, None],
            seen=seen,
            readable=readable,
            keep=keep.bool(),
            reads=any(r.left or r.right is not None for r in reaches),
            keeps=True if all(kept) else None if any(kept) else False,
            starts=tuple(r.start for r in reaches),
            plain=_plain(reaches),
        )

    def take(self, x: Tensor) -> Tensor:
        """Gather the computed columns of x [M, T]: [M, L]. Columns beyond the last one get arbitrary values."""
        if self.span is not None:
            return x[:, self.span]
        return x.gather(1, self.columns.clamp_max(x.shape[1] - 1))


def _plain(reaches: Sequence[Reach]) -> bool:
    """True if all compute as many columns and may read as many, and no column of these is left out."""
    closed = all(r.left == r.start and (r.right is None or r.right == r.stop) for r in reaches)
    return closed and len({(_width(r), r.last) for r in reaches}) == 1
