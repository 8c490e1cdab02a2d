"""The bounds of a JSON schema: of lengths, of numbers of items, and of numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mdmkit import MdmkitError, shown
from mdmkit_constrain.schemas import numbers


def length(words: Mapping[str, Any], of: str, path: str) -> tuple[int, int | None]:
    """The bounds `min<of>` and `max<of>`."""
    low, high = words.get(f"min{of}", 0), words.get(f"max{of}")
    for name, value in ((f"min{of}", low), (f"max{of}", high)):
        if value is not None and value < 0:
            raise MdmkitError(f"{path}.{name} is {value}, and must be a whole number from 0 on.")
    return low, high


def numeric(words: Mapping[str, Any], whole: bool, path: str) -> str | None:
    """The pattern of the numbers between the bounds; None: there are none.

    Raises:
        MdmkitError: a bound is not finite; or numbers that are not whole have a bound that is not whole, or exclusive.
    """
    if whole:
        lows = [math.ceil(x) for x in _given(words, "minimum", path)]
        lows += [math.floor(x) + 1 for x in _given(words, "exclusiveMinimum", path)]
        highs = [math.floor(x) for x in _given(words, "maximum", path)]
        highs += [math.ceil(x) - 1 for x in _given(words, "exclusiveMaximum", path)]
        return numbers.between(max(lows, default=None), min(highs, default=None))
    for name in ("exclusiveMinimum", "exclusiveMaximum"):
        if name in words:
            raise MdmkitError(
                f"{path} has {name!r}, which is supported for type integer only: write {name[9:].lower()}."
            )
    low, high = (next(iter(_given(words, name, path)), None) for name in ("minimum", "maximum"))
    for name, bound in (("minimum", low), ("maximum", high)):
        if bound is not None and bound != math.floor(bound):
            raise MdmkitError(f"{path}.{name} is {bound}: only whole bounds are supported.")
    return numbers.parted(None if low is None else int(low), None if high is None else int(high))


def _given(words: Mapping[str, Any], name: str, path: str) -> list[float]:
    value = words.get(name)
    if isinstance(value, float) and not math.isfinite(value):
        raise MdmkitError(f"{path}.{name} is {shown(value)}, and must be a number.")
    return [] if value is None else [value]
