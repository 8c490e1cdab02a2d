"""Read weights into the system's file cache while the load does other things, such as the import of transformers."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import TYPE_CHECKING

from mdmkit import MdmkitError
from mdmkit_text.headers import files_of_weights

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PIECE = 16 << 20  # bytes; between two pieces the thread can stop


@contextmanager
def reading_ahead(folder: Path) -> Iterator[None]:
    """Read the weights of a directory in a thread of its own, until all are read or the block ends. Linux only.

    Nothing that goes wrong here is an error: whoever loads the weights reads the same files, and says what is wrong.
    """
    stop = Event()
    if sys.platform == "linux":
        with suppress(RuntimeError):  # no further thread may be started
            Thread(target=_read, args=(folder, stop), name="mdmkit-read-ahead", daemon=True).start()
    try:
        yield
    finally:
        stop.set()


def _read(folder: Path, stop: Event) -> None:
    # sendfile to nowhere copies nothing. posix_fadvise(WILLNEED) reads only the first few megabytes of a large file.
    with suppress(MdmkitError, OSError), open(os.devnull, "wb") as nowhere:
        for name in files_of_weights(folder):
            with open(folder / name, "rb") as file:
                place = 0
                while not stop.is_set():
                    sent = os.sendfile(nowhere.fileno(), file.fileno(), place, _PIECE)
                    if not sent:
                        break
                    place += sent
