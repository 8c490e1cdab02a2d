"""One row's blocks: which columns are filled together, and how many may be open after each step."""

from __future__ import annotations

from dataclasses import dataclass

from mdmkit.errors import MdmkitError
from mdmkit.settings.plan import Plan


@dataclass(frozen=True)
class Block:
    """One block of a row.

    Attributes:
        start, stop: its columns [start, stop).
        low, high: the columns [low, high) that a step computes under a cache: the block's own columns, or, with
            attention by blocks, those of the model's block around it.
        targets: how many positions may be open after each of its steps.
        open: how many positions are open when a row enters it, or more.
    """

    start: int
    stop: int
    low: int
    high: int
    targets: tuple[int, ...]
    open: int


@dataclass(frozen=True)
class Blocks:
    """The blocks of one row, from its first open position to its last, `size` columns each; the last may be shorter.

    Blocks begin at the row's own first open position, so they do not depend on other rows. With attention by blocks,
    they are parts of the model's blocks, which begin at column 0.
    """

    first: int
    size: int
    blocks: tuple[Block, ...]

    def at(self, column: int) -> Block:
        """The block that holds a column."""
        return self.blocks[(column - self.first) // self.size]


def cut(open_: list[bool], length: int, plan: Plan, model_block: int | None, most: int | None = None) -> Blocks:
    """Divide a row, from its first open position to its last, into blocks of `plan.block` columns.

    Args:
        open_: bool [T].
        length: columns of the row.
        plan: sets the length of a block and its number of steps.
        model_block: length of the model's attention blocks; None for full attention.
        most: columns that the row may grow to; its blocks then reach this far.

    Raises:
        MdmkitError: `plan.block` does not divide the model's block.
    """
    if plan.block is not None and model_block is not None:
        _must_divide(plan.block, model_block)
    places = [column for column, is_open in enumerate(open_) if is_open]
    if not places:
        return Blocks(0, 1, ())
    first, last = places[0], max(places[-1] + 1, most or 0)
    size = plan.block or model_block or last - first
    if model_block is not None:
        first -= first % size
    starts = range(first, last, size)
    counts = [sum(open_[start : min(start + size, last)]) for start in starts]
    if most:  # for columns that are not in the row yet, plan as if all of them were open
        counts = [count or min(size, last - start) for start, count in zip(starts, counts, strict=True)]
    blocks = []
    for start, count, targets in zip(starts, counts, plan.targets(counts), strict=True):
        stop = min(start + size, last)
        count = stop - start if most else count  # a row that grows may bring more
        low, high = start, stop
        if model_block is not None:
            low = start - start % model_block
            high = min(low + model_block, max(length, most or 0))
        blocks.append(Block(start, stop, low, high, tuple(targets), count))
    return Blocks(first, size, tuple(blocks))


def _must_divide(size: int, block: int) -> None:
    if block % size:
        fits = [n for n in range(1, block + 1) if block % n == 0]
        raise MdmkitError(
            f"plan.block={size} does not divide the model's attention block of {block}: use one of "
            f"{', '.join(map(str, fits))}, leave plan.block out, or load the model with another block "
            "(--model-option block_length=N)."
        )
