"""Tell a whole image file from one that was cut: Pillow reads the pixels, and not always what must follow them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any


def is_cut(given: Any, kind: str | None) -> bool:
    """True if a file ends before its end mark, or is shorter than its header says.

    Formats that are not listed have no such mark, or Pillow itself refuses them when they are cut.

    Args:
        given: the file's name or content. Anything else is no file.
        kind: Pillow's name of the format.
    """
    ends = _ENDS.get(kind or "")
    if ends is None:
        return False
    try:
        if isinstance(given, bytes):
            return not ends(given)
        if not isinstance(given, str | Path):
            return False
        with open(given, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            return not ends(content)
    except (IndexError, struct.error):  # it ends in the middle of what is read
        return True


def _png(content: bytes | mmap) -> bool:
    at = 8
    while True:
        (length,) = struct.unpack_from(">I", content, at)
        if content[at + 4 : at + 8] == b"IEND":
            return len(content) >= at + 12
        at += 12 + length


def _gif(content: bytes | mmap) -> bool:
    at = 13 + _colours(content[10])
    while content[at] != 0x3B:
        if content[at] == 0x2C:
            at += 10 + _colours(content[at + 9]) + 1
        elif content[at] == 0x21:
            at += 2
        else:
            return False
        while content[at]:  # sub-blocks, each with its length before it, and an empty one at the end
            at += content[at] + 1
        at += 1
    return True


def _colours(flags: int) -> int:
    """The bytes of a GIF's table of colours."""
    return 3 * (2 << (flags & 7)) if flags & 0x80 else 0


def _qoi(content: bytes | mmap) -> bool:
    return content.find(b"\0" * 7 + b"\1") >= 0


def _ico(content: bytes | mmap) -> bool:
    (count,) = struct.unpack_from("<H", content, 4)
    places = (struct.unpack_from("<II", content, 6 + 16 * number + 8) for number in range(count))
    return all(start + size <= len(content) for size, start in places)


def _icns(content: bytes | mmap) -> bool:
    return struct.unpack_from(">I", content, 4)[0] <= len(content)


_ENDS: dict[str, Callable[[bytes | mmap], bool]] = {"PNG": _png, "GIF": _gif, "QOI": _qoi, "ICO": _ico, "ICNS": _icns}
