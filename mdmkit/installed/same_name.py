"""Python loads one module of each name. A plugin file whose own module of that name would not run is refused."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

from mdmkit.errors import MdmkitError
from mdmkit.installed.beside import names_beside
from mdmkit.installed.loaded import own


def check_names(file: Path, others: Iterable[Path], known: Collection[str]) -> None:
    """Refuse a plugin file that imports a module of its folder, if another module has its name.

    Args:
        others: the other plugin files. They may import their module of this name later.
        known: top packages whose version is on record; these are not looked at.

    Raises:
        MdmkitError: it names both modules.
    """
    mine = {name: paths for name, paths in _by_name(file).items() if name.partition(".")[0] not in known}
    for name, paths in mine.items():
        path = own(getattr(sys.modules.get(name), "__dict__", {}).get("__file__"))
        if path is not None and os.path.realpath(path) not in paths:
            raise _clash(name, paths, f"{path}, which is loaded already")
    for other in others:
        theirs = _by_name(other)
        for name in mine.keys() & theirs.keys():
            if mine[name].isdisjoint(theirs[name]):
                raise _clash(name, mine[name], f"{min(theirs[name])}, which the plugin file {other} imports")


def _by_name(file: Path) -> dict[str, set[str]]:
    """The modules of a file's folder that it imports: the real paths of the files that have each name."""
    found: dict[str, set[str]] = {}
    for path, name in names_beside(file).items():
        found.setdefault(name, set()).add(os.path.realpath(path))
    return found


def _clash(name: str, mine: Collection[str], theirs: str) -> MdmkitError:
    return MdmkitError(
        f"it imports {name} from its folder: {min(mine)}. Python loads one module of a name, and another one has this "
        f"name: {theirs}. Rename one of the two modules, or move it into a package that has a name of its own."
    )
