"""What `mdmkit bench` measures: a case for each sampler, cache and batch."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mdmkit.cli.options import names
from mdmkit.errors import MdmkitError

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


def settings(given: tuple[str, ...], seed: int, length: int | None) -> tuple[str, ...]:
    """Add the seed and the length to the settings of `--set`. Rows do not end early, unless `--set` says so.

    Raises:
        MdmkitError: `--set` sets what an option of its own is for.
    """
    own = {"seed": "--seed", "cache": "--cache", "cache.name": "--cache"}
    own |= {"plan.length": "--length"} if length is not None else {}
    for override in given:
        key = override.partition("=")[0].strip()
        if key in own:
            raise MdmkitError(f"--set {override}: {key} is set by {own[key]}. Use that.")
    first = ("plan.early_stop=false", f"seed={seed}")  # rows that end early would make cells unequal
    return (*first, *given, *([f"plan.length={length}"] if length is not None else []))


def composed(name: str, cache: str, overrides: tuple[str, ...]) -> Sampler:
    """Compose a preset, or a YAML file, with this cache."""
    from mdmkit.config.compose import compose

    given = (f"cache={cache}", *overrides)
    return compose(None if _is_file(name) else name, config=name if _is_file(name) else None, overrides=given)


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def labelled(samplers: str) -> dict[str, str]:
    """Return the samplers of `--samplers` by their names in the table: a file's is without folder and suffix.

    Raises:
        MdmkitError: two have the same name.
    """
    labels: dict[str, str] = {}
    for name in names(samplers, "--samplers"):
        label = Path(name).stem if _is_file(name) else name
        if label in labels:
            raise MdmkitError(f"--samplers {samplers}: two of them are called {label!r}. Rename a file.")
        labels[label] = name
    return labels


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
