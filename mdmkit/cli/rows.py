"""Read rows again that an earlier run has written. A damaged row is named, and nothing is computed from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mdmkit.errors import shown
from mdmkit.from_json import TwiceError, from_json

Fits = Callable[[Any], bool]


# The largest whole number: they have 64 bits. Of other numbers: statistics add up their squares. And how far below 0 a
# sum of entropies may come by rounding, nats.
MOST, LARGEST, ROUNDED = (1 << 63) - 1, 1e100, 0.01


def is_count(value: Any) -> bool:
    """True for a whole number from 0 on."""
    return type(value) is int and 0 <= value <= MOST


def is_number(value: Any) -> bool:
    """True for a number with which statistics can be computed."""
    return type(value) in (int, float) and abs(value) <= LARGEST  # NaN is not


def is_cost(value: Any) -> bool:
    """True for a number from 0 on that can be counted, such as calls, seconds or bytes."""
    return type(value) in (int, float) and 0 <= value <= MOST


def is_result(value: Any) -> bool:
    """True for what a model may make of a row: a text, or a list or an object of a model with other results."""
    return isinstance(value, str | list | dict)


def _is_list(value: Any, least: int = 0) -> bool:
    return isinstance(value, list) and all(type(each) is int and least <= each <= MOST for each in value)


FIELDS: dict[str, Fits] = {
    "index": is_count,
    "prompt": lambda value: value is None or isinstance(value, str),
    "prompt_ids": _is_list,
    "text": lambda value: value is None or is_result(value),
    "tokens": _is_list,
    "order": lambda value: _is_list(value, -1),
    "seed": lambda value: type(value) is int and -MOST - 1 <= value <= MOST,
    "uncertainty": lambda value: is_number(value) and value >= -ROUNDED,
    "nfe": is_count,
    "row_tokens": is_count,
    "stopped": lambda value: isinstance(value, str),
}


def read_row(line: str | bytes, more: Mapping[str, Fits] | None = None) -> dict[str, Any]:
    """Read a line of a file of rows.

    Args:
        more: further fields, and what their values must fulfil.

    Raises:
        ValueError: it is no row; the text says what is wrong.
    """
    try:
        row = from_json(line)
    except TwiceError:
        raise
    except (ValueError, RecursionError) as error:
        raise ValueError("it is not JSON") from error
    return check_row(row, more)


def check_row(row: Any, more: Mapping[str, Fits] | None = None) -> dict[str, Any]:
    """Check a row that was read: see `read_row`."""
    if not isinstance(row, dict):
        raise ValueError(f"it is {shown(row, 60)}")
    for name, fits in {**FIELDS, **(more or {})}.items():
        if name not in row:
            raise ValueError(f"it has no {name!r}")
        if not fits(row[name]):
            raise ValueError(f"its {name!r} is {shown(row[name], 60)}")
    if len(row["order"]) != len(row["tokens"]):
        raise ValueError("its 'order' and 'tokens' differ in length")
    # Each step of a row forwards it at least once, and a forward computes at least one token.
    if max(row["order"], default=-1) >= row["nfe"]:
        raise ValueError(f"its 'nfe' is {row['nfe']}, and its 'order' goes to {max(row['order'])}")
    if row["row_tokens"] < row["nfe"]:
        raise ValueError(f"its 'row_tokens' is {row['row_tokens']}, and its 'nfe' is {row['nfe']}")
    return row
