"""The exceptions that a statement of a test raises by itself, and those that the statements around it end."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Collection, Iterator

ALL = "BaseException"
EXITS = {"exit", "quit", "_exit"}


def raised(line: ast.stmt) -> str | None:
    """The exception by which a statement tells that a test has failed; None if it cannot tell."""
    if isinstance(line, ast.Assert) or next(methods(line), None) is not None:
        return "AssertionError"
    if isinstance(line, ast.Raise) and line.exc is not None:
        return _name(line.exc.func if isinstance(line.exc, ast.Call) else line.exc)
    if isinstance(line, ast.Expr) and isinstance(line.value, ast.Call) and _name(line.value.func) in EXITS:
        return "SystemExit"
    return None


def methods(line: ast.stmt) -> Iterator[ast.Call]:
    """The calls of a statement that check as an assert does: methods such as unittest's `assertEqual`."""
    heads = [item.context_expr for item in line.items] if isinstance(line, ast.With) else []
    for call in [*heads, *([line.value] if isinstance(line, ast.Expr) else [])]:
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr.startswith("assert"):
            yield call


def suppressed(line: ast.stmt) -> frozenset[str]:
    """The exceptions that end in a statement if they are raised in its body, and make no test fail."""
    kinds: set[str] = set()
    for handler in getattr(line, "handlers", ()):
        if not any(isinstance(node, (ast.Raise, ast.Assert)) for node in ast.walk(handler)):
            kinds |= set(_listed(handler.type)) if handler.type else {ALL}
    for item in line.items if isinstance(line, ast.With) else ():
        call = item.context_expr
        if isinstance(call, ast.Call) and _name(call.func) in ("suppress", "assertRaises", "raises"):
            kinds |= {kind for argument in call.args for kind in _listed(argument)}
    return frozenset(kinds)


def catches(kinds: Collection[str], raised: str) -> bool:
    """True if an exception is one of these kinds, or derives from one. Kinds that are not Python's own are no bases."""
    kind = getattr(builtins, raised, Exception)
    bases = {base.__name__ for base in kind.__mro__} if isinstance(kind, type) else {ALL}
    return not (bases | {raised}).isdisjoint(kinds)


def _listed(types: ast.expr) -> Iterator[str]:
    yield from (_name(each) for each in (types.elts if isinstance(types, ast.Tuple) else [types]))


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
