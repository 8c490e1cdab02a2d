"""Writing results: rows as they finish, whole documents in one piece, never over a file that was not offered."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import IO, Any

from mdmkit.errors import MdmkitError


def check_target(option: str, path: Path, overwrite: bool) -> None:
    """Refuse a path that exists (without `--overwrite`) or cannot be written, before any work is done."""
    if path.is_dir():
        raise MdmkitError(f"{option} {path}: that is a directory. Name a file in it.")
    if path.exists() and not overwrite:
        raise MdmkitError(f"{option} {path}: the file exists. Name another, or add --overwrite to replace it.")
    if not path.parent.is_dir():
        raise MdmkitError(f"{option} {path}: the directory {path.parent} does not exist. Create it first.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise MdmkitError(f"{option} {path}: it cannot be written (permission denied). Name another place.")


class RowFile:
    """A JSON-lines file that grows by whole rows; each batch is on disk before the next one starts."""

    def __init__(self, path: Path):
        self.path, self.rows = path, 0
        self._file: IO[str] | None = None

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Append rows and have them on disk.

        Raises:
            MdmkitError: the disk is full, or the file cannot be written.
        """
        try:
            if self._file is None:  # opened (and an old file replaced) only once there is something to write
                self._file = self.path.open("w", encoding="utf-8")
            self._file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
            self._file.flush()
            os.fsync(self._file.fileno())
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
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise MdmkitError(f"{option} {path}: {error.strerror or error}.") from error
