"""The side of the answer: it runs the program, then answers calls from the tests until they close the channel."""

from __future__ import annotations
import __future__

import ast
import sys
import types
from collections.abc import Iterator
from typing import Any

from mdmkit_tasks.judges.sealed.crossing import Channel, Ended, pack, unpack

CHANGEABLE = (list, dict, set, bytearray)


def answer(job: dict[str, Any], channel: Channel) -> None:
    """Run the parts of `job["program"]` in one namespace, and serve its names.

    A part is a text, and tells if its statements may fail.
    """
    # Not "__main__": what a program does when it is started by itself is no part of the answer.
    module = types.ModuleType("answer")
    sys.modules["answer"] = module
    try:
        for part, may_fail in job["program"]:
            if may_fail:
                _run_what_works(part, module.__dict__)
            else:
                exec(compile(part, "answer.py", "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:  # SystemExit too: a program that ends by itself has not answered
        channel.send(_raised(error))
        return
    channel.send(["value", None, []])
    held: list[Any] = []
    while True:
        try:
            asked = channel.read()
        except Ended:
            return
        try:
            reply = _reply(asked, module, held)
        except BaseException as error:
            reply = _raised(error)
        channel.send(reply)


def _run_what_works(part: str, space: dict[str, Any]) -> None:
    """Run a part, and pass over those of its statements that fail."""
    flags = 0
    for statement in ast.parse(part).body:
        try:
            code = compile(ast.Module([statement], []), "answer.py", "exec", flags, dont_inherit=True)
            flags |= (
                code.co_flags & __future__.annotations.compiler_flag
            )  # `from __future__` holds for the statements after it
            exec(code, space)
        except BaseException:  # SystemExit too
            continue


def _reply(asked: list[Any], module: types.ModuleType, held: list[Any]) -> list[Any]:
    def refer(value: Any) -> list[Any]:
        held.append(value)
        return ["iterator" if isinstance(value, Iterator) else "object", len(held) - 1]

    def resolve(reference: list[Any]) -> Any:
        return held[reference[1]]

    kind, target, *more = asked
    if kind == "name":
        return ["value", pack(module.__dict__[target], refer), []]
    if kind == "attribute":
        return ["value", pack(getattr(held[target], more[0]), refer), []]
    if kind == "next":
        return ["value", pack(next(held[target]), refer), []]
    arguments = [unpack(value, resolve) for value in more[0]]
    named = {name: unpack(value, resolve) for name, value in more[1].items()}
    result = pack(held[target](*arguments, **named), refer)
    after = [pack(value, refer) if isinstance(value, CHANGEABLE) else before
             for value, before in zip(arguments, more[0], strict=True)]  # fmt: skip
    changed = [[i, value] for i, (value, before) in enumerate(zip(after, more[0], strict=True)) if value != before]
    return ["value", result, changed]


def _raised(error: BaseException) -> list[Any]:
    try:
        said = str(error)[:200]
    except Exception:
        said = ""
    return ["raised", type(error).__name__, said]
