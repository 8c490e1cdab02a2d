"""Which names a statement of a test calls or passes on, and which it only looks at."""

from __future__ import annotations

import ast
from collections.abc import Iterator

# Functions of Python that only look at a function that they are given.
INSPECT = {"callable", "isinstance", "issubclass", "hasattr", "getattr", "type", "id", "repr", "dir", "vars", "print"}
_LOOKS = (ast.Assert, ast.Expr, ast.If, ast.While)


def uses(line: ast.stmt) -> list[str]:
    """The names in a statement, without those in its blocks, that are not only looked at, from left to right.

    `f(2)`, `map(f, x)`, `f.method` and `g = f` put `f` to use. `assert f`, `f is None`, `f.__name__` and `callable(f)`
    look at it: they are the same for every answer that defines it.
    """
    names: list[ast.Name] = []
    for part in parts(line):
        looked = set(_looked_at(part))
        if isinstance(line, _LOOKS):
            looked |= set(_decides(part))
        names += [
            node
            for node in ast.walk(part)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node not in looked
        ]
    return [node.id for node in sorted(names, key=lambda node: (node.lineno, node.col_offset))]


def parts(line: ast.stmt) -> list[ast.expr | ast.withitem | ast.arguments]:
    """The parts of a statement that are no blocks."""
    return [part for part in ast.iter_child_nodes(line) if isinstance(part, (ast.expr, ast.withitem, ast.arguments))]


def _looked_at(part: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(part):
        if isinstance(node, ast.Compare):
            yield from (node.left, *node.comparators)
        elif isinstance(node, ast.Attribute) and node.attr.startswith("__") and node.attr != "__call__":
            yield node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in INSPECT:
            yield from (*node.args, *(word.value for word in node.keywords))


def _decides(part: ast.AST) -> Iterator[ast.AST]:
    """The parts of a condition whose truth decides it."""
    yield part
    if isinstance(part, ast.BoolOp):
        for value in part.values:
            yield from _decides(value)
    elif isinstance(part, ast.UnaryOp):
        yield from _decides(part.operand)
