"""The side of the answer: it runs the program, then answers calls from the tests until they close the channel."""

from __future__ import annotations
import __future__

import ast
import functools
import sys
import types
from collections.abc import Iterator
from typing import Any

from mdmkit_tasks.judges.sealed.crossing import Channel, Ended, pack, unpack
from mdmkit_tasks.judges.sealed.errors import packed

CHANGEABLE = (list, dict, set, bytearray)


def answer(job: dict[str, Any], channel: Channel) -> None:
    """Run the parts of `job["program"]` in one namespace, and serve its names.

    A part is a text, and tells if its statements may fail.
    """
    # Not "__main__": what a program does when it is started by itself is no part of the answer.
    module = types.ModuleType("answer")
    sys.modules["answer"] = module
    held: list[Any] = []
    refer = functools.partial(_refer, held)
    try:
        for part, may_fail in job["program"]:
            if may_fail:
                _run_what_works(part, module.__dict__)
            else:
                exec(compile(part, "answer.py", "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:  # SystemExit too: a program that ends by itself has not answered
        channel.send(["raised", packed(error, refer)])
        return
    channel.send(["value", None, []])
    while True:
        try:
            asked = channel.read()
        except Ended:
            return
        try:
            reply = _reply(asked, module, held)
        except BaseException as error:
            reply = ["raised", packed(error, refer)]
        channel.send(reply)


def _run_what_works(part: str, space: dict[str, Any]) -> None:
    """Run a part, and pass over those of its statements that fail."""
    flags = 0
    for statement in ast.parse(part).body:
        try:
            code = compile(ast.Module([statement], []), "answer.py", "exec", flags, dont_inherit=True)
            flags |= code.co_flags & __future__.annotations.compiler_flag  # it holds for the statements after it
            exec(code, space)
        except BaseException:  # SystemExit too
            continue


def _reply(asked: list[Any], module: types.ModuleType, held: list[Any]) -> list[Any]:
    refer = functools.partial(_refer, held)

    def resolve(reference: list[Any]) -> Any:
        return held[reference[1]]

    kind, target, *more = asked
    if kind == "name":
        return ["value", pack(module.__dict__[target], refer), []]
    if kind == "attribute":
        return ["value", pack(getattr(held[target], more[0]), refer), []]
    if kind == "next":
        return ["value", pack(next(held[target]), refer), []]
    before = dict(enumerate(more[0])) | more[1]  # positional arguments by number, the others by name
    values = {key: unpack(value, resolve) for key, value in before.items()}
    count = len(more[0])
    result = pack(held[target](*(values[i] for i in range(count)), **{name: values[name] for name in more[1]}), refer)
    after = {key: pack(value, refer) for key, value in values.items() if isinstance(value, CHANGEABLE)}
    return ["value", result, [[key, value] for key, value in after.items() if value != before[key]]]


def _refer(held: list[Any], value: Any) -> list[Any]:
    """A reference to an object that stays here."""
    held.append(value)
    return ["iterator" if isinstance(value, Iterator) else "object", len(held) - 1]
