"""What the host knows about one row at work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mdmkit.canvas.blocks import Block, Blocks
from mdmkit.model.cache import Cache, Reach

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit.stage.actions import Actions
    from mdmkit.stage.step import Step

# Why a row has ended, as a number on the device: not yet, by the rule of the end token, by the sampler's stop rule.
RUNNING, BY_END, BY_RULE = 0, 1, 2


@dataclass
class Place:
    """One row at work; under a search, all its particles, which change blocks together.

    Attributes:
        id: its id, from admission to its end.
        slot: its index in the store of frozen columns, from admission to its end.
        blocks: its blocks.
        length: its columns, including those that it may grow to (`plan.room`).
        answer: the columns [start, stop) from the first to the last one that decoding may fill (`Canvas.answers`).
        block: the block that it is in.
        steps: steps made in the block.
        ticks: steps made.
        todo: open positions of its block, or more; the most of all particles, also of those that have ended.
        final: its columns [0, final) are stored, and never computed again.
        believed: True if it has a belief. A row takes no step without one.
        afresh: True if its next forward computes all columns: it has joined, it has entered a block, or its frozen
            columns are due for a refresh.
        solid: True if its answer held nothing but masks when it was admitted.
        rule: the prompt's own, for the sampler's constraint.
        ending: True if the step at work is its last one and needs no forward of it. Another row may have its slot.
    """

    id: int
    slot: int
    blocks: Blocks
    length: int
    block: Block
    answer: tuple[int, int]
    solid: bool = True
    steps: int = 0
    ticks: int = 0
    todo: int = 0
    final: int = 0
    believed: bool = False
    afresh: bool = True
    rule: Mapping[str, Any] | None = None
    ending: bool = False

    def __post_init__(self) -> None:
        self.todo = self.block.open

    @property
    def rest(self) -> int:
        """Open positions of the blocks after its own."""
        return sum(block.open for block in self.blocks.blocks if block.start > self.block.start)

    def step_reach(self, cache: Cache, block: Block | None = None) -> Reach:
        """The columns that a step computes, in its block or in the given one."""
        block = block or self.block
        return cache.step(block.low, block.high, self.length)

    def first_reach(self, cache: Cache, block: Block | None = None) -> Reach:
        """The columns that the first forward in a block computes, and every refresh."""
        block = block or self.block
        return cache.enter(block.low, block.high, self.length, self.final)

    def enter(self, block: Block) -> None:
        """Enter a block."""
        self.block, self.steps, self.believed, self.afresh, self.todo = block, 0, False, True, block.open


def counted(step: Step, actions: Actions, choice: Tensor) -> dict[str, Tensor]:
    """The rows' `tick` and `taken`, int64 [B], after the step with these actions."""
    spent = step.active if actions.steps is None else actions.spent(choice) * step.active
    return {"tick": step.tick + step.active, "taken": step.taken + spent}


def free_slots(taken: Sequence[Place], slots: int) -> list[int]:
    """The slots that no row needs any more, in order."""
    used = {place.slot for place in taken if not place.ending}
    return [slot for slot in range(slots) if slot not in used]
