"""Python loads one module of each name. A plugin file whose own module of that name would not run is refused."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import all_suffixes
from pathlib import Path
from types import ModuleType

from mdmkit.errors import MdmkitError
from mdmkit.installed.beside import names_beside
from mdmkit.installed.loaded import own


@contextmanager
def own_names(file: Path, others: Iterable[Path], known: Collection[str]) -> Iterator[None]:
    """Refuse a plugin file that loads a module of its folder, however it names it, if another module has its name.

    While the file runs, loaded modules of elsewhere with such a name are set aside: Python would take them for those of
    the folder.

    Args:
        others: the other plugin files. They may import their module of this name later.
        known: top packages whose version is on record; these are not looked at.

    Raises:
        MdmkitError: it names both modules.
    """
    mine = {name: paths for name, paths in _by_name(file).items() if name.partition(".")[0] not in known}
    _check_loaded(mine)
    _check_others(mine, others)
    aside = _in_the_way(file, known)
    tops = {name.partition(".")[0] for name in aside}
    for name in aside:
        del sys.modules[name]
    try:
        yield
        _check_loaded(mine)  # it may have loaded one from elsewhere
        taken = {name: _path(name) for name in sorted(tops & {*sys.modules})}
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] in tops]:
            del sys.modules[name]
        sys.modules.update(aside)
    for name, path in taken.items():
        theirs = aside[name].__dict__.get("__file__")
        if path is not None and os.path.realpath(path) != os.path.realpath(str(theirs)):
            raise _clash(name, [str(path)], f"{theirs}, which is loaded already")


def _check_loaded(mine: Mapping[str, Collection[str]]) -> None:
    for name, paths in mine.items():
        path = _path(name)
        if path is not None and os.path.realpath(path) not in paths:
            raise _clash(name, paths, f"{path}, which is loaded already")


def _check_others(mine: Mapping[str, set[str]], others: Iterable[Path]) -> None:
    for other in others:
        theirs = _by_name(other)
        for name in mine.keys() & theirs.keys():
            if mine[name].isdisjoint(theirs[name]):
                raise _clash(name, mine[name], f"{min(theirs[name])}, which the plugin file {other} imports")


def _in_the_way(file: Path, known: Collection[str]) -> dict[str, ModuleType]:
    """The loaded modules, with those below them, that would be taken for ones in the plugin file's folder."""
    try:  # the folder is listed once, since there are thousands of modules
        near = {name.partition(".")[0] for name in os.listdir(file.parent)}
    except OSError:  # its files can be opened, and not listed
        near = {*sys.modules}
    tops = {name for name in near & {*sys.modules} - {*known} if _is_in_the_way(name, file.parent)}
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in tops}


def _is_in_the_way(name: str, folder: Path) -> bool:
    place = folder / name
    if not (place.is_dir() or any(place.with_name(name + end).is_file() for end in all_suffixes())):
        return False
    path = _path(name)
    return path is not None and Path(os.path.realpath(folder)) not in Path(os.path.realpath(path)).parents


def _path(name: str) -> Path | None:
    """The file of a loaded module; None if there is none, or it belongs to an installed package."""
    return own(getattr(sys.modules.get(name), "__dict__", {}).get("__file__"))


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
