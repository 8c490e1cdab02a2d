"""Each row's blocks: which columns are active together, and what the plan wants left after each step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mdmkit.canvas.canvas import Canvas
from mdmkit.errors import MdmkitError
from mdmkit.settings.plan import Plan


@dataclass(frozen=True)
class Block:
    """The j-th block of every row.

    Attributes:
        span: the columns that hold it, over all rows.
        member: bool [B, W]; the columns of each row's own block. Rows whose prompts end at the same column share them.
        targets: int64 [B, S]; masks that may remain after each of the row's steps.
        least: tokens that a step owes whatever was filled before; 0 where only `targets` counts.
        windows: each row's own columns [start, stop) that influence one another while it is decoded: its block, or
            where attention goes by blocks the model's block around it. Empty for a row without such a block.
    """

    span: slice
    member: Tensor
    targets: Tensor
    least: int
    windows: list[tuple[int, int]]

    def without(self, done: Tensor) -> Block:
        """Leave out the rows of `done`, bool [B]."""
        return replace(self, member=self.member & ~done[:, None])

    def quota(self, open_: Tensor, taken: Tensor) -> Tensor:
        """Tokens owed now, int64 [B]: at least one where anything is open, everything once the steps are used up.

        `taken` counts the row's steps in this block. Counting from what is open carries a deficit over; steps that
        filled more than they owed leave less to do, but for a plan of K tokens a step it is K all the same.
        """
        count = open_.sum(1)
        steps = self.targets.shape[1]
        allowed = self.targets.gather(1, taken.clamp_max(steps - 1)[:, None])[:, 0]
        allowed = allowed.masked_fill(taken >= steps, 0)
        return (count - allowed).clamp_min(max(1, self.least)).minimum(count)


def blocks(canvas: Canvas, plan: Plan) -> Iterator[Block]:
    """Cut every row's hull, from its first mask to its last, into blocks of `plan.block` columns.

    Each row counts from its own first mask, so its blocks do not depend on its neighbours. Where attention goes by
    blocks (`canvas.block`), a row's blocks lie on the model's grid, which its first token starts, and a block of the
    plan is one of the model's or a part of one.

    Raises:
        MdmkitError: `plan.block` does not divide the model's block.
    """
    masked = canvas.masked.cpu()
    columns = torch.arange(masked.shape[1])
    some = masked.any(1)
    first = torch.where(some, masked.long().argmax(1), 0)
    last = torch.where(some, masked.shape[1] - masked.flip(1).long().argmax(1), 0)
    size = plan.block or canvas.block or max(1, int((last - first).max()))
    begin = canvas.valid.long().argmax(1).cpu()
    if canvas.block is not None:
        _must_divide(size, canvas.block)
        first = first - (first - begin) % size
    number = int(((last - first + size - 1) // size).max())
    index = torch.where(masked, (columns - first[:, None]) // size, number)
    counts = torch.zeros(len(masked), number + 1, dtype=torch.long)
    counts.scatter_add_(1, index, masked.long())
    targets = [plan.targets(row) for row in counts[:, :number].tolist()]
    for j in range(number):
        busy = counts[:, j] > 0
        if not busy.any():
            continue
        starts, ends = first + j * size, torch.minimum(first + (j + 1) * size, last)
        span = slice(int(starts[busy].min()), int(ends[busy].max()))
        inside = columns[span]
        member = (inside >= starts[:, None]) & (inside < ends[:, None]) & busy[:, None]
        longest = max(1, *(len(row[j]) for row in targets)) if targets else 1
        table = torch.tensor([row[j] + [0] * (longest - len(row[j])) for row in targets])
        if canvas.block is not None:
            starts = starts - (starts - begin) % canvas.block
            ends = (starts + canvas.block).clamp_max(masked.shape[1])
        windows = [
            (lo, hi) if some else (0, 0)
            for lo, hi, some in zip(starts.tolist(), ends.tolist(), busy.tolist(), strict=True)
        ]
        device = canvas.tokens.device
        yield Block(span, member.to(device), table.to(device), plan.tokens_per_step or 0, windows)


def _must_divide(size: int, block: int) -> None:
    if block % size:
        fits = [n for n in range(1, block + 1) if block % n == 0]
        raise MdmkitError(
            f"plan.block={size} does not divide the model's attention block of {block}: use one of "
            f"{', '.join(map(str, fits))}, leave plan.block out, or load the model with another block "
            "(--model-option block_length=N)."
        )
