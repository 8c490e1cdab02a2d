"""Where one row stands: what the host knows of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mdmkit.canvas.blocks import Block, Blocks
from mdmkit.model.cache import Cache, Reach

# Why a row has ended, as it is kept on the device: not yet, by the end token's rule, by the sampler's own.
RUNNING, BY_END, BY_RULE = 0, 1, 2


@dataclass
class Place:
    """One row at work; with a search, all of its particles, which change blocks together.

    Attributes:
        id: who it is, from admission to its end.
        slot: its place in the store of frozen columns, which it keeps.
        blocks: its blocks.
        length: columns that it was admitted with, those that it may grow to included.
        block: the block that it is in.
        steps: steps made in the block.
        ticks: steps made.
        final: columns that are stored for good.
        believed: whether what the model says of it now is known; a row takes no step until it is.
        afresh: whether its next forward computes everything afresh: it has joined, entered a block, or its frozen
            columns are due for a refresh.
    """

    id: int
    slot: int
    blocks: Blocks
    length: int
    block: Block
    steps: int = 0
    ticks: int = 0
    final: int = 0
    believed: bool = False
    afresh: bool = True

    @property
    def span(self) -> tuple[int, int]:
        return self.block.start, self.block.stop

    def step_reach(self, cache: Cache, block: Block | None = None) -> Reach:
        """The columns that a step in its block computes, or in another one."""
        block = block or self.block
        return cache.step(block.low, block.high, self.length)

    def first_reach(self, cache: Cache, block: Block | None = None) -> Reach:
        """The columns that the first forward in its block computes, or one that computes everything afresh."""
        block = block or self.block
        return cache.enter(block.low, block.high, self.length, self.final)

    def enter(self, block: Block) -> None:
        """Move on to a block."""
        self.block, self.steps, self.believed, self.afresh = block, 0, False, True


def free_slots(taken: Sequence[Place], slots: int) -> list[int]:
    """The slots that no row has, in order."""
    used = {place.slot for place in taken}
    return [slot for slot in range(slots) if slot not in used]
