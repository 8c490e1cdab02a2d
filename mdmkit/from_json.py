"""Read JSON in which no object has a key twice: Python would keep the last value, in silence."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any


class TwiceError(ValueError):
    """An object has a key twice; the text names the key."""


def from_json(text: str | bytes | bytearray, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """Read a JSON document.

    Args:
        parse_constant: gets NaN and the infinities, which are no JSON; as for `json.loads`.

    Raises:
        TwiceError: an object has a key twice.
        ValueError: it is not JSON.
        RecursionError: it is nested too deep.
    """
    return json.loads(text, object_pairs_hook=_once, parse_constant=parse_constant)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        named = repr(twice) if len(twice) <= 60 else f"{twice[:60]!r}…"
        raise TwiceError(f"the key {named} stands twice in one object")
    return found
