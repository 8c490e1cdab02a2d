"""Arrays that are kept on disk between processes, under a hash of everything that they were made from.

The folder only saves time. What cannot be read, or was not written by this code, is made anew; what cannot be written
is not kept.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray[Any, Any]]
# Names the folder. `off`, or nothing: no folder is used.
VARIABLE = "MDMKIT_CONSTRAIN_CACHE"
# The most that the folder holds. The files that were not used for the longest time are removed.
BYTES, FILES = 1 << 30, 4_096
# How long a process waits until another one has written its file.
SECONDS = 2.0
# The modules whose results are kept.
_CODE = (
    *("automaton", "patterns", "tables", "kept/automata", "kept/disk", "kept/tables"),
    *("grammars/expansion", "grammars/reading"),
)
_SUFFIX = ".safetensors"


def folder() -> Path | None:
    """Where the files are; None: none are kept."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return None if named in ("", "off") else Path(named).expanduser()
    caches = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(caches) if os.path.isabs(caches) else Path.home() / ".cache") / "mdmkit" / "constrain"
    except RuntimeError:  # there is no home
        return None


def key_of(parts: Iterable[bytes]) -> str | None:
    """Return the name of what is made from these parts by this code; None if nothing is kept."""
    if folder() is None or (code := _code()) is None:
        return None
    whole = hashlib.sha256(code)
    for part in parts:
        whole.update(b"%d:" % len(part) + part)
    return whole.hexdigest()


def read(key: str | None) -> Arrays | None:
    """Return what is kept under a key; None: nothing that is whole."""
    where = folder()
    if key is None or where is None:
        return None
    file = where / (key + _SUFFIX)
    try:
        content = file.read_bytes()
        with contextlib.suppress(OSError):
            os.utime(file)  # it was used now
        return _unpacked(content, key)
    except Exception:  # of files that are damaged the library raises many types
        return None


def write(key: str | None, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Keep some arrays under a key, if that is possible."""
    where = folder()
    if key is None or where is None:
        return
    from filelock import FileLock

    content = _packed(arrays, key)
    if len(content) > BYTES:
        return
    with contextlib.suppress(OSError, NotImplementedError):  # the second: a file system without locks
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(where / ".lock", timeout=SECONDS):
            _put(where, key + _SUFFIX, content)
            _make_room(where, key + _SUFFIX)


def within(x: np.ndarray[Any, Any], size: int) -> bool:
    """True if all numbers are from 0 to `size` − 1."""
    return not x.size or bool(x.min() >= 0 and x.max() < size)


def _put(where: Path, name: str, content: bytes) -> None:
    """Write a file: readers see all of it, or nothing."""
    handle, part = tempfile.mkstemp(suffix=".part", dir=where)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(part, where / name)
    except BaseException:
        os.unlink(part)
        raise


def _make_room(where: Path, newest: str) -> None:
    """Remove what a killed process has left, and the files of the longest ago while there are too many."""
    found = []
    for entry in os.scandir(where):
        with contextlib.suppress(FileNotFoundError):
            if entry.name.endswith(".part"):
                os.unlink(entry)
            elif entry.name.endswith(_SUFFIX) and entry.is_file(follow_symlinks=False):
                own = entry.stat()
                found.append((entry.name != newest, -own.st_mtime_ns, own.st_size, entry.path))
    size = 0
    for place, (_, _, own_size, path) in enumerate(sorted(found)):
        size += own_size
        if size > BYTES or place >= FILES:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _packed(arrays: Mapping[str, np.ndarray[Any, Any]], key: str) -> bytes:
    from safetensors.numpy import save

    own = {name: np.ascontiguousarray(x) for name, x in arrays.items()}
    return save(own, {"key": key, "sha256": _hash(own)})


def _unpacked(content: bytes, key: str) -> Arrays | None:
    from safetensors.numpy import load

    said = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    if said["key"] != key:
        return None
    arrays = {name: x.copy() for name, x in load(content).items()}  # a copy can be written to
    return arrays if said["sha256"] == _hash(arrays) else None


def _hash(arrays: Mapping[str, np.ndarray[Any, Any]]) -> str:
    """A hash of all names, types, shapes and numbers."""
    whole = hashlib.sha256()
    for part in _described(arrays):
        whole.update(b"%d:" % len(part) + part)
    return whole.hexdigest()


def _described(arrays: Mapping[str, np.ndarray[Any, Any]]) -> Iterator[bytes]:
    for name, x in sorted(arrays.items()):
        yield f"{name} {x.dtype.str} {x.shape}".encode()
        yield x.tobytes()


@functools.cache
def _code() -> bytes | None:
    """A hash of the code; None if it cannot be read."""
    whole = hashlib.sha256()
    for name in _CODE:
        try:
            whole.update(hashlib.sha256((Path(__file__).parents[1] / f"{name}.py").read_bytes()).digest())
        except OSError:
            return None
    return whole.digest()
