"""Read the record of a run. Whoever continues, joins or replaces its rows reads it here, so all refuse the same."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdmkit.cli.rows import is_count
from mdmkit.errors import MdmkitError, shown
from mdmkit.from_json import TwiceError, from_json
from mdmkit.settings.numbers import is_whole


@dataclass(frozen=True)
class Recorded:
    """What the record of a run holds.

    Attributes:
        run: the identity of the run. One of the first edition has no `contents`.
        waiting: finished rows that wait for earlier ones. They are not checked.
        slots: the number of rows that were decoded at once, by the index of the first prompt of a unit.
        batch: the number that the run began with; None: it is not recorded.
    """

    run: dict[str, Any]
    waiting: list[Any]
    slots: dict[int, int]
    batch: int | None


def read_record(path: Path) -> Recorded:
    """Read the record of a run, and check every value that a command computes with.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no record of a run, or a damaged one; the text says what is wrong.
    """
    document = _document(path)
    run, waiting = document["run"], document["waiting"]
    _check_run(run)
    if not isinstance(waiting, list):
        raise ValueError(f"its 'waiting' is {shown(waiting, 60)}, which is no list")
    return Recorded(run, waiting, read_slots(document), read_batch(document))


def read_replaced(path: Path) -> dict[str, Any]:
    """The run whose rows are replaced, as far as its files need it; also of a damaged record. Empty: nobody knows."""
    try:
        run = json.loads(path.read_text(encoding="utf-8"))["run"]
        return run if is_count(run["prompts"]["number"]) else {}
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return {}


def is_record(path: Path) -> bool:
    """True if nothing is there, or a file with the keys of a record, and no others. Then it may be replaced."""
    if not path.exists():
        return True
    try:
        _document(path)
    except (OSError, ValueError):
        return False
    return True


def start_again(record: Path) -> str:
    """The end of an error about a record that cannot be read: how the run begins again."""
    # Without the keys of a record it may be a file of the user's own, which --overwrite does not replace.
    start = "Start" if is_record(record) else f"Move {record.name} away and start"
    return f"{start} again with --overwrite, or name another --output."


def read_slots(document: Mapping[str, Any]) -> dict[int, int]:
    """The slots of units in a record.

    Raises:
        ValueError: they are none.
    """
    slots = document.get("slots", {})
    if not isinstance(slots, dict):
        raise ValueError(f"its 'slots' is {shown(slots, 60)}, which is no object")
    for first, number in slots.items():
        if not re.fullmatch("[0-9]{1,18}", first):
            raise ValueError(f"its 'slots' has the key {shown(first, 60)}, which is no index of a prompt")
        if not (is_whole(number) and number >= 1):
            raise ValueError(f"its 'slots' holds {shown(number, 60)}, which is no whole number from 1")
    found = {int(first): number for first, number in slots.items()}
    if len(found) < len(slots):
        raise ValueError(f"its 'slots' name one prompt by two keys: {shown(', '.join(slots), 60)}")
    return found


def read_batch(document: Mapping[str, Any]) -> int | None:
    """The number of rows that the run of a record began with; None: it is not recorded.

    Raises:
        ValueError: it is no whole number from 1.
    """
    batch = document.get("batch")
    if batch is None or (is_whole(batch) and batch >= 1):
        return batch
    raise ValueError(f"its 'batch' is {shown(batch, 60)}, which is no whole number from 1")


def require_contents(
    run: Mapping[str, Any],
    what: str,
    record: str,
    way_on: str = "Start again with --overwrite, or name another --output.",
) -> None:
    """Refuse a recorded run of the first edition, which did not record the contents of files.

    Args:
        what: is of the first edition; it begins the error.
        record: does not tell what the files held.
        way_on: ends the error.

    Raises:
        MdmkitError: it is.
    """
    if "contents" not in run:
        raise MdmkitError(
            f"{what} is of mdmkit's first edition. {record} does not tell what the model's files held, so nobody knows "
            f"whether its rows are of the same run. {way_on}"
        )


def _document(path: Path) -> dict[str, Any]:
    """Read a file that has the keys of a record; their values may be anything."""
    try:
        document = from_json(path.read_text(encoding="utf-8"))
    except TwiceError:
        raise
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, thousands of digits or of brackets
        raise ValueError("it is not JSON") from error
    if not isinstance(document, dict):
        raise ValueError(f"it is {shown(document, 60)}")
    for key in ("run", "waiting"):
        if key not in document:
            raise ValueError(f"it has no {key!r}")
    for key in document:
        if key not in ("run", "waiting", "slots", "batch"):
            raise ValueError(f"it has a {shown(key, 60)}, and no record has")
    return document


def _check_run(run: Any) -> None:
    """Check the values that are read of a run, also by `differences` when it is compared with another one."""
    if not isinstance(run, dict):
        raise ValueError(f"its 'run' is {shown(run, 60)}")
    prompts = run.get("prompts")
    if not isinstance(prompts, dict):
        raise ValueError(f"the 'prompts' of its run are {shown(prompts, 60)}")
    number, digest, options = prompts.get("number"), prompts.get("sha256"), prompts.get("options", [])
    if not is_count(number):
        raise ValueError(f"the 'number' of its prompts is {shown(number, 60)}")
    if not isinstance(digest, str):
        raise ValueError(f"the 'sha256' of its prompts is {shown(digest, 60)}")
    if not (isinstance(options, list) and all(isinstance(each, str) for each in options)):
        raise ValueError(f"the 'options' of its prompts are {shown(options, 60)}")
    contents = run.get("contents", {"backbone": None, "model": {}, "files": {}})
    if not (isinstance(contents, dict) and "backbone" in contents):
        raise ValueError(f"the 'contents' of its run are {shown(contents, 60)}")
    for key in ("model", "files"):
        if not isinstance(contents.get(key), dict):
            raise ValueError(f"the {key!r} of its contents is {shown(contents.get(key), 60)}")
