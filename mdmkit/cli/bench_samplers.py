"""The samplers of `mdmkit bench`: read `--samplers` and `--set`, and compose each sampler with a cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mdmkit.cli.options import names
from mdmkit.errors import MdmkitError

if TYPE_CHECKING:
    from mdmkit.loop.sampler import Sampler


def settings(given: tuple[str, ...], seed: int, length: int | None, caches: list[str] | None) -> tuple[str, ...]:
    """Add the seed and the length to the settings of `--set`. Rows do not end early, unless `--set` says so.

    Args:
        caches: the names of `--cache`; None: those that the model supports.

    Raises:
        MdmkitError: `--set` sets what an option of its own is for, or what some of the caches do not have.
    """
    from mdmkit.model.cache import AUTO, CACHES

    exact = [AUTO, *(name for name in CACHES if not CACHES[name].approximate)]
    mixed = caches is None or any(name in exact for name in caches)
    own = {"seed": "--seed", "cache": "--cache", "cache.name": "--cache"}
    own |= {"plan.length": "--length"} if length is not None else {}
    for override in given:
        key = override.partition("=")[0].strip()
        if key in own:
            raise MdmkitError(f"--set {override}: {key} is set by {own[key]}. Use that.")
        if key == "cache.refresh_every" and mixed:
            approximate = ",".join(name for name in CACHES if name not in exact)
            raise MdmkitError(f"--set {override}: only approximate caches have {key}. Add --cache {approximate}.")
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
