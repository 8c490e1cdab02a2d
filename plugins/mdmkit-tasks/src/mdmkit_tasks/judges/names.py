"""The names that a program uses, and where an answer's other blocks define them."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def parsed(text: str) -> ast.Module | None:
    """The syntax tree of a text; None if it is not Python."""
    return read(text)[0]


def read(text: str) -> tuple[ast.Module | None, int]:
    """The syntax tree of a text; if it is not Python, None and the line with which it ceases to be."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an invalid escape in an answer is not the user's business
        try:
            return ast.parse(text), 0
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            return None, getattr(error, "lineno", None) or text.count("\n") + 1


def needed(program: str, others: Iterable[str], head: str) -> list[str]:
    """Find what a program uses and does not define in the other blocks: definitions, imports and assignments.

    Args:
        head: code that runs before the program, whose names need not be found.
    """
    there: dict[str, str] = {}
    for block in others:
        lines = block.split("\n")
        for statement in _statements(block):
            first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", ()))])
            there |= dict.fromkeys(binds(statement), "\n".join(lines[first - 1 : statement.end_lineno]))
    chosen: set[str] = set()
    missing = free(program) - {name for statement in _statements(head) for name in binds(statement)}
    while wanted := {there[name] for name in missing & there.keys()} - chosen:
        chosen |= wanted
        missing = set().union(*map(free, wanted))
    return [source for source in dict.fromkeys(there.values()) if source in chosen]


def binds(statement: ast.AST) -> list[str]:
    """The names that a statement defines, imports or assigns."""
    if isinstance(statement, DEFINITIONS):
        return [statement.name]
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return [(alias.asname or alias.name).partition(".")[0] for alias in statement.names]
    if isinstance(statement, ast.Assign):
        return [target.id for target in statement.targets if isinstance(target, ast.Name)]
    return []


def _statements(text: str) -> Iterator[ast.stmt]:
    tree = parsed(text)
    yield from tree.body if tree is not None else ()


def free(program: str) -> set[str]:
    """The names that a program reads and nowhere binds."""
    tree = parsed(program)
    nodes = list(ast.walk(tree)) if tree is not None else []
    names = [node for node in nodes if isinstance(node, ast.Name)]
    own = {name for node in nodes for name in binds(node)} | {node.arg for node in nodes if isinstance(node, ast.arg)}
    own |= {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    return {node.id for node in names} - own
