"""Which prompts are decoded together: those of like length. And how rows get back into the order of the prompts."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Generic, TypeVar

from mdmkit.canvas.prompt import Prompt

# Batches among which prompts may change places: more makes batches less ragged, and more rows wait for an earlier one.
WINDOW = 8

T = TypeVar("T")


def grouped(
    prompts: Iterable[Prompt], size: int, length: Callable[[Prompt], int], done: Container[int] = ()
) -> Iterator[list[Prompt]]:
    """Share prompts out into batches of at most `size`, reading no further ahead than `WINDOW` batches.

    Within a window prompts are sorted by `length`, positions; the batch that holds the earliest prompt comes first. The
    batches depend on the prompts and on `size` alone: those whose prompts are all `done` (by index) are left out, and
    one that has a single prompt to do is as it always was, so that its rows come out the same to the last bit.
    """
    rest = iter(prompts)
    while window := list(itertools.islice(rest, min(WINDOW * size, sys.maxsize))):
        if all(prompt.index in done for prompt in window):
            continue
        if 1 < size < len(window):
            window.sort(key=length)
        batches = [window[start : start + size] for start in range(0, len(window), size)]
        for batch in batches:
            batch.sort(key=lambda prompt: prompt.index)
        for batch in sorted(batches, key=lambda batch: batch[0].index):
            if not all(prompt.index in done for prompt in batch):
                yield batch


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
