"""The modules of plugin files are run as their source is now: the version of a plugin file says what it holds now.

Python would run what it compiled before if a file has the same second and size, and a module that it has loaded if the
file was edited since.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from mdmkit.installed.beside import beside
from mdmkit.installed.loaded import installed, own

# The source files of modules of plugin files, by real path: the hash of what each held when it was compiled.
_HELD: dict[str, str] = {}
# The plugin files that are being added: the top packages whose version is on record. More than one if one adds another.
_adding: list[Collection[str]] = []
_python = SourceFileLoader.get_code


@contextmanager
def anew(file: Path, known: Collection[str]) -> Iterator[None]:
    """Compile every module that a plugin file loads, and load those anew that were edited since they were loaded.

    Modules of Python, of installed packages, and of the top packages `known` are loaded as usual. The source files
    beside the plugin file that it names are also compiled if they are loaded later.
    """
    _forget_edited()
    for path in map(os.path.realpath, beside(file)):
        _HELD.setdefault(path, _hash(path))
    installed()  # asked for each module from here on; its first answer loads modules itself
    SourceFileLoader.get_code = _get_code  # type: ignore[method-assign, assignment]  # also for loaders that plugin files make
    _adding.append(known)
    try:
        yield
    finally:
        _adding.pop()


def from_source(loader: SourceFileLoader, fullname: str) -> CodeType:
    """Compile a module's file. What Python has compiled before is not used."""
    path = loader.get_filename(fullname)
    return loader.source_to_code(loader.get_data(path), path)


def _get_code(loader: SourceFileLoader, fullname: str) -> CodeType | None:
    path = loader.get_filename(fullname)
    real, top = os.path.realpath(path), fullname.partition(".")[0]
    if real not in _HELD and (all(top in known for known in _adding) or own(path) is None):
        return _python(loader, fullname)
    _HELD[real] = _hash(real)
    return from_source(loader, fullname)


def _forget_edited() -> None:
    """Let Python forget the modules of plugin files if one was edited: all, because each may hold values of others."""
    if all(_hash(path) == held for path, held in _HELD.items()):
        return
    for name, module in [*sys.modules.items()]:
        if _is_imported(module, name):
            del sys.modules[name]
            package, _, last = name.rpartition(".")
            if package in sys.modules:  # `from package import last` would find it there
                vars(sys.modules[package]).pop(last, None)
    _HELD.update({path: _hash(path) for path in _HELD})


def _is_imported(module: ModuleType, name: str) -> bool:
    """Whether a module was imported by this name from one of these files. Commands and plugin files were not."""
    spec = getattr(module, "__dict__", {}).get("__spec__")
    loader = spec.loader if isinstance(spec, ModuleSpec) and spec.name == name else None
    return type(loader) is SourceFileLoader and os.path.realpath(loader.path) in _HELD


def _hash(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:  # it was removed
        return ""
