"""Writing results: rows as they finish, whole documents in one piece, never over a file that was not offered."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from pathlib import Path
from typing import IO, Any

from mdmkit.errors import MdmkitError


def check_targets(targets: dict[str, Path | None], sources: dict[str, Path | None], overwrite: bool) -> None:
    """Refuse outputs that exist (without `--overwrite`), cannot be written, or are one file with an input or another.

    Raises:
        MdmkitError: before any work is done; names the option, the path and the way out.
    """
    taken = {path.resolve(): option for option, path in sources.items() if path is not None}
    for option, path in targets.items():
        if path is None:
            continue
        try:
            _check_target(option, path, overwrite)
        except OSError as error:  # a name too long, a loop of links
            raise MdmkitError(f"{option} {path}: {error.strerror or error}. Name another file.") from error
        where = path.resolve()
        if where in taken:
            raise MdmkitError(
                f"{taken[where]} and {option} both name {path}: one would replace the other. Name two files."
            )
        taken[where] = option


def _check_target(option: str, path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise MdmkitError(f"{option} {path}: that is a directory. Name a file in it.")
    if path.exists() and not overwrite:
        raise MdmkitError(f"{option} {path}: the file exists. Name another, or add --overwrite to replace it.")
    folder = path.resolve().parent
    if not folder.is_dir():
        raise MdmkitError(f"{option} {path}: the directory {folder} does not exist. Create it first.")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise MdmkitError(f"{option} {path}: it cannot be written (permission denied). Name another place.")


class RowFile:
    """A JSON-lines file that grows by whole rows; each batch is on disk before the next one starts."""

    def __init__(self, path: Path):
        self.path, self.rows = path, 0
        self._file: IO[bytes] | None = None

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Append rows and have them on disk.

        Raises:
            MdmkitError: the disk is full, or the file cannot be written.
        """
        try:
            if self._file is None:  # opened (and an old file replaced) only once there is something to write
                self._file = self.path.open("wb")
            start = self._file.tell() if self._file.seekable() else None
            try:
                self._file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
                self._file.flush()
                _to_disk(self._file)
            except OSError:
                if start is not None:  # no half row stays behind
                    with contextlib.suppress(OSError):
                        os.truncate(self.path, start)
                raise
        except OSError as error:
            raise MdmkitError(
                f"--output {self.path}: {error.strerror or error}; {self.rows} rows were written before."
            ) from error
        self.rows += len(rows)

    def close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # a failed write has been reported already
                self._file.close()


def write_json(option: str, path: Path, document: Any) -> None:
    """Write a document atomically: readers see the old file or the new one, whole.

    Raises:
        MdmkitError: it cannot be written; nothing is left behind.
    """
    text = json.dumps(document, ensure_ascii=False)
    path = path.resolve()  # what a link points to, never the link itself
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.exists() and not path.is_file():  # a pipe or a device: there is nothing to replace
            path.write_text(text, encoding="utf-8")
            return
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise MdmkitError(f"{option} {path}: {error.strerror or error}.") from error


def _to_disk(file: IO[bytes]) -> None:
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno != errno.EINVAL:  # pipes and devices have no disk to reach
            raise
