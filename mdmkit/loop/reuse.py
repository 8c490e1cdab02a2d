"""Finished blocks of rows that end are kept, and rows that begin with the same tokens do not compute them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mdmkit.model.cache import Finished

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.loop.kept import KeptBlocks
    from mdmkit.loop.place import Place
    from mdmkit.loop.runner import Runner


@dataclass(frozen=True)
class Reuse:
    """What passes between the rows of one loop and the blocks that are kept; None: nothing is kept.

    Only what is stored of a finished block for good is the same for all rows with the same tokens: not what a model fed
    back, what belongs to a particle or a branch, or columns that came later (`plan.room`).
    """

    kept: KeptBlocks | None
    runner: Runner

    @classmethod
    def of(cls, kept: KeptBlocks | None, runner: Runner, particles: int, room: int) -> Reuse:
        """Make it for a loop; it does nothing if the loop's rows cannot share what is stored.

        Raises:
            MdmkitError: `kept` is of another model.
        """
        plain = particles == 1 and runner.branches == 1 and not room and not runner.backbone.feeds_back
        if kept is None or not plain or not isinstance(runner.cache, Finished):
            return cls(None, runner)
        return cls(kept.of(runner.backbone), runner)

    def begin(self, new: Sequence[Place], canvas: Canvas) -> None:
        """Give rows that have joined, [n, T], what is kept of their first blocks."""
        if self.kept is None or canvas.block is None or self.runner.conditioned:
            return
        for place, tokens in zip(new, canvas.tokens.tolist(), strict=True):
            found = self.kept.find(tokens[: place.block.low], canvas.block)
            if found is None:
                continue
            found = found[: self.runner.cache.final(place.block.low)]
            if len(found) and self.runner.store.put(place.slot, found):
                place.final = len(found)
                self.kept.count(len(found))

    def keep(self, places: Sequence[Place], rows: Sequence[int], canvas: Canvas) -> None:
        """Keep the finished blocks of rows that end, unless another row has their slots already.

        Args:
            places: all rows of the canvas.
            rows: the rows that end.
        """
        if self.kept is None or canvas.block is None or self.runner.conditioned:
            return
        for row in rows:
            place = places[row]
            if place.final >= canvas.block and not place.ending:
                tokens = canvas.tokens[row, : place.final].tolist()
                self.kept.keep(tokens, canvas.block, partial(self.runner.store.take, place.slot))
