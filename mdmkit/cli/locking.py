"""One writer at a time: a lock beside a file, from before the file is checked until the run has ended."""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Iterator
from pathlib import Path

from mdmkit.errors import MdmkitError


@contextlib.contextmanager
def held(option: str, path: Path, named: Path | None = None) -> Iterator[None]:
    """Hold the lock of a file or folder, and remove what a killed run has left half-written beside it.

    The lock is the file `.NAME.lock` beside it. The system releases it when the process ends, however it ends. A pipe
    or a device has no lock.

    Args:
        option: the option that named the file, for the error.
        named: the name for the error, if it is not that of the file.

    Raises:
        MdmkitError: another process holds it, or it cannot be made.
    """
    from filelock import FileLock, Timeout

    if path.exists() and not path.is_file() and not path.is_dir():
        yield
        return
    named, path = named or path, path.resolve()  # two links to one file have one lock
    file = path.with_name(f".{path.name}.lock")
    lock = FileLock(file, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise MdmkitError(
            f"{option} {named}: another run is writing it now. Wait until that run has ended, or name another."
        ) from None
    except OSError as error:
        raise MdmkitError(f"{option} {named}: {error.strerror or error} ({file.name}).") from error
    try:
        sweep(path)
        yield
    finally:
        # Before the lock is released, so that nobody removes the lock of the next run.
        file.unlink(missing_ok=True)
        lock.release()


def sweep(path: Path) -> None:
    """Remove the half-written files of runs that were killed: of a file, and of the record beside it."""
    for name in (path.name, f"{path.name}.run.json"):
        for part in path.parent.glob(f".{glob.escape(name)}.*.part"):
            part.unlink(missing_ok=True)
