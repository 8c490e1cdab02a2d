"""A worker as the asking process sees it: its calls, in order."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Any

from mdmkit_ray.versions import versions
from mdmkit_ray.worker import Worker

if TYPE_CHECKING:
    from mdmkit import Recipe, Unit


class Hired:
    """A worker. Its process begins as soon as the cluster has room for it.

    Attributes:
        calls: what it was asked for and has not answered, in order: a unit to decode, or None for the first meeting.
    """

    def __init__(self, gpus: float):
        self.gpus = gpus
        self.calls: deque[tuple[Any, Unit | None]] = deque()
        self._start()

    def _start(self) -> None:
        import ray

        # Ray never begins it again: `replace` does, so that a call never meets a process that is about to begin.
        of = {"num_cpus": 1, "num_gpus": self.gpus, "max_restarts": 0, "scheduling_strategy": "SPREAD"}
        self.actor: Any = ray.remote(Worker).options(**of).remote()

    @property
    def met(self) -> bool:
        """True if it can take units."""
        return not self.calls or self.calls[0][1] is not None

    @property
    def units(self) -> list[Unit]:
        """The units that it has; it is at work on the first one."""
        return [unit for _, unit in self.calls if unit is not None]

    def meet(self, recipe: Recipe) -> None:
        """Tell it what is decoded; needed before the first unit."""
        self.recipe = recipe
        self.calls.append((self.actor.meet.remote(recipe, os.getcwd(), versions()), None))

    def give(self, unit: Unit) -> None:
        self.calls.append((self.actor.decode.remote(unit), unit))

    def replace(self) -> None:
        """Begin another process in place of one that has died. Its calls are gone."""
        self.end()
        self._start()
        self.meet(self.recipe)

    def end(self) -> None:
        """End its process, whatever it does."""
        import ray

        self.calls.clear()
        if ray.is_initialized():  # otherwise this would begin a cluster
            ray.kill(self.actor)
