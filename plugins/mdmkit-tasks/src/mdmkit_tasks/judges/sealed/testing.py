"""The side of the tests: it runs them on values that crossed from the answer, and writes the verdict."""

from __future__ import annotations

import ast
import builtins
import importlib
import json
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from mdmkit_tasks.judges.sealed.crossing import Channel, Ended, pack, unpack
from mdmkit_tasks.judges.sealed.errors import AnswerError, made


class Remote:
    """An object that stays with the answer. It can be called, and its attributes read; it equals only itself."""

    def __init__(self, asking: Asking, place: int):
        self._asking, self._place = asking, place

    def __call__(self, /, *arguments: Any, **named: Any) -> Any:
        return self._asking.call(self._place, arguments, named)

    def __getattr__(self, name: str) -> Any:
        return self._asking.ask("attribute", self._place, name)


class RemoteIterator(Remote):
    """An iterator that stays with the answer, and is asked for one item at a time."""

    def __iter__(self) -> RemoteIterator:
        return self

    def __next__(self) -> Any:
        return self._asking.ask("next", self._place)


class Asking:
    """Questions to the answer."""

    def __init__(self, channel: Channel):
        self.channel = channel

    def ready(self) -> None:
        """Wait until the program has run."""
        self._value(self.channel.read())

    def ask(self, *question: Any) -> Any:
        self.channel.send(list(question))
        return self._value(self.channel.read())[0]

    def call(self, place: int, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        packed = [pack(value, _refer) for value in arguments]
        self.channel.send(["call", place, packed, {name: pack(value, _refer) for name, value in named.items()}])
        result, changed = self._value(self.channel.read())
        for key, after in changed:
            _become(named[key] if isinstance(key, str) else arguments[key], unpack(after, self._resolve))
        return result

    def _value(self, reply: list[Any]) -> tuple[Any, list[Any]]:
        if reply[0] == "value":
            return unpack(reply[1], self._resolve), reply[2]
        raise made(reply[1], self._resolve)

    def _resolve(self, reference: list[Any]) -> Remote:
        return (RemoteIterator if reference[0] == "iterator" else Remote)(self, int(reference[1]))


def test(job: dict[str, Any], channel: Channel, out: TextIO) -> None:
    """Run `job["tests"]` and write `{"passed": …, "why": …}`."""
    verdict: dict[str, Any] = {"passed": False}
    try:
        asking = Asking(channel)
        asking.ready()
        space: dict[str, Any] = {"__name__": "tests"}
        exec(compile(job["head"], "head.py", "exec", dont_inherit=True), space)
        code = compile(job["tests"], "tests.py", "exec", dont_inherit=True)
        for name in _wanted(job["tests"], {job["name"]}, space):
            if name in sys.stdlib_module_names and name != job["name"]:
                space[name] = importlib.import_module(name)
                continue
            try:
                space[name] = asking.ask("name", name)
            except KeyError:
                space.pop(name, None)
        exec(code, space)
        verdict["passed"] = True
    except Ended as error:
        verdict["why"] = str(error)
    except AnswerError as error:
        verdict["why"] = str(error)[:300]
    except BaseException as error:
        verdict["why"] = f"{type(error).__name__}: {str(error)[:200]}"
    print(json.dumps(verdict), file=out, flush=True)


def _wanted(tests: str, under_test: set[str], space: Mapping[str, Any]) -> list[str]:
    """The names that the tests take from the answer: the one under test, and names that nothing here defines."""
    tree = ast.parse(tests)
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    own = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    own |= {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    own |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            own |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    return sorted(under_test | {n for n in read - own if n not in space and not hasattr(builtins, n)})


def _refer(value: Any) -> list[Any]:
    if isinstance(value, Remote):
        return ["object", value._place]
    raise TypeError(f"the tests pass {type(value).__name__!r} to the answer, and only plain data can cross")


def _become(value: Any, after: Any) -> None:
    """Change an argument as the answer changed its copy."""
    if isinstance(value, (list, bytearray)):
        value[:] = after
    elif isinstance(value, (dict, set)):
        value.clear()
        value.update(after)
