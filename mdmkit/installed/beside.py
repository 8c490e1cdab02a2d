"""The files that a plugin file imports from its own folder: what they hold is part of its version."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from importlib.machinery import all_suffixes
from pathlib import Path

# The form of a component's target.
_TARGET = re.compile(r"[A-Za-z_][\w.]*(?=:[A-Za-z_][\w.]*$)")


def beside(file: Path) -> list[Path]:
    """Find the files of the file's folder that its import statements name, and those that these import in turn.

    These are source files, and modules without source: compiled ones and extensions, whose own imports are not known.
    Statements inside functions count too, and modules that are the target of a component. Nothing is executed.
    """
    return sorted(names_beside(file))


def names_beside(file: Path) -> dict[Path, str]:
    """The files of `beside`, and the dotted names by which they are imported."""
    folder, waiting = file.parent, [file]
    found = {file: file.stem}
    while waiting:
        for path, name in _imported(waiting.pop(), folder):
            if path not in found:
                found[path] = name
                waiting.append(path)
    del found[file]
    return found


def imported(source: str | bytes, package: tuple[str, ...]) -> Iterator[str]:
    """The dotted names of modules that source code in this package may import."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # its import fails too, and says why
        return
    for node in ast.walk(tree):
        yield from _names(node, package)


def _imported(path: Path, folder: Path) -> Iterator[tuple[Path, str]]:
    for name in imported(path.read_bytes(), path.relative_to(folder).parent.parts):
        yield from _files(name, folder)


def _names(node: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    """The dotted names of modules that a node of a file in this package may import."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package[: len(package) - node.level + 1] if node.level else ()
        home = [*above, *([node.module] if node.module else [])]
        yield ".".join(home)
        yield from (".".join([*home, alias.name]) for alias in node.names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and (target := _TARGET.match(node.value)):
        yield target[0]


def _files(name: str, folder: Path) -> Iterator[tuple[Path, str]]:
    """The files of a module and of the packages that hold it, if they are in this folder; and the name of each."""
    names = name.split(".")
    if names[0] in ("", "mdmkit"):  # no module; one whose version is on record
        return
    place = folder
    for depth, each in enumerate(names, start=1):
        place /= each
        found = [(place.with_name(f"{place.name}{end}"), place / f"__init__{end}") for end in all_suffixes()]
        # `isfile` is False for what cannot be a file's name.
        here = ".".join(names[:depth])
        yield from ((path, here) for pair in found for path in pair if os.path.isfile(path))
        if not os.path.isdir(place):
            return
