"""Numbers between two bounds, as patterns of their decimal digits."""

from __future__ import annotations

NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
TAIL = r"\.[0-9]+"


def between(low: int | None, high: int | None) -> str | None:
    """The pattern of the whole numbers from `low` to `high`, both included; None: there are none.

    A bound that is None leaves that side open. Zero has no sign, and no number begins with a zero.
    """
    parts = []
    if low is None or low < 0:
        nearest, farthest = 1 if high is None else max(1, -high), None if low is None else -low
        parts += [f"-{part}" for part in _naturals(nearest, farthest)]
    if high is None or high >= 0:
        parts += _naturals(max(0, low or 0), high)
    return f"(?:{'|'.join(parts)})" if parts else None


def parted(low: int | None, high: int | None) -> str | None:
    """The pattern of all numbers between two whole bounds, without an exponent; None: there are none.

    A fraction follows a whole number if no fraction can lead past a bound.
    """
    if low is None and high is None:
        return NUMBER
    parts = [between(low, high)]
    if high is None or high > 0:
        above = between(max(0, low or 0), None if high is None else high - 1)
        parts.append(above and above + TAIL)
    if low is None or low < 0:
        # −m.f lies between −m − 1 and −m.
        most = None if low is None else -low - 1
        below = between(max(0, -high) if high is not None else 0, most)
        parts.append(below and f"-{below}{TAIL}")
    found = [part for part in parts if part is not None]
    return f"(?:{'|'.join(found)})" if found else None


def _naturals(low: int, high: int | None) -> list[str]:
    """Patterns of the numbers from `low`, which is not below 0, to `high`."""
    if high is not None and low > high:
        return []
    if low == 0:
        return ["0", *_naturals(1, high)]
    size = len(str(low))
    if high is None:
        return [_alike(str(low), "9" * size), f"[1-9][0-9]{{{size},}}"]
    sizes = range(size, len(str(high)) + 1)
    return [_alike(str(max(low, 10 ** (n - 1))), str(min(high, 10**n - 1))) for n in sizes]


def _alike(low: str, high: str) -> str:
    """The pattern of the numbers between two that have the same number of digits."""
    if not low:
        return ""
    rest = len(low) - 1
    if low[0] == high[0]:
        return low[0] + _alike(low[1:], high[1:])
    first, last, parts = int(low[0]), int(high[0]), []
    if low[1:] != "0" * rest:
        parts.append(low[0] + _alike(low[1:], "9" * rest))
        first += 1
    if high[1:] != "9" * rest:
        parts.append(high[0] + _alike("0" * rest, high[1:]))
        last -= 1
    if first <= last:
        parts.append((str(first) if first == last else f"[{first}-{last}]") + (f"[0-9]{{{rest}}}" if rest else ""))
    return f"(?:{'|'.join(parts)})"
