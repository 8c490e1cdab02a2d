"""Reading trace files: what the page relies on is checked, and a file that is something else is named as such."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mdmkit.errors import MdmkitError
from mdmkit.from_json import TwiceError, from_json
from mdmkit.whole_file import read_whole

HOW = "A trace is what `mdmkit decode --trace FILE.json` writes."


def read_trace(path: Path, wanted: Sequence[int] = ()) -> dict[str, Any]:
    """Read a trace: `model`, `sampler` (its name) and `rows`; of these only the indices `wanted`, or all where empty.

    Every row has the keys of the trace file, and `mask_id` and `names` (token id to what a person reads) also where the
    file has none.

    Raises:
        MdmkitError: the file cannot be read, is no trace, or has no such rows.
    """
    document = _load(path)
    if not isinstance(document, dict) or not isinstance(document.get("rows"), list):
        raise MdmkitError(f"{path} is not a trace: it is no object with `rows`. {HOW}")
    if not document["rows"]:
        raise MdmkitError(f"{path} has no rows: nothing was decoded. {HOW}")
    rows = [_row(path, number, row) for number, row in enumerate(document["rows"])]
    if wanted:
        found = {row["index"]: row for row in rows}
        missing = [index for index in wanted if index not in found]
        if missing:
            there = ", ".join(map(str, list(found)[:20])) + (", …" if len(found) > 20 else "")
            raise MdmkitError(f"{path} has no row {missing[0]}; --row takes the `index` of a row. There are: {there}.")
        rows = [found[index] for index in dict.fromkeys(wanted)]
    sampler = document.get("sampler")
    name = sampler.get("sampler") if isinstance(sampler, dict) else None
    return {"model": str(document.get("model", "?")), "sampler": str(name or "custom"), "rows": rows}


def _load(path: Path) -> Any:
    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not a number of JSON")

    try:
        return from_json(read_whole(path).decode(), parse_constant=refuse)
    except OSError as error:
        raise MdmkitError(f"{path}: {error.strerror or error}. Name a trace file. {HOW}") from error
    except TwiceError as error:
        raise MdmkitError(f"{path} is not a trace, or a damaged one: {error}. {HOW}") from error
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and error.lineno > 1:
            raise MdmkitError(f"{path} is not a trace but JSON lines, as --output writes them. {HOW}") from error
        raise MdmkitError(
            f"{path} is not whole JSON: {error.msg}, line {error.lineno}, column {error.colno}. {HOW}"
        ) from error
    except (ValueError, RecursionError) as error:  # bytes that are no UTF-8, NaN, brackets without end
        raise MdmkitError(f"{path} is not JSON: {' '.join(str(error).split())[:200]}. {HOW}") from error


class _Wrong(Exception):
    pass


def _row(path: Path, number: int, row: Any) -> dict[str, Any]:
    try:
        if not isinstance(row, dict):
            raise _Wrong("it is no object")
        return _checked(row)
    except _Wrong as error:
        raise MdmkitError(f"{path}, rows[{number}]: {error}. The file is no trace, or a damaged one. {HOW}") from error


def _checked(row: dict[str, Any]) -> dict[str, Any]:
    row = {"index": 0, "seed": 0, **row}
    for key, fits in {"index": _whole, "seed": _whole, "nfe": _whole, "uncertainty": _number}.items():
        if not fits(row.get(key)):
            raise _Wrong(f"`{key}` must be a number, and is {_short(row.get(key))}")
    tokens = _each(row, "tokens", _natural)
    for key, fits in (
        ("prompt_tokens", _natural),
        ("order", _whole),
        ("confidence", _number),
        ("entropy", _number),
        ("pieces", lambda piece: isinstance(piece, str)),
    ):
        _each(row, key, fits, len(tokens))
    choices = _each(row, "choices", _whole)
    if max(row["order"], default=-1) >= len(choices):
        raise _Wrong(f"`order` names tick {max(row['order'])}, and there are {len(choices)} `choices`")
    _each(row, "values", lambda v: v is None or _all(v, lambda one: one is None or _number(one)), len(choices))
    first_open = next((t for t, tick in enumerate(row["order"]) if tick >= 0), None)
    row.setdefault("mask_id", -1 if first_open is None else row["prompt_tokens"][first_open])
    if not _whole(row["mask_id"]):
        raise _Wrong(f"`mask_id` must be a token id, and is {_short(row['mask_id'])}")
    if "grid" in row and not (_all(row["grid"], _natural, 2) and math.prod(row["grid"]) == len(tokens)):
        raise _Wrong(f"`grid` is {_short(row['grid'])}, which does not hold its {len(tokens)} tokens")
    _check_steps(row, len(choices), len(tokens))
    own = row.get("names", {})
    if not isinstance(own, dict) or not all(isinstance(name, str) for name in own.values()):
        raise _Wrong("`names` must give token ids their texts")
    # What a row holds at the end has a piece each; a prompt's mask that stays has none where it was filled elsewhere.
    names = dict(zip(map(str, tokens), row["pieces"], strict=True))
    return row | {"names": names | own}


def _check_steps(row: dict[str, Any], ticks: int, width: int) -> None:
    if "steps" not in row:
        return
    if not _number(row.get("entropy_scale")):
        raise _Wrong(f"`entropy_scale` must be a number, and is {_short(row.get('entropy_scale'))}")

    def write(one: Any) -> bool:
        return _all(one, _number) and len(one) in (2, 3) and _natural(one[0]) and one[0] < width and _natural(one[1])

    def step(one: Any) -> bool:
        if not isinstance(one, dict) or not _all(one.get("written"), write):
            return False
        first = one.get("open", [0, ""])
        alternatives = one.get("alternatives", [])
        return (
            isinstance(first, list)
            and len(first) == 2
            and _whole(first[0])
            and isinstance(first[1], str)
            and _all(alternatives, lambda other: other is None or _all(other, write))
        )

    _each(row, "steps", step, ticks)


def _each(row: dict[str, Any], key: str, fits: Callable[[Any], bool], length: int | None = None) -> list[Any]:
    values = row.get(key)
    if not isinstance(values, list):
        raise _Wrong(f"`{key}` must be a list, and is {'missing' if values is None else _short(values)}")
    if length is not None and len(values) != length:
        raise _Wrong(f"`{key}` has {len(values)} items where {length} are due")
    for place, value in enumerate(values):
        if not fits(value):
            raise _Wrong(f"`{key}[{place}]` is {_short(value)}")
    return values


def _all(values: Any, fits: Callable[[Any], bool], length: int | None = None) -> bool:
    return isinstance(values, list) and (length is None or len(values) == length) and all(map(fits, values))


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _natural(value: Any) -> bool:
    return _whole(value) and value >= 0


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:60] + "…"
