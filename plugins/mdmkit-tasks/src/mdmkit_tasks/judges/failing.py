"""Tests that can fail: a check is reached whose outcome is not the same for every answer.

A check is an assert, a method such as unittest's `assertEqual`, or a `raise` or `assert False` that a condition leads
to.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Collection, Iterable, Iterator, Sequence

from mdmkit_tasks.judges.calling import parts, uses
from mdmkit_tasks.judges.raising import catches, methods, raised, suppressed

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LEAVES = (ast.Return, ast.Raise, ast.Break, ast.Continue)


def can_fail(tests: ast.Module, under_test: Collection[str] = ()) -> bool:
    """True if a module of tests reaches an open check.

    The tests are read and not run. So a name counts as open, although its value may be the same for every answer.

    Args:
        under_test: functions of the answer, which may have names of Python's own.
    """
    return _Reached(tests, tests.body, under_test).fails


def check_can_fail(tests: ast.Module, check: str) -> bool:
    """True if the function `check` of the tests reaches an open check, and calls its first argument: the answer."""
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
        perhaps: the names that are read only if an open condition is true.
        fails: a check is reached whose outcome is open.
    """

    def __init__(self, tests: ast.Module, lines: Sequence[ast.stmt], under_test: Collection[str]):
        self.under_test = under_test
        self.names: set[str] = set()
        self.used: set[str] = set()
        self.perhaps: set[str] = set()
        self.fails = False
        self._block(lines, frozenset(), False)
        ahead = [node for node in ast.walk(tests) if isinstance(node, FUNCTIONS)]
        while called := [node for node in ahead if node.name in self.names]:
            ahead = [node for node in ahead if node not in called]
            for node in called:
                self._block(node.body, frozenset(), node.name in self.perhaps)

    def _block(self, lines: Sequence[ast.stmt], caught: frozenset[str], perhaps: bool) -> None:
        """Read the lines. The exceptions `caught` end unseen; `perhaps` tells that an open condition led here."""
        for line in lines:
            read = {name for part in parts(line) for name in _names(part)}
            self.names |= read
            self.perhaps |= read if perhaps or any(map(_chooses, parts(line))) else set()
            self.used |= set(uses(line))
            kind = raised(line)
            if kind is not None and not catches(caught, kind):
                self.fails |= self._is_open(line, perhaps)
            leads = perhaps or self._open(_decides(line))
            for block in _blocks(line):
                inside = caught | suppressed(line) if block is getattr(line, "body", None) else caught
                self._block(block, inside, leads if block not in _always(line) else perhaps)
            if isinstance(line, LEAVES):
                return
            perhaps |= leads and any(isinstance(node, LEAVES) for node in ast.walk(line))

    def _is_open(self, line: ast.stmt, perhaps: bool) -> bool:
        """True if the outcome of a check hangs on a name that is not Python's own. What an assert says is no part."""
        if isinstance(line, ast.Assert):
            known = _truth(line.test)
            # One that is always false is as a raise.
            return self._open(_names(line.test)) if known is None else perhaps and not known
        if isinstance(line, ast.With):
            return self._open(name for part in line.body for name in _names(part))
        compared = [part for call in methods(line) for part in (*call.args, *(word.value for word in call.keywords))]
        return self._open(name for part in compared for name in _names(part)) if compared else perhaps

    def _open(self, names: Iterable[str]) -> bool:
        return any(not hasattr(builtins, name) or name in self.under_test for name in names)


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


def _decides(line: ast.stmt) -> Iterator[str]:
    """The names that decide which block of a statement runs."""
    if isinstance(line, (ast.Try, ast.For, ast.While)):  # one raises, the others may break
        yield from (name for part in line.body for name in _names(part))
    for field in ("test", "iter", "subject"):
        if (part := getattr(line, field, None)) is not None:
            yield from _names(part)


def _always(line: ast.stmt) -> list[list[ast.stmt]]:
    """The blocks that decide nothing: a handler, since an exception of the answer fails anyway, and `finally`."""
    return [*(handler.body for handler in getattr(line, "handlers", ())), getattr(line, "finalbody", [])]


def _chooses(part: ast.AST) -> bool:
    return any(isinstance(node, (ast.BoolOp, ast.IfExp)) for node in ast.walk(part))
