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
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_PIECE = 16 << 20  # bytes; between two pieces the thread can stop
_WORTH = 256 << 20  # bytes; fewer are read in less time than a thread costs


@contextmanager
def reading_ahead(folder: Path) -> Iterator[None]:
    """Read the weights of a directory in a thread of its own, until all are read or the block ends.

    Linux only, and only if there are at least `_WORTH` bytes. Nothing that goes wrong here is an error: whoever loads
    the weights reads the same files, and says what is wrong.
    """
    stop = Event()
    with suppress(MdmkitError, OSError, RuntimeError):  # RuntimeError: no further thread may be started
        files = [folder / name for name in files_of_weights(folder)]
        if sys.platform == "linux" and sum(file.stat().st_size for file in files) >= _WORTH:
            Thread(target=_read, args=(files, stop), name="mdmkit-read-ahead", daemon=True).start()
    try:
        yield
    finally:
        stop.set()


def _read(files: Iterable[Path], stop: Event) -> None:
    # sendfile to nowhere copies nothing. posix_fadvise(WILLNEED) reads only the first few megabytes of a large file.
    with suppress(OSError), open(os.devnull, "wb") as nowhere:
        for path in files:
            with open(path, "rb") as file:
                place, sent = 0, 1
                while sent and not stop.is_set():
                    sent = os.sendfile(nowhere.fileno(), file.fileno(), place, _PIECE)
                    place += sent
