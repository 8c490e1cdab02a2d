"""Read bytes as UTF-8. Another encoding is named, also one whose bytes happen to be valid UTF-8."""

from __future__ import annotations

from mdmkit.errors import MdmkitError

_MARKS = {"utf-32": (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff"), "utf-16": (b"\xff\xfe", b"\xfe\xff")}
# So many bytes at the start are looked at.
LOOKED_AT = 1 << 16
# Of the characters of a text in UTF-16, and of the bytes of one in UTF-8 that is in Latin letters.
NEARLY_ALL, MOST = 0.9, 0.75
# No character beyond it stands for something.
LAST = "\U0003ffff"


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
            f"are read as. {_convert(_wide(content, False) or 'latin1')}"
        ) from None
    if wide := _wide(content, True):
        raise MdmkitError(
            f"{name}: bytes that are 0 stand where they do in {wide.upper()}, and prompts are read as UTF-8. "
            f"{_convert(wide)}"
        )
    return text


def _convert(encoding: str) -> str:
    return f"Convert it, such as with: iconv -f {encoding} -t utf-8 FILE > NEW."


def _wide(content: bytes, valid: bool) -> str | None:
    """The encoding of two or four bytes a character that bytes have, by a mark or by what they spell; or None.

    Args:
        valid: they are a text in UTF-8 too, which then has characters NUL in it.
    """
    for name, marks in _MARKS.items():
        if content.startswith(marks):
            return name
    if valid and not content.count(0):
        return None
    start = content[:LOOKED_AT]
    for name in ("utf-32be", "utf-32le"):
        if _decodes(content, name):
            return name
    if len(content) % 2 == 0:
        texts = {name: start.decode(name, errors="replace") for name in ("utf-16be", "utf-16le")}
        found = [name for name, text in texts.items() if _is_text(text, start, valid)]
        # Read in the wrong order, a text in ASCII is one in Chinese.
        return max(found, key=lambda name: _simple(texts[name]), default=None)
    return None


def _decodes(content: bytes, encoding: str) -> bool:
    """True if bytes are characters of four bytes: two bytes each, read so, lie beyond the last one as a rule."""
    try:
        text = content.decode(encoding)
        return bool(text) and len(text) * 4 == len(content) and max(text) <= LAST
    except UnicodeDecodeError:
        return False


def _is_text(text: str, content: bytes, valid: bool) -> bool:
    """True if characters of two bytes are a text, and the bytes alone are none that is in Latin letters.

    Short texts fit several encodings: "ab" in ASCII is one Chinese character. So it is a text in ASCII, in one alphabet
    besides, or in Chinese, Japanese or Korean.
    """
    simple = _simple(text)
    others = [each for each in text if not each.isascii() and each <= "\uffff"]
    if simple >= NEARLY_ALL * len(text):
        return True
    if all(each < "\u0e00" or "\u2000" <= each < "\u2100" for each in others):
        # A tab or a line's end has a byte 0 beside it, unless it is half of a character such as U+0A62.
        split = sum(content.count(sign.encode()) - text.count(sign) for sign in "\t\n\r")
        return simple > split and len({ord(each) >> 8 for each in others}) <= 3
    wide = [each for each in others if "\u2e80" <= each < "\ua000" or "\uac00" <= each < "\ud7b0" or each >= "\uff00"]
    latin = sum(0x20 <= byte < 0x7F or byte in b"\t\n\r" for byte in content)
    # In Shift-JIS, every character would be one from U+8100 on; in GBK, and in UTF-8 that is Russian, from U+A100 on.
    low = sum(each < "\u8000" for each in wide)
    spaced = not valid and any(each.isascii() and each.isspace() for each in text)
    # Each of two such bytes may be one of ASCII, too. Then every 0, and every line's end, is half of a character.
    paired = (
        content.isascii() and "\n" in text and content.count(0) == simple and content.count(b"\n") == text.count("\n")
    )
    return (
        simple + len(wide) >= NEARLY_ALL * len(text)
        and (4 * low >= len(wide) or spaced)
        and (latin < MOST * len(content) or paired)
    )


def _simple(text: str) -> int:
    """The number of characters in ASCII that can be seen, and of those that take four bytes."""
    return sum((each.isascii() and (each.isprintable() or each.isspace())) or each > "\uffff" for each in text)
