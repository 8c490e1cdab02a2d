"""Write results: rows as they finish, and whole documents. A file is never replaced unless `--overwrite` is given."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from mdmkit.cli.recorded import is_record
from mdmkit.errors import MdmkitError
from mdmkit.terminal import to_json

# A name is too long; it holds a NUL; links form a loop (a RuntimeError before Python 3.13).
_IMPOSSIBLE = (OSError, ValueError, RuntimeError)


def check_targets(
    targets: Mapping[str, Path | None],
    sources: Mapping[str, Path | None],
    overwrite: bool,
    resume: str | None = None,
    resumable: bool = True,
) -> None:
    """Refuse outputs that exist (without `--overwrite`), cannot be written, or are the same file as another one.

    A file in the place of a run's record is refused too if it is no record: it may be the user's own.

    `resume` names the option whose file may exist, because the run continues it. `resumable` is True if the command has
    a --resume for its --output.

    Raises:
        MdmkitError: before any work is done. The error names the option, the path and the fix.
    """
    taken = {}
    for option, path in sources.items():
        with contextlib.suppress(*_IMPOSSIBLE):  # whoever reads it says so
            if path is not None:
                taken[path.resolve()] = option
    for option, path in targets.items():
        if path is None:
            continue
        try:
            goes_on = resumable and option == "--output"
            _check_target(option, path, overwrite or option == resume, goes_on)
            written = {path: option}
            if goes_on and can_resume(path):
                written[record_of(path)] = "--output, for the record of its run,"
                check_record(path, resumes=option == resume)
        except _IMPOSSIBLE as error:
            said = getattr(error, "strerror", None) or error
            raise MdmkitError(f"{option} {path}: {said}. Name another file.") from error
        for file, name in written.items():
            where = file.resolve()
            if where in taken:
                raise MdmkitError(
                    f"{taken[where]} and {name} both name {file}: one would replace the other. Name two files."
                )
            taken[where] = name


def check_suffix(option: str, path: Path | None, suffixes: Sequence[str], form: str) -> None:
    """Refuse a name whose suffix says another format. A name without a suffix, a pipe or a device says none.

    Raises:
        MdmkitError: `form` says how to name it.
    """
    if path is None or path.suffix == "" or path.suffix.lower() in suffixes or is_special(path):
        return
    raise MdmkitError(f"{option} {path}: {path.suffix} says another format, and {form}")


def record_of(output: Path) -> Path:
    """The file beside an output that records which run its rows belong to. For a link, it is beside its target."""
    if output.is_symlink():
        output = Path(os.path.realpath(output))
    return output.with_name(output.name + ".run.json")


def has_begun(output: Path) -> bool:
    """True if a run has left rows or a record. A kill before the record is written leaves an empty output."""
    return record_of(output).exists() or (output.exists() and output.stat().st_size > 0)


def can_resume(output: Path) -> bool:
    """True if a run that writes there can be continued. A pipe or a device keeps nothing."""
    if is_stdout(output):
        return False
    try:
        return not is_special(output)
    except _IMPOSSIBLE:  # such a name is impossible; `check_targets` refuses it
        return True


def is_stdout(path: Path | None) -> bool:
    """True if the file is the target of standard output: a pipe, or a file that the shell redirected it to."""
    try:
        return path is not None and os.path.samestat(path.stat(), os.fstat(1))
    except OSError:  # it does not exist; there is no standard output
        return False


def check_record(output: Path, resumes: bool = False) -> None:
    """Refuse an output whose record would replace a file that is none.

    Args:
        resumes: the record is read, not replaced, so whoever reads it says what is wrong.

    Raises:
        MdmkitError: it names the file.
        OSError: the name of the record is impossible.
    """
    record = record_of(output)
    if is_special(record):
        raise MdmkitError(
            f"--output {output}: the run is recorded in {record}, and that is not a file. Name another --output, or "
            "move it away."
        )
    if not (resumes or is_record(record)):
        raise MdmkitError(
            f"--output {output}: the run is recorded in {record}, and that file is not a record of a run, so it is not "
            "replaced. Move it away, or name another --output."
        )
    _part(record.resolve()).exists()  # raises where the name is too long


def _part(path: Path) -> Path:
    """The name of a document until it is complete."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _check_target(option: str, path: Path, overwrite: bool, resumable: bool) -> None:
    if path.is_dir():
        raise MdmkitError(f"{option} {path}: that is a directory. Name a file in it.")
    # What standard output is, the shell has decided; a pipe or a device has nothing that could be replaced.
    if path.exists() and not (overwrite or is_stream(path)):
        go_on = ", or --resume to continue an unfinished run" if resumable else ""
        raise MdmkitError(f"{option} {path}: the file exists. Name another, or add --overwrite to replace it{go_on}.")
    folder = path.resolve().parent
    if not folder.is_dir():
        raise MdmkitError(f"{option} {path}: the directory {folder} does not exist. Create it first.")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise MdmkitError(f"{option} {path}: it cannot be written (permission denied). Name another place.")
    _part(path.resolve()).exists()  # raises where the name is too long


class RowFile:
    """A JSON-lines file that grows by whole rows. Written rows are on disk before anything else happens.

    Args:
        path: the file. It is opened, and an old one replaced, only when there is something to write.
        keep: rows and bytes at the start of an existing file that are kept. Everything after them is cut off at once.
        opening: called before a new file is opened, when an old one may still be there.
        opened: called when a new file has been opened and is still empty.
    """

    def __init__(
        self,
        path: Path,
        keep: tuple[int, int] | None = None,
        opening: Callable[[], None] = lambda: None,
        opened: Callable[[], None] = lambda: None,
    ):
        self.path, self.rows, self.opening, self.opened = path, 0, opening, opened
        self._file: IO[bytes] | None = None
        if keep is not None:
            self.rows, size = keep
            try:
                self._file = path.open("r+b")
                self._file.truncate(size)
                self._file.seek(size)
            except OSError as error:
                raise MdmkitError(f"--output {path}: {error.strerror or error}.") from error

    @property
    def begun(self) -> bool:
        """True if the file is open. Until then an old file may be in its place."""
        return self._file is not None

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Append rows, and wait until they are on disk.

        Raises:
            MdmkitError: the disk is full, or the file cannot be written.
        """
        if not rows:
            return
        try:
            file = self._open()
            start = file.tell() if file.seekable() else None
            try:
                file.write("".join(to_json(row) + "\n" for row in rows).encode())
                file.flush()
                to_disk(file)
            except OSError:
                if start is not None:  # no half row is left
                    with contextlib.suppress(OSError):
                        os.truncate(self.path, start)
                raise
        except OSError as error:
            raise MdmkitError(
                f"--output {self.path}: {error.strerror or error}; {self.rows} rows were written before."
            ) from error
        self.rows += len(rows)

    def begin(self) -> None:
        """Open the file, although there is nothing to write.

        Raises:
            MdmkitError: it cannot be written.
        """
        try:
            self._open()
        except OSError as error:
            raise MdmkitError(f"--output {self.path}: {error.strerror or error}.") from error

    def _open(self) -> IO[bytes]:
        if self._file is None:
            self.opening()
            self._file = _opened(self.path)
            self.opened()
        return self._file

    def close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # a failed write has been reported already
                self._file.close()


class DocumentFile:
    """A JSON document with a long list `rows` at its end, written row by row. It gets its name when it is complete.

    Args:
        option: the option that named it, for messages.
        head: the keys before `rows`.
    """

    def __init__(self, option: str, path: Path, head: dict[str, Any]):
        self._streams = is_stream(path)  # there is nothing to replace, and no other name to write to first
        self.path = path if self._streams else path.resolve()
        self.option, self.head, self.rows = option, head, 0
        self._part = self.path if self._streams else _part(self.path)
        self._file: IO[bytes] | None = None
        self._finished = False

    def write(self, row: dict[str, Any]) -> None:
        """Append one row.

        Raises:
            MdmkitError: it cannot be written; nothing is left behind.
        """
        with self._guarded():
            self._append((", " if self.rows else "") + to_json(row))
        self.rows += 1

    def finish(self) -> None:
        """End the document, and give it its name.

        Raises:
            MdmkitError: it cannot be written; nothing is left behind.
        """
        with self._guarded():
            self._append("]}")
            assert self._file is not None
            self._file.close()
            if not self._streams:
                os.replace(self._part, self.path)
        self._finished = True

    def close(self) -> None:
        """Remove the document, unless it is finished."""
        if self._file is not None and not self._finished:
            with contextlib.suppress(OSError):
                self._file.close()
            if not self._streams:
                self._part.unlink(missing_ok=True)

    def _append(self, text: str) -> None:
        if self._file is None:
            self._file = _opened(self._part)
            self._file.write(to_json(self.head | {"rows": []}).removesuffix("]}").encode())
        self._file.write(text.encode())

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (OSError, UnicodeError) as error:
            self.close()
            said = error.strerror if isinstance(error, OSError) else None
            raise MdmkitError(f"{self.option} {self.path}: {said or error}.") from error


def write_json(option: str, path: Path, document: Any) -> None:
    """Write a document atomically: readers see the complete old file or the complete new one.

    Raises:
        MdmkitError: it cannot be written; nothing is left behind.
    """
    write_text(option, path, to_json(document))


def write_text(option: str, path: Path, text: str) -> None:
    """Write a text atomically, like `write_json`."""
    if not is_stream(path):
        write_whole(option, path, lambda part: part.write_text(text, encoding="utf-8"))
        return
    try:
        with _opened(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise MdmkitError(f"{option} {path}: {error.strerror or error}.") from error


def is_special(path: Path) -> bool:
    """True for a device, a pipe or a directory: what must not be replaced by a file."""
    return path.exists() and not path.is_file()


def is_stream(path: Path) -> bool:
    """True for what is written to as it is: standard output, a device or a pipe."""
    return is_stdout(path) or is_special(path)


def _opened(path: Path) -> IO[bytes]:
    """Open a file to write it; standard output, to which the shell may append, is not opened anew."""
    if not is_stdout(path):
        return path.open("wb")
    sys.stdout.flush()
    file = os.fdopen(os.dup(1), "wb")
    if file.seekable():
        file.seek(0, os.SEEK_END)
    return file


def write_whole(option: str, path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` write a file beside the path, then rename it: readers see the complete old or new file.

    Raises:
        MdmkitError: it cannot be written, or the path is a device, a pipe or a directory; nothing is left behind.
    """
    path = path.resolve()  # replace the target of a link, not the link itself
    if is_special(path):
        raise MdmkitError(f"{option} {path} is not a regular file, and would be replaced by one: name another path.")
    part = _part(path)
    try:
        write(part)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise MdmkitError(f"{option} {path}: {error.strerror or error}.") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def to_disk(file: IO[bytes]) -> None:
    """Wait until a file is on disk."""
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno != errno.EINVAL:  # pipes and devices have no disk to reach
            raise
