"""Read a whole file that the user names. A device or a pipe may have no end, so it is read up to a limit."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO

# Bytes that are read of what is not a regular file, at most: 256 MiB.
MOST = 1 << 28


def read_whole(file: Path) -> bytes:
    """Read a file.

    Raises:
        OSError: it cannot be read; or it is a device or a pipe, and gives more than `MOST` bytes.
    """
    with file.open("rb") as opened:
        return read_to_end(opened)


def read_to_end(stream: IO[bytes]) -> bytes:
    """Read an open file from here on, such as standard input; see `read_whole`."""
    if _is_regular(stream):
        return stream.read()
    content = stream.read(MOST + 1)
    if len(content) > MOST:
        raise OSError(errno.EFBIG, f"it is no file but a device or a pipe, and gives more than {MOST >> 20} MiB")
    return content


def _is_regular(stream: IO[bytes]) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError, AttributeError):  # in memory: it has an end
        return True
