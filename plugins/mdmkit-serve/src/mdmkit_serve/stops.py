"""Texts that end an answer."""

from __future__ import annotations

from collections.abc import Sequence


def cut(text: str, stops: Sequence[str]) -> str | None:
    """Return the text before the first stop in it; None if it holds none."""
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(found)] if found else None


def sure(text: str, stops: Sequence[str]) -> int:
    """Return how many characters of a text cannot be the beginning of a stop, whatever follows."""
    longest = max((len(stop) for stop in stops), default=1) - 1
    for at in range(max(0, len(text) - longest), len(text)):
        if any(stop.startswith(text[at:]) for stop in stops):
            return at
    return len(text)
