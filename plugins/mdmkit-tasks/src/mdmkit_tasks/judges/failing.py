"""Tests that can fail: an assert is reached, and its outcome is not the same for every answer."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Collection, Iterator, Sequence

from mdmkit_tasks.judges.calling import put_to_use

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LEAVES = (ast.Return, ast.Raise, ast.Break, ast.Continue)
CATCHES_ALL = {"AssertionError", "Exception", "BaseException"}


def can_fail(tests: ast.Module, under_test: Collection[str] = ()) -> bool:
    """True if a module of tests reaches an open assert.

    The tests are read and not run. So a name counts as open, although its value may be the same for every answer.

    Args:
        under_test: functions of the answer, which may have names of Python's own.
    """
    return _Reached(tests, tests.body, under_test).fails


def check_can_fail(tests: ast.Module, check: str) -> bool:
    """True if the function `check` of the tests reaches an open assert, and calls its first argument: the answer."""
    found = next((line for line in reversed(tests.body) if isinstance(line, FUNCTIONS) and line.name == check), None)
    # The call of a coroutine or of a generator runs nothing.
    if not isinstance(found, ast.FunctionDef) or any(
        isinstance(n, (ast.Yield, ast.YieldFrom)) for n in ast.walk(found)
    ):
        return False
    arguments = [argument.arg for argument in (*found.args.posonlyargs, *found.args.args)][:1]
    reached = _Reached(tests, found.body, arguments)
    return reached.fails and bool(reached.used & set(arguments))


class _Reached:
    """What a run of some statements can come to.

    Attributes:
        names: the names and attributes that are read.
        used: the names that are called or passed on, and not only looked at.
        fails: an assert is reached whose outcome is open.
    """

    def __init__(self, tests: ast.Module, lines: Sequence[ast.stmt], under_test: Collection[str]):
        self.under_test = under_test
        self.names: set[str] = set()
        self.used: set[str] = set()
        self.fails = False
        self._block(lines, caught=False)
        ahead = [node for node in ast.walk(tests) if isinstance(node, FUNCTIONS)]
        while called := [node for node in ahead if node.name in self.names]:
            ahead = [node for node in ahead if node not in called]
            for node in called:
                self._block(node.body, caught=False)

    def _block(self, lines: Sequence[ast.stmt], caught: bool) -> None:
        for line in lines:
            parts = [
                part for part in ast.iter_child_nodes(line) if isinstance(part, (ast.expr, ast.withitem, ast.arguments))
            ]
            read = {name for part in parts for name in _names(part)}
            self.names |= read
            self.used |= {name for part in parts for name in put_to_use(line, part)}
            if isinstance(line, ast.Assert) and not caught:
                decides = set(_names(line.test))  # and not what its message names
                own = {name for name in decides if hasattr(builtins, name) and name not in self.under_test}
                self.fails |= bool(decides - own) and _truth(line.test) is not True
            swallows = any(map(_swallows, getattr(line, "handlers", ())))
            for block in _blocks(line):
                self._block(block, caught or (swallows and block is getattr(line, "body", None)))
            if isinstance(line, LEAVES):
                return


def _blocks(line: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The blocks of a statement that can be reached. The body of a function runs when it is called."""
    if isinstance(line, FUNCTIONS):
        return
    test = getattr(line, "test", None) or getattr(line, "iter", None)
    known = _truth(test) if test is not None else None
    if known is not False:
        yield getattr(line, "body", [])
    if known is not True or isinstance(line, (ast.For, ast.AsyncFor)):
        yield getattr(line, "orelse", [])
    yield from (part.body for part in (*getattr(line, "handlers", ()), *getattr(line, "cases", ())))
    yield getattr(line, "finalbody", [])


def _truth(node: ast.expr) -> bool | None:
    """The truth of an expression that is the same in every run; None if it is open."""
    if isinstance(node, ast.Constant):
        return bool(node.value)
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        return bool(node.elts)
    if isinstance(node, ast.Dict):
        return bool(node.keys)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        known = _truth(node.operand)
        return None if known is None else not known
    if isinstance(node, ast.BoolOp):
        decides, parts = isinstance(node.op, ast.Or), [_truth(part) for part in node.values]
        return decides if decides in parts else None if None in parts else not decides
    if isinstance(node, ast.Compare) and isinstance(node.left, ast.Name) and node.left.id == "__name__":
        return False  # tests are not started by themselves
    return None


def _names(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
            yield part.id
        elif isinstance(part, ast.Attribute):
            yield part.attr


def _swallows(handler: ast.ExceptHandler) -> bool:
    """True if a failed assert ends in this handler."""
    kinds = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)} if handler.type else CATCHES_ALL
    fails = any(isinstance(node, (ast.Raise, ast.Assert)) for node in ast.walk(handler))
    return bool(kinds & CATCHES_ALL) and not fails
