"""Group prompts of like length into units, and put rows back into the order of the prompts."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Generic, TypeVar

from mdmkit.canvas.prompt import Prompt

# Prompts are reordered within this many batches. If it is larger, units are less ragged, but more rows must wait for an
# earlier one.
WINDOW = 8
# The most batches of a unit. In a unit rows join when others leave, so slots are empty only at its end.
UNIT = 4

T = TypeVar("T")


def units(
    prompts: Iterable[Prompt], size: int, length: Callable[[Prompt], int], done: Container[int] = ()
) -> Iterator[list[Prompt]]:
    """Divide prompts into units of at most `UNIT` batches of `size`, reading at most `WINDOW` batches ahead.

    In each group of `WINDOW` batches prompts are sorted by `length`, in positions. In a smaller last group all units
    have about the same number of batches: rows join only where there are several. The unit that holds the earliest
    prompt comes first. Units depend on the prompts and on `size` only. A unit is left out if all its prompts are `done`
    (by index). If only some are done, the whole unit is decoded again, because the composition of a batch changes the
    last bits of floats.
    """
    rest = iter(prompts)
    while window := list(itertools.islice(rest, min(WINDOW * size, sys.maxsize))):
        if all(prompt.index in done for prompt in window):
            continue
        if 1 < size < len(window):
            window.sort(key=length)
        batches = _ceil(len(window), size)
        together = _ceil(batches, _ceil(batches, UNIT)) * size
        found = [window[start : start + together] for start in range(0, len(window), together)]
        for unit in found:
            unit.sort(key=lambda prompt: prompt.index)
        for unit in sorted(found, key=lambda unit: unit[0].index):
            if not all(prompt.index in done for prompt in unit):
                yield unit


def _ceil(number: int, divisor: int) -> int:
    return -(-number // divisor)


class InOrder(Generic[T]):
    """Hold items that finish early until all items before them have finished.

    Args:
        start: the first index.
        waiting: items that are there already, by index.
    """

    def __init__(self, start: int = 0, waiting: dict[int, T] | None = None):
        self.due, self.waiting = start, dict(waiting or {})

    def add(self, index: int, item: T) -> list[T]:
        """Add one item; return the items that are due now, in order."""
        self.waiting[index] = item
        return self.ready()

    def ready(self) -> list[T]:
        """Return the items that are due, in order."""
        out = []
        while self.due in self.waiting:
            out.append(self.waiting.pop(self.due))
            self.due += 1
        return out

    def rest(self) -> list[T]:
        """Return all waiting items, in order, although items between them are missing: no more will come."""
        out = [self.waiting[index] for index in sorted(self.waiting)]
        self.waiting.clear()
        return out
