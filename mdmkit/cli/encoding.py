"""Read bytes as UTF-8. Another encoding is named, also one whose bytes happen to be valid UTF-8."""

from __future__ import annotations

from mdmkit.errors import MdmkitError

_MARKS = {"utf-32": (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff"), "utf-16": (b"\xff\xfe", b"\xfe\xff")}
# In a text in UTF-16, at least each space and each line's end has a byte 0: one of so many bytes.
ZEROS = 64


def as_text(content: bytes, name: str) -> str:
    """The text of a file, without the mark of its encoding.

    Args:
        name: of the file, for errors.

    Raises:
        MdmkitError: it is not UTF-8. The error names the encoding that it may have, and how to convert it.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise MdmkitError(
            f"{name}, line {line}: the byte 0x{content[error.start]:02x} is no part of a text in UTF-8, which prompts "
            f"are read as. {_convert(_wide(content) or 'latin1')}"
        ) from None
    if wide := _wide(content):
        raise MdmkitError(
            f"{name}: bytes that are 0 stand where they do in {wide.upper()}, and prompts are read as UTF-8. "
            f"{_convert(wide)}"
        )
    return text


def _convert(encoding: str) -> str:
    return f"Convert it, such as with: iconv -f {encoding} -t utf-8 FILE > NEW."


def _wide(content: bytes) -> str | None:
    """The encoding of two or four bytes a character that bytes have, by a mark or by where the zeros stand, or None."""
    for name, marks in _MARKS.items():
        if content.startswith(marks):
            return name
    zeros = content.count(0)
    if not zeros:
        return None
    quarters = [content[place::4].count(0) * 4 == len(content) for place in range(4)]
    # Nearly all, since the other byte of a character such as U+1F600 may be 0 too.
    halves = [content[place::2].count(0) * 4 >= zeros * 3 and zeros * ZEROS >= len(content) for place in range(2)]
    found = {"utf-32be": quarters[0], "utf-32le": quarters[3], "utf-16be": halves[0], "utf-16le": halves[1]}
    return next((name for name, fits in found.items() if fits and _reads(content, name)), None)


def _reads(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
