"""The workers of one decode or of several, and the cluster that they are in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

from mdmkit_ray.cluster import check_room, joined
from mdmkit_ray.hired import Hired
from mdmkit_ray.shift import Shift

if TYPE_CHECKING:
    from mdmkit import Outcome, Recipe, Work


class Crew:
    """Workers for one decode, or for several, one after the other. A context: at its end they end.

    They are hired for the first decode. After an error they end, because some of them may be at work; a later decode
    hires new ones.
    """

    def __init__(self, address: str, workers: int):
        self.address, self.workers = address, workers
        self.hired: list[Hired] = []
        self._ending = ExitStack()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def decode(self, recipe: Recipe, gpus: float, work: Work) -> Iterator[Outcome]:
        """Decode the units of `work`.

        Raises:
            MdmkitError: there is no room for the workers, a worker refuses the recipe, or units killed their workers.
        """
        done = False
        try:
            if not self.hired:
                self._ending.enter_context(joined(self.address, self.workers))
                check_room(self.workers, gpus)
                self.hired = [Hired(gpus) for _ in range(self.workers)]
            for one in self.hired:
                one.meet(recipe)
            yield from Shift(self.hired, work).outcomes()
            done = True
        finally:
            if not done:
                self.end()

    def end(self) -> None:
        """End all workers, then the cluster if it was begun here."""
        try:
            for one in self.hired:
                one.end()
        finally:
            self.hired = []
            self._ending.close()
