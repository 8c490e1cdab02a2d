"""Exceptions between the answer and the tests: a test sees what it would see without a seal.

The type of an exception is told by the names of its bases. The tests know those of Python and of the standard library;
a type of the answer's own becomes a new type with the same name and the bases that are known.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from typing import Any

from mdmkit_tasks.judges.sealed.crossing import pack, unpack

TEXT = 100_000  # characters of an exception's text that cross
DATA = 1 << 20  # characters of JSON that its arguments may have, and its attributes; longer ones do not cross
BASES, PARTS = 50, 100
# Attributes that are neither among the arguments nor in `__dict__`.
ATTRIBUTES = ("name", "path", "filename", "filename2")


class AnswerError(Exception):
    """The answer raised an exception that cannot be made here."""


def packed(error: BaseException, refer: Callable[[Any], Any]) -> dict[str, Any]:
    """An exception as JSON, with its bases, text, arguments, attributes, and the exceptions of a group."""
    bases = [f"{base.__module__}.{base.__name__}" for base in type(error).__mro__[:BASES]]
    out: dict[str, Any] = {"name": type(error).__name__, "bases": bases, "text": _text(error)}
    out["args"] = _plain(list(error.args), refer)
    attributes = {name: getattr(error, name, None) for name in ATTRIBUTES} | error.__dict__
    out["attributes"] = _plain({name: value for name, value in attributes.items() if value is not None}, refer)
    if isinstance(error, BaseExceptionGroup):
        out["parts"] = [packed(part, refer) for part in error.exceptions[:PARTS]]
        out["args"] = _plain([error.message], refer)
    return out


def made(said: dict[str, Any], resolve: Callable[[list[Any]], Any]) -> BaseException:
    """The exception that `packed` told of. It is an `AnswerError` if there can be none of this type and text."""
    text = said["text"]
    arguments = unpack(said["args"], resolve) if said["args"] is not None else [text]
    attributes = unpack(said["attributes"], resolve) if said["attributes"] is not None else {}
    if "parts" in said:
        arguments = [*arguments, [made(part, resolve) for part in said["parts"]]]
    for kind in _kinds(said):
        for make in (kind, functools.partial(kind.__new__, kind)):  # an own __init__ may want other arguments
            try:
                error = make(*arguments)
                for name, value in attributes.items():
                    setattr(error, name, value)
                if type(error) is kind and str(error)[:TEXT] == text:
                    return error
            except Exception:
                continue
    return AnswerError(f"{said['name']}: {text}")


def _kinds(said: dict[str, Any]) -> list[type[BaseException]]:
    """The type of this name if it is known; else, or if it gives another text, a new type with the known bases."""
    bases: list[type[BaseException]] = []
    for name in said["bases"]:
        base = _known(name)
        if base is not None and not any(issubclass(other, base) for other in bases):
            bases.append(base)
    exact = [base for base in bases[:1] if _known(said["bases"][0]) is base]
    try:
        return [*exact, type(said["name"], tuple(bases), {"__str__": lambda error: said["text"]})]
    except (TypeError, ValueError):
        return exact


def _known(name: str) -> type[BaseException] | None:
    """An exception of Python or of a module of the standard library that the tests have loaded."""
    module, _, kind = name.rpartition(".")
    top = module.partition(".")[0]
    if top not in sys.stdlib_module_names or top == "unittest":  # by its SkipTest an answer would choose its own tests
        return None
    found = getattr(sys.modules.get(module), kind, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


def _text(error: BaseException) -> str:
    try:
        return str.__str__(str(error))[:TEXT]
    except BaseException:
        return ""


def _plain(value: Any, refer: Callable[[Any], Any]) -> Any:
    """A value as it crosses; None if it is too large or cannot."""
    try:
        crossed = pack(value, refer)
        return crossed if len(json.dumps(crossed)) <= DATA else None
    except BaseException:
        return None
