"""Lists and options of the command line, read without torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mdmkit import MdmkitError, unknown


def task_options(given: Sequence[str], tasks: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Read `KEY=VALUE` (for every task) and `TASK.KEY=VALUE`; a value is read as JSON if it is JSON, else as text.

    Raises:
        MdmkitError: an option has another form, or names a task that was not requested.
    """
    options: dict[str, dict[str, Any]] = {task: {} for task in tasks}
    for pair in given:
        key, equals, text = pair.partition("=")
        task, dot, inner = key.rpartition(".")
        if not equals or not inner.isidentifier() or (dot and task not in options):
            raise MdmkitError(
                f"--task-option {pair!r}: write it as KEY=VALUE, or as TASK.KEY=VALUE for one of the requested tasks "
                f"({', '.join(tasks)})."
            )
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = text
        for name in [task] if dot else tasks:
            options[name][inner] = value
    return options


def named(given: Sequence[str], option: str, form: str, known: Sequence[str]) -> dict[str, str]:
    """Read `NAME=VALUE` options with known names.

    Raises:
        MdmkitError: an option has another form, or its name is unknown.
    """
    out = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not value:
            raise MdmkitError(f"{option} {pair!r}: write it as {form}.")
        if name not in known:
            raise MdmkitError(f"{option} {pair!r}: {unknown('name', name, known)}")
        out[name] = value
    return out
