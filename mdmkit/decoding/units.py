"""Which prompts are decoded together: units of like length. And how rows get back into the order of the prompts."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Generic, TypeVar

from mdmkit.canvas.prompt import Prompt

# Batches among which prompts may change places: more makes units less ragged, and more rows wait for an earlier one.
WINDOW = 8
# Batches of a unit. Its rows join as others leave, so only the unit's end runs with empty slots.
UNIT = 4

T = TypeVar("T")


def units(
    prompts: Iterable[Prompt], size: int, length: Callable[[Prompt], int], done: Container[int] = ()
) -> Iterator[list[Prompt]]:
    """Share prompts out into units of at most `UNIT` batches of `size`, reading no further ahead than `WINDOW` batches.

    Within a window prompts are sorted by `length`, positions; the unit that holds the earliest prompt comes first. The
    units depend on the prompts and on `size` alone. Those whose prompts are all `done` (by index) are left out; if only
    some of a unit's prompts are done, all of it is decoded again, because what is decoded together changes the last
    bits of floats.
    """
    rest = iter(prompts)
    while window := list(itertools.islice(rest, min(WINDOW * size, sys.maxsize))):
        if all(prompt.index in done for prompt in window):
            continue
        if 1 < size < len(window):
            window.sort(key=length)
        together = UNIT * size
        found = [window[start : start + together] for start in range(0, len(window), together)]
        for unit in found:
            unit.sort(key=lambda prompt: prompt.index)
        for unit in sorted(found, key=lambda unit: unit[0].index):
            if not all(prompt.index in done for prompt in unit):
                yield unit


class InOrder(Generic[T]):
    """Holds what finishes early until everything before it has finished.

    Args:
        start: the index that is due first.
        waiting: what is there already, by index.
    """

    def __init__(self, start: int = 0, waiting: dict[int, T] | None = None):
        self.due, self.waiting = start, dict(waiting or {})

    def add(self, index: int, item: T) -> list[T]:
        """Take one in; return those that are due now, in order."""
        self.waiting[index] = item
        return self.ready()

    def ready(self) -> list[T]:
        """Hand out those that are due."""
        out = []
        while self.due in self.waiting:
            out.append(self.waiting.pop(self.due))
            self.due += 1
        return out

    def rest(self) -> list[T]:
        """Hand out all that wait, in order, over the gaps: nothing more is to come."""
        out = [self.waiting[index] for index in sorted(self.waiting)]
        self.waiting.clear()
        return out
