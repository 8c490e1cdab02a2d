"""The modules that a plugin file has loaded, however it named them: what their files hold is part of its version."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from mdmkit.errors import MdmkitError
from mdmkit.installed.beside import imported

# The modules that plugin files have loaded in this process, by name, and the hash of what each file then held. Python
# loads each of them only once.
_LOADED: dict[str, tuple[Path, str]] = {}


def loaded_by(module: ModuleType, before: Collection[str], known: Collection[str]) -> list[Path]:
    """Find the files of the modules that a plugin file has loaded.

    A module that was there before counts if this one, or a module that counts, refers to it or has a statement that
    imports it.

    Args:
        module: the plugin file, which has been run.
        before: the names in `sys.modules` before it was run.
        known: top packages whose version is on record.

    Raises:
        MdmkitError: one that has no source was changed since it was loaded, so the old one would run.
    """
    new = {name: file for name in [*sys.modules] if name not in before and (file := _file_of(name, known)) is not None}
    found, waiting = {**new}, [module.__name__, *new]
    while waiting:
        each = sys.modules.get(waiting.pop())
        for name in (*_named_in(each), *_imported_by(each)):
            if name not in found and name in sys.modules and (file := _file_of(name, known)) is not None:
                found[name] = file
                waiting.append(name)
    for name, file in found.items():
        held = _hash(file)
        if name in new or name not in _LOADED:
            _LOADED[name] = file, held
        elif file.suffix != ".py" and _LOADED[name] != (file, held):
            raise MdmkitError(
                f"{file} was changed since {name} was loaded from it, and it is no source file that could be loaded "
                "again. Start a new process."
            )
    return list(dict.fromkeys([*found.values(), *_run_apart(module)]))


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _file_of(name: str, known: Collection[str]) -> Path | None:
    """The file of a loaded module; None if it has none, or belongs to Python, an installed package or a known one."""
    file = getattr(sys.modules[name], "__dict__", {}).get("__file__")
    return None if name.partition(".")[0] in known else own(file)


def own(file: Any) -> Path | None:
    """The path of a file, or of the archive that it is in; None if it is none, or belongs to an installed package."""
    if not isinstance(file, str) or "\0" in file:
        return None
    path = os.path.abspath(file)
    if path.startswith(installed()) or os.path.realpath(path).startswith(installed()):
        return None
    whole = next((each for each in (Path(path), *Path(path).parents) if os.path.exists(each)), None)
    return whole if whole is not None and whole.is_file() else None


def _run_apart(module: ModuleType) -> Iterator[Path]:
    """The files of code that a plugin file holds, and that is in no module of `sys.modules`: run by hand, or taken out.

    Modules, functions and the methods of classes are looked at: of the file, and of the modules of this kind.
    """
    seen, waiting = {id(module)}, [module]
    here = os.path.abspath(str(module.__dict__.get("__file__")))
    while waiting:
        for value in [*waiting.pop().__dict__.values()]:
            for file in _files_of(value):
                if (path := own(file)) is not None and str(path) != here:
                    yield path
            if isinstance(value, ModuleType) and id(value) not in seen and not _is_loaded(value):
                seen.add(id(value))
                waiting.append(value)


def _files_of(value: Any) -> Iterator[Any]:
    """The files of the code of a module, function or class, if Python does not know its module."""
    if isinstance(value, ModuleType):
        if not _is_loaded(value):
            yield value.__dict__.get("__file__")
    elif isinstance(value, FunctionType | type) and value.__module__ not in sys.modules:
        for each in [value] if isinstance(value, FunctionType) else [*vars(value).values()]:
            code = getattr(getattr(each, "__func__", each), "__code__", None)
            yield getattr(code, "co_filename", None)


def _is_loaded(module: ModuleType) -> bool:
    return sys.modules.get(str(module.__dict__.get("__name__"))) is module


def _named_in(module: Any) -> Iterator[str]:
    """The names of modules that a module holds, or whose objects it holds."""
    for value in [*getattr(module, "__dict__", {}).values()]:
        try:
            name = value.__name__ if isinstance(value, ModuleType) else value.__module__
        except Exception:  # an object without this attribute, or one that loads something to answer
            continue
        if isinstance(name, str):
            yield name


def _imported_by(module: Any) -> Iterator[str]:
    """The names that the import statements of a module's source give, also those of a module in an archive."""
    spec: Any = getattr(module, "__dict__", {}).get("__spec__")
    try:
        source, package = spec.loader.get_source(spec.name), tuple(filter(None, spec.parent.split(".")))
    except Exception:  # no such loader, or the file is gone
        return
    if isinstance(source, str):
        yield from imported(source, package)


@cache
def installed() -> tuple[str, ...]:
    """The folders of Python's own modules and of installed packages."""
    import site
    import sysconfig

    folders = {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {*site.getsitepackages(), site.getusersitepackages()}
    return tuple(sorted(os.path.join(each, "") for folder in folders for each in (folder, os.path.realpath(folder))))
