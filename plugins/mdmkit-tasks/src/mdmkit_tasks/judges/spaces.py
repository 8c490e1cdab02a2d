"""Spaces that Python does not read as such, in programs as an editor shows them."""

from __future__ import annotations

import re

from mdmkit_tasks.judges.names import parsed

# Strings and comments are passed over, except the fields of f-strings. Signs without width count in an indent only.
_SIGNS = re.compile(
    r"""(?P<kept>(?P<prefix>\b[A-Za-z]{1,2})?(?:
        \"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''    # long strings
        |"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|\#[^\n]*)  # short ones, comments
    |(?P<indent>^(?:[^\S\n]|[\ufeff\u200b])+)
    |[^\S\n\r\t\f\ ]""",
    re.S | re.X | re.M,
)
# A field of an f-string, up to its format or its end.
_FIELD = re.compile(r"""\{\{|\{(?:[^{}'":(\[]|"[^"\n]*"|'[^'\n]*'|\[[^]]*\]|\([^)]*\))*""")
_IN_AN_INDENT = {"\ufeff": "", "\u200b": "", "\t": "\t", "\r": "\r"}


def spaced(text: str) -> str:
    """A text with the spaces that an editor shows, unless it is Python as it is.

    No-break and other wide spaces are spaces, but not within strings and comments. In an indent, signs without width
    are nothing.
    """
    return text if parsed(text) is not None else _SIGNS.sub(_plain, text)


def _plain(found: re.Match[str]) -> str:
    if found["indent"] is not None:
        return "".join(_IN_AN_INDENT.get(sign, " ") for sign in found["indent"])
    if found["kept"] is None:
        return " "
    if "f" in (found["prefix"] or "").lower():
        return _FIELD.sub(lambda field: _SIGNS.sub(_plain, field[0]), found["kept"])
    return found["kept"]
