"""What `mdmkit bench` measures: a case for each sampler, cache and batch."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mdmkit.cli.bench_samplers import composed

if TYPE_CHECKING:
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone

DEFAULT_LENGTH = 128


@dataclass(frozen=True)
class Case:
    """What a cell is to measure.

    Attributes:
        batch: a number of rows, or `auto`.
        masks: how many each row fills.
    """

    label: str
    cache: str
    batch: int | str
    sampler: Sampler
    masks: int

    @property
    def named(self) -> str:
        return f"{self.label}, cache {self.cache}, batch {self.batch}"


def make_cases(
    backbone: Backbone,
    labels: dict[str, str],
    caches: list[str] | None,
    batches: list[int | str],
    overrides: tuple[str, ...],
) -> list[Case]:
    """Return a case for each sampler, cache (None: those that the model supports) and batch."""
    from mdmkit.model.cache import CACHES

    caches = caches or [name for name in CACHES if name in backbone.caches]
    cases = []
    for (label, name), cache in itertools.product(labels.items(), caches):
        sampler = composed(name, cache, overrides)
        masks = sampler.plan.length or backbone.length or DEFAULT_LENGTH
        cases += [Case(label, cache, batch, sampler, masks) for batch in batches]
    return cases
