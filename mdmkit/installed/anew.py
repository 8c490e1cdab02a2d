"""The modules of plugin files are run as their source is now: the version of a plugin file says what it holds now.

Python would run what it compiled before if a file has the same second and size, and a module that it has loaded if the
file was edited since.
"""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
import zipimport
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, SourceFileLoader, SourcelessFileLoader
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

from mdmkit.errors import MdmkitError, MdmkitWarning
from mdmkit.installed.beside import beside
from mdmkit.installed.loaded import installed, own

# The source files of modules of plugin files, by the path that loaded them, which may be a link: the hash of what each
# held when it was compiled.
_HELD: dict[str, str] = {}
# The files that the versions of plugin files name although nothing has loaded them yet, by real path: their hash.
_NAMED: dict[str, str] = {}
# The plugin files that are being added: the top packages whose version is on record. More than one if one adds another.
_adding: list[Collection[str]] = []
# The top packages of all plugins so far, whose version is on record.
_known: set[str] = set()
# What plugin files are named as modules.
PREFIX = "mdmkit_file_"
_PYTHONS: dict[type, Callable[[Any, str], CodeType | None]] = {
    loader: loader.get_code for loader in (SourceFileLoader, SourcelessFileLoader, zipimport.zipimporter)
}


@contextmanager
def anew(file: Path, known: Collection[str]) -> Iterator[None]:
    """Compile every module that a plugin file loads, and load those anew that were edited since they were loaded.

    Modules of Python, of installed packages, and of the top packages `known` are loaded as usual. The files beside the
    plugin file that it names count too if they are loaded later, and are loaded anew if the program has them already.
    """
    _forget_edited()
    near = [*map(os.path.realpath, beside(file))]
    ours = installed()  # asked for each module from here on; its first answer loads modules itself
    if near:  # links are followed only where they can lead to these files, since there are thousands of modules
        others = ((name, path) for name, path in _sources() if path not in _HELD and not path.startswith(ours))
        _forget([name for name, path in others if os.path.realpath(path) in near], known)
    will_load(map(Path, near))
    SourceFileLoader.get_code = _get_code  # type: ignore[method-assign, assignment]  # also for loaders that plugin files make
    SourcelessFileLoader.get_code = _get_other_code  # type: ignore[method-assign, assignment]
    zipimport.zipimporter.get_code = _get_other_code  # type: ignore[method-assign, assignment]
    _known.update(known)
    _adding.append(known)
    try:
        yield
    finally:
        _adding.pop()


def will_load(files: Iterable[Path]) -> None:
    """Note what files hold that a version names, and that may be loaded later."""
    _NAMED.update({real: _hash(real) for real in map(os.path.realpath, files)})


def from_source(loader: SourceFileLoader, fullname: str) -> CodeType:
    """Compile a module's file. What Python has compiled before is not used."""
    path = loader.get_filename(fullname)
    return loader.source_to_code(loader.get_data(path), path)


def _get_code(loader: SourceFileLoader, fullname: str) -> CodeType | None:
    path = loader.get_filename(fullname)
    full = os.path.abspath(path)
    if full not in _HELD and os.path.realpath(path) not in _NAMED and not _counts(path, fullname):
        _check_asked(path, fullname)
        return _PYTHONS[SourceFileLoader](loader, fullname)
    data = loader.get_data(path)
    now = hashlib.sha256(data).hexdigest()
    if full not in _HELD:  # otherwise somebody reloads it
        _check_unchanged(path, now)
    _HELD[full] = now
    return loader.source_to_code(data, path)


def _get_other_code(loader: SourcelessFileLoader | zipimport.zipimporter, fullname: str) -> CodeType | None:
    """The code of a module that has no source, or is in an archive: as it is, if no version says otherwise."""
    path = loader.get_filename(fullname)
    if os.path.realpath(path) in _NAMED:
        _check_unchanged(path, _hash(path))
    elif not _counts(path, fullname):
        _check_asked(path, fullname)
    return next(get for kind, get in _PYTHONS.items() if isinstance(loader, kind))(loader, fullname)


def _counts(path: str, fullname: str) -> bool:
    """True if a module that is loaded now will be part of the version of a plugin file that is being added."""
    top = fullname.partition(".")[0]
    return any(top not in known for known in _adding) and own(path) is not None


def _check_unchanged(path: str, now: str) -> None:
    """Refuse to load a file late that holds something else than what a version names."""
    if not _adding and _NAMED.get(os.path.realpath(path), now) != now:
        raise MdmkitError(
            f"{path} was edited after the plugin file that imports it had been read, so the version on record is not "
            "what would run. Run the command again, or add the plugin file again."
        )


def _check_asked(path: str, fullname: str) -> None:
    """Say so if a plugin file, or a module of one, loads a module that no version names."""
    if _adding or own(path) is None or fullname.partition(".")[0] in _known:
        return
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and "importlib" in frame.f_code.co_filename:
        frame = frame.f_back
    if frame is None:
        return
    asks, file = str(frame.f_globals.get("__name__")), frame.f_code.co_filename
    if asks.startswith(PREFIX) or os.path.abspath(file) in _HELD:
        text = (
            f"{file} has loaded {path} after the plugin file was read. What it holds is not on the run's record, and "
            "--resume does not notice if it changes. Import it at the top of the plugin file."
        )
        warnings.warn(text, MdmkitWarning, stacklevel=2)


def _forget_edited() -> None:
    """Let Python forget the modules of plugin files if one was edited: all, because each may hold values of others."""
    if all(_hash(path) == held for path, held in _HELD.items()):
        return
    _forget([name for name, path in _sources() if path in _HELD])
    _HELD.clear()


def _forget(names: Iterable[str], known: Collection[str] = ()) -> None:
    for name in names:
        if name.partition(".")[0] in known:
            continue
        del sys.modules[name]
        package, _, last = name.rpartition(".")
        if package in sys.modules:  # `from package import last` would find it there
            vars(sys.modules[package]).pop(last, None)


def _sources() -> Iterator[tuple[str, str]]:
    """The modules that were imported by their names from source files, and the paths of these.

    Commands and plugin files were not.
    """
    for name, module in [*sys.modules.items()]:
        if (path := _source(module, name)) is not None:
            yield name, path


def _source(module: ModuleType, name: str) -> str | None:
    spec = getattr(module, "__dict__", {}).get("__spec__")
    loader = spec.loader if isinstance(spec, ModuleSpec) and spec.name == name else None
    return os.path.abspath(loader.path) if type(loader) is SourceFileLoader else None


def _hash(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:  # it was removed
        return ""
