"""A plugin in a single Python file. It is run under a name of its own, so it need not be installed."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from dataclasses import replace
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING

from mdmkit.errors import MdmkitError
from mdmkit.installed.anew import PREFIX, from_source
from mdmkit.installed.beside import beside
from mdmkit.installed.loaded import own
from mdmkit.installed.target import source_file

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from types import ModuleType

    from mdmkit.installed.part import Part


# A version names at most this many other files.
NAMED = 3


def fingerprint(file: Path, loaded: Iterable[Path] = ()) -> str:
    """The version of a plugin file: the start of the hash of it, and of each other file that belongs to it.

    These are the files of its folder that its import statements name, also those in functions that have not run yet.

    Args:
        loaded: further ones: the files of modules that it has loaded. They are named as seen from its folder.
    """
    found = {path.resolve(): path for path in (*loaded, *beside(file))}
    found.pop(file.resolve(), None)
    named = {Path(os.path.relpath(path, file.parent)).as_posix(): path for path in found.values()}
    others = [(name, path.read_bytes()) for name, path in sorted(named.items())]
    own = _start(file.read_bytes())
    if len(others) > NAMED:
        return f"{own} with {len(others)} other files {_start(repr(others).encode())}"
    said = ", ".join(f"{name} {_start(content)}" for name, content in others)
    return f"{own} with {said}" if said else own


def run_file(file: Path) -> ModuleType:
    """Execute a plugin file as a module that dataclasses and pickles can find by name."""
    name = f"{PREFIX}{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]}_{file.stem}"
    loader = _FromSource(name, str(file))
    spec = importlib.util.spec_from_file_location(name, file, loader=loader)
    assert spec is not None  # a loader is given
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module


class _FromSource(SourceFileLoader):
    """Compiles the file each time, also in a folder of installed packages."""

    get_code = from_source


def own_target(part: Part, module: ModuleType, file: Path) -> Part:
    """Resolve a target that names the file itself, such as `"my:Margin"` in my.py, which cannot be imported."""
    if isinstance(part.target, str) and part.target.partition(":")[0] == file.stem:
        attr = part.target.partition(":")[2]
        if not hasattr(module, attr):
            raise MdmkitError(
                f"the target of {part.kind} {part.name!r} is {part.target!r}, and the file has no {attr!r}."
            )
        return replace(part, target=getattr(module, attr))
    return part


def target_files(parts: Iterable[Part], file: Path, known: Collection[str]) -> list[Path]:
    """The files of the modules that targets name, which are loaded when a part is first used."""
    modules = {part.target.partition(":")[0] for part in parts if isinstance(part.target, str)} - {file.stem}
    files = [source_file(name) for name in sorted(modules) if name.partition(".")[0] not in known]
    return [path for file in files if file is not None and (path := own(str(file))) is not None]


def _start(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]
