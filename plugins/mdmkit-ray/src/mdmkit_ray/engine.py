"""The engine `ray`: its options, and what they must be."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from mdmkit import MdmkitError, UnitEngine
from mdmkit_ray.cluster import LOCAL
from mdmkit_ray.crew import Crew

if TYPE_CHECKING:
    from mdmkit import Outcome, Recipe, Work


@dataclass(frozen=True)
class Ray(UnitEngine):
    """Decode with workers on one machine or many; each loads the model once.

    Attributes:
        workers: their number.
        gpus_per_worker: GPUs of each; below 1, workers share one. None: 1 if the model is on a GPU, else 0.
        address: `local` begins and ends a cluster on this machine; `auto` or `HOST:PORT` joins one that is there.
    """

    remote: ClassVar[bool] = True
    workers: int = 1
    gpus_per_worker: float | None = None
    address: str = LOCAL
    # The crew of several decodes, while `opened` is entered.
    _kept: list[Crew] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"workers={self.workers}: it is a number from 1.")
        gpus = self.gpus_per_worker
        if gpus is not None and not (math.isfinite(gpus) and (0 <= gpus < 1 or gpus == int(gpus) >= 1)):
            raise ValueError(f"gpus_per_worker={gpus}: it is a whole number from 0, or a share below 1, such as 0.5.")
        host, colon, port = self.address.rpartition(":")
        if self.address not in (LOCAL, "auto") and not (host and colon and port.isdecimal() and "/" not in host):
            raise ValueError(f"address={self.address!r}: it is local, auto, or HOST:PORT of the cluster's head.")

    def __call__(self, work: Work) -> Iterator[Outcome]:
        recipe = work.recipe
        gpus = self._gpus(recipe)
        recipe = replace(recipe, device=recipe.device.partition(":")[0])  # a worker sees its own GPUs only
        with contextlib.nullcontext(self._kept[-1]) if self._kept else Crew(self.address, self.workers) as crew:
            yield from crew.decode(recipe, gpus, work)

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Keep Ray, the workers and their model for all decodes inside, one after the other."""
        with Crew(self.address, self.workers) as crew:
            self._kept.append(crew)
            try:
                yield
            finally:
                self._kept.pop()

    def _gpus(self, recipe: Recipe) -> float:
        """Return the GPUs of a worker.

        Raises:
            MdmkitError: the model is on a GPU and the workers are to have none, or the other way round.
        """
        on_cpu, gpus = recipe.device == "cpu", self.gpus_per_worker
        if gpus is None:
            return 0 if on_cpu else 1
        if on_cpu and gpus > 0:
            raise MdmkitError(
                f"gpus_per_worker={gpus:g}, but the model is on the CPU, and so it would be in the workers. Load it on "
                "a GPU (--device cuda), or leave this option out."
            )
        if not on_cpu and gpus == 0:
            raise MdmkitError(
                "gpus_per_worker=0, but the model is on a GPU, and so it must be in the workers. Load it on the CPU "
                "(--device cpu), or leave this option out."
            )
        return gpus
