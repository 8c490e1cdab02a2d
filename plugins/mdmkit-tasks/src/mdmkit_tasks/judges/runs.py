"""Runs of lines that are Python, in a text that is not marked as code."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from mdmkit_tasks.judges.names import parsed, read

# Of so many definitions of one function the last that is whole is looked for.
LOOKED_AT = 20
# Lines that one statement before a function may have.
LONGEST = 1000
# A line that goes on with a statement: it is indented, empty, or begins so.
_GOES_ON = re.compile(r"\s|$|[)\]}]|(?:else|elif|except|finally)\b")
# A statement that a decorator may stand before, and another decorator.
_DECORATED = re.compile(r"@|(?:async\s+)?def\b|class\b")
# An expression with one of these does something; `Sure` or `a, b` do not, and may be words.
_ACTS = (ast.Call, ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr, ast.JoinedStr)


def around(text: str, starts: Sequence[int]) -> str:
    """The run of lines that is Python around the last definition that is whole.

    Args:
        starts: where the text defines the function, at the start of a line.
    """
    if parsed(text) is not None:
        return _without_words(text)
    for start in (*reversed(starts[-LOOKED_AT:]), starts[0]):
        definition = valid(text[start:])
        if parsed(definition) is not None:
            break
    before = text[:start].split("\n")[:-1]
    return _without_words("\n".join([*before[_first(before) :], definition]))


def valid(text: str) -> str:
    """The longest beginning of a text that is valid Python, because text after the program is not."""
    lines = text.split("\n")
    end = len(lines)
    while end > 0:
        beginning = "\n".join(lines[:end])
        tree, wrong = read(beginning)
        if tree is not None:
            return beginning
        end = min(end, wrong) - 1
    return text


def _first(lines: Sequence[str]) -> int:
    """The number of the line from which the lines are statements, up to a definition that follows them."""
    first = len(lines)
    decorated = True
    for number in reversed(range(len(lines))):
        if first - number > LONGEST:
            break
        if _GOES_ON.match(lines[number]):
            continue
        after = ["def _():", " pass"] if decorated else []  # decorators need it
        if parsed("\n".join([*lines[number:first], *after])) is not None:
            first = number
            decorated = bool(_DECORATED.match(lines[number])) or (decorated and lines[number].startswith("#"))
    return first


def _without_words(program: str) -> str:
    """A program without words at its start and end that only look like statements, such as `Sure` or `Note: this`."""
    tree = parsed(program)
    acting = [line for line in tree.body if _acts(line)] if tree is not None else []
    if not acting:
        return program
    first = min([acting[0].lineno, *(d.lineno for d in getattr(acting[0], "decorator_list", ()))])
    return "\n".join(program.split("\n")[first - 1 : acting[-1].end_lineno])


def _acts(line: ast.stmt) -> bool:
    if isinstance(line, ast.AnnAssign):
        return line.value is not None
    return not isinstance(line, ast.Expr) or any(isinstance(node, _ACTS) for node in ast.walk(line))
