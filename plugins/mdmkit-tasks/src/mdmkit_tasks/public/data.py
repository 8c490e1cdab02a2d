"""Rows of a data set: from a file of JSON lines, or from the hub by its id."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mdmkit import MdmkitError, Task
from mdmkit.cli.commands import from_json, read_whole


class FromData(Task):
    """A task whose prompts come from rows.

    Attributes:
        name: the name of the task, for errors.
        hub: id, configuration (None: the only one) and split on the hub.
        fields: the fields that a row must have; alternatives with `|`. Their values are texts.
        others: those of the fields whose values are no texts; `problem` checks them.

    Args:
        data: a file of JSON lines with these fields; None: the data set of the hub.
    """

    name: str
    hub: tuple[str, str | None, str]
    fields: tuple[str, ...]
    others: tuple[str, ...] = ()
    measure = "accuracy"
    places: tuple[str, ...] = ("data",)  # runs compare the prompts, not the file's path

    def __init__(self, data: str | None = None):
        self.data = data

    def problem(self, row: Mapping[str, Any]) -> str:
        """Say why a row with all its fields can still not be asked or judged; empty if it can."""
        return ""

    def rows(self, count: int | None, seed: int) -> list[dict[str, Any]]:
        """Draw `count` rows (None: the limit, or all if there are fewer). All rows together keep their order.

        Raises:
            MdmkitError: there are fewer, a row cannot be used, or the data cannot be loaded.
        """
        every = self._from_file(Path(self.data)) if self.data is not None else self._from_hub()
        if count is None:
            count = min(self.limit, len(every))
        if count > len(every):
            raise MdmkitError(f"{count} prompts of task {self.name!r} were asked for, and there are {len(every)}.")
        if count == len(every):
            return every
        return [every[i] for i in sorted(random.Random(f"{self.name}/{seed}").sample(range(len(every)), count))]

    def _from_file(self, path: Path) -> list[dict[str, Any]]:
        return from_file(self.name, path, self.fields, self._problem)

    def _problem(self, row: Mapping[str, Any]) -> str:
        for field in self.fields:
            name = field.split("|")[0]
            if name not in self.others and not isinstance(row[name], str):
                return f"the field {name!r} is {brief(row[name])}, and must be a text in quotes"
            if name not in self.others and not row[name].strip():
                return f"the field {name!r} is empty"
        return self.problem(row)

    def _from_hub(self) -> list[dict[str, Any]]:
        ref, configuration, split = self.hub
        advice = f"or give a file with --data FILE.jsonl, whose lines have {_listed(self.fields)}"
        try:
            from datasets import load_dataset
        except ImportError as error:
            raise MdmkitError(
                f"task {self.name!r} is on the hub as {ref}, and needs the package datasets ({error}): "
                f"pip install 'mdmkit-tasks[hub]', {advice}."
            ) from error
        try:
            found = load_dataset(ref, configuration, split=split)
        except Exception as error:  # the hub's client raises many unrelated types
            said = " ".join(str(error).split())[:300]
            raise MdmkitError(
                f"task {self.name!r}: the data set {ref} cannot be loaded ({said}). Go online once, log in if it is "
                f"gated, {advice}."
            ) from error
        return [check_row(dict(row), self.fields, f"{ref}, row {i}", self._problem) for i, row in enumerate(found)]


def from_file(
    task: str, path: Path, fields: Sequence[str], problem: Callable[[Mapping[str, Any]], str]
) -> list[dict[str, Any]]:
    """Read JSON lines; `problem` says what is wrong with a row, empty if nothing is.

    Raises:
        MdmkitError: the file cannot be read, or a line is not an object, lacks a field or has a problem. The error
            names the line.
    """
    try:
        lines = read_whole(path).decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else "it is not UTF-8 text"
        raise MdmkitError(f"the data of task {task!r}, {path}: {said}. It is a file of JSON lines.") from None
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = from_json(line)
        except (ValueError, RecursionError) as error:
            raise MdmkitError(f"{where}: not JSON ({' '.join(str(error).split())[:100]}).") from None
        if not isinstance(row, dict):
            raise MdmkitError(
                f"{where}: {line.strip()[:60]!r} is not an object. Task {task!r} wants {_listed(fields)}."
            )
        rows.append(check_row(row, fields, where, problem))
    if not rows:
        raise MdmkitError(f"the data of task {task!r}, {path}: the file holds no line.")
    return rows


def check_row(
    row: Mapping[str, Any], fields: Sequence[str], where: str, problem: Callable[[Mapping[str, Any]], str]
) -> dict[str, Any]:
    """Check a row. A field with alternatives is renamed to the first of them.

    Raises:
        MdmkitError: a field is missing, or the row has a problem. The error names the row and the field.
    """
    out = dict(row)
    for field in fields:
        names = field.split("|")
        there = next((name for name in names if out.get(name) is not None), None)
        if there is None:
            raise MdmkitError(
                f"{where}: the field {' or '.join(map(repr, names))} is missing; there are {_listed(list(row))}."
            )
        out[names[0]] = out[there]
    if said := problem(out):
        raise MdmkitError(f"{where}: {said}.")
    return out


def brief(value: Any) -> str:
    """A value as JSON, cut to 60 characters."""
    said = json.dumps(value, ensure_ascii=False, default=str)
    return said if len(said) <= 60 else f"{said[:60]}…"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name.replace("|", "/")) for name in names) or "none"
