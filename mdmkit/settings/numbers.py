"""Tell numbers from other values. In Python True and False are numbers too; as a setting they are a mistake."""

from __future__ import annotations

import math
from typing import Any


def is_whole(value: Any) -> bool:
    """Return True for a whole number, of type int. True, False and 2.0 are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Return True for a finite number, whole or not. True and False are none."""
    return is_whole(value) or (isinstance(value, float) and math.isfinite(value))
