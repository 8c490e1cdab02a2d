"""The modules that a plugin file has loaded, however it named them: what their files hold is part of its version."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

# The modules that plugin files have loaded in this process, by name. Python loads each of them only once.
_LOADED: dict[str, Path] = {}


def loaded_by(module: ModuleType, before: Collection[str], known: Collection[str]) -> list[Path]:
    """Find the files of the modules that a plugin file has loaded.

    A module that an earlier plugin file has loaded counts if this one, or a module that counts, refers to it.

    Args:
        module: the plugin file, which has been run.
        before: the names in `sys.modules` before it was run.
        known: top packages whose version is on record.
    """
    new = {name: file for name in [*sys.modules] if name not in before and (file := _file_of(name, known)) is not None}
    _LOADED.update(new)
    found, waiting = {**new}, [module.__name__, *new]
    while waiting:
        for name in _named_in(sys.modules.get(waiting.pop())):
            if name in _LOADED and name not in found:
                found[name] = _LOADED[name]
                waiting.append(name)
    return list(found.values())


def _file_of(name: str, known: Collection[str]) -> Path | None:
    """The file of a loaded module; None if it has none, or belongs to Python, an installed package or a known one."""
    file = getattr(sys.modules[name], "__dict__", {}).get("__file__")
    if name.partition(".")[0] in known or not isinstance(file, str):
        return None
    path = os.path.abspath(file)
    if path.startswith(_installed()) or os.path.realpath(path).startswith(_installed()) or not os.path.isfile(path):
        return None
    return Path(path)


def _named_in(module: Any) -> Iterator[str]:
    """The names of modules that a module holds, or whose objects it holds."""
    for value in [*getattr(module, "__dict__", {}).values()]:
        try:
            name = value.__name__ if isinstance(value, ModuleType) else value.__module__
        except Exception:  # an object without this attribute, or one that loads something to answer
            continue
        if isinstance(name, str):
            yield name


@cache
def _installed() -> tuple[str, ...]:
    """The folders of Python's own modules and of installed packages."""
    import site
    import sysconfig

    folders = {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {*site.getsitepackages(), site.getusersitepackages()}
    return tuple(sorted(os.path.join(each, "") for folder in folders for each in (folder, os.path.realpath(folder))))
