"""Tell numbers from other values. In Python True and False are numbers too; as a setting they are a mistake."""

from __future__ import annotations

import dataclasses
import math
from typing import Any


def is_whole(value: Any) -> bool:
    """Return True for a whole number, of type int. True, False and 2.0 are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def own(value: Any) -> Any:
    """Turn NumPy's numbers and arrays into Python's own. Anything else stays as it is."""
    return value.tolist() if type(value).__module__ == "numpy" and hasattr(value, "tolist") else value


def own_fields(settings: Any) -> None:
    """Apply `own` to the fields of a frozen dataclass, while it is being made."""
    for field in dataclasses.fields(settings):
        object.__setattr__(settings, field.name, own(getattr(settings, field.name)))


def is_finite(value: Any) -> bool:
    """Return True for a finite number, whole or not. True and False are none."""
    return is_whole(value) or (isinstance(value, float) and math.isfinite(value))
