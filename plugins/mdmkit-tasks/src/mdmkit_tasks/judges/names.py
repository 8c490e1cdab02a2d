"""The names that a program uses, and those that it binds."""

from __future__ import annotations

import ast
import symtable
import warnings

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


def bound(text: str) -> set[str]:
    """The names that a text defines, imports or assigns when it runs, other than within its functions and classes."""
    return {symbol.get_name() for scope in _scopes(text)[:1] for symbol in scope.get_symbols() if _is_bound(symbol)}


def free(text: str) -> set[str]:
    """The global names that a text needs: it reads or changes them, and does not bind them before."""
    needed: set[str] = set()
    for scope in _scopes(text):
        top = scope.get_type() == "module"
        needed |= {
            symbol.get_name()
            for symbol in scope.get_symbols()
            if (symbol.is_referenced() if top else symbol.is_global())
        }
    return (needed - bound(text)) | _changed(text)


def _changed(text: str) -> set[str]:
    """The names to which a text adds without a value before, as in `N += 1`."""
    tree = parsed(text)
    before: set[str] = set()
    changed: set[str] = set()
    for line in tree.body if tree is not None else ():
        if isinstance(line, ast.AugAssign) and isinstance(line.target, ast.Name):
            changed |= {line.target.id} - before
        before |= {node.id for node in ast.walk(line) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return changed


def _is_bound(symbol: symtable.Symbol) -> bool:
    return symbol.is_assigned() or symbol.is_imported()


def _scopes(text: str) -> list[symtable.SymbolTable]:
    """The scope of a text and all scopes in it, such as those of its functions; none if it is not Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            scopes = [symtable.symtable(text, "answer.py", "exec")]
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return []
    for scope in scopes:  # it grows
        scopes += scope.get_children()
    return scopes
