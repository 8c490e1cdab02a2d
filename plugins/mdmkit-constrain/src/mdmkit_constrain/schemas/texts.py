"""JSON's strings and fixed values as patterns."""

from __future__ import annotations

import json
from typing import Any

# A character of a string, as it is written; `\u` is left out, since half a pair of UTF-16 is no character.
PLAIN = r'[^"\\\x00-\x1f]'
CHARACTER = rf'(?:{PLAIN}|\\["\\/bfnrt])'
# What stands between two members or items, and between a name and its value.
COMMA, COLON = ", ?", ": ?"

_YEAR = "[1-9][0-9]{3}"
# Every month has 28 days; 29 and 30 are in all but February. So a leap day is left out.
_DAY = "(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIME = rf"{_CLOCK}:[0-5][0-9](?:\.[0-9]{{1,6}})?(?:Z|[+-]{_CLOCK})"
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_LABEL = "[a-z0-9]+(?:-[a-z0-9]+)*"
FORMATS = {
    "date": f"{_YEAR}-{_DAY}",
    "time": _TIME,
    "date-time": f"{_YEAR}-{_DAY}T{_TIME}",
    "uuid": "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "ipv4": rf"{_BYTE}(?:\.{_BYTE}){{3}}",
    "email": rf"[a-z0-9]+(?:[._+-][a-z0-9]+)*@(?:{_LABEL}\.)+[a-z]{{2,24}}",
}


def quoted(body: str) -> str:
    return f'"{body}"'


def string(low: int = 0, high: int | None = None) -> str:
    """Strings of `low` to `high` characters."""
    if (low, high) == (0, None):
        return quoted(f"{CHARACTER}*")
    return quoted(f"{CHARACTER}{{{low},{'' if high is None else high}}}")


def member(name: str, value: str) -> str:
    """A name and its value."""
    return f"{fixed(name)}{COLON}{value}"


def fixed(value: Any) -> str:
    """One value, as JSON writes it."""
    if isinstance(value, dict):
        members = (member(str(name), fixed(each)) for name, each in value.items())
        return rf"\{{{COMMA.join(members)}\}}"
    if isinstance(value, list | tuple):
        return rf"\[{COMMA.join(map(fixed, value))}\]"
    return literal(json.dumps(value, ensure_ascii=False, allow_nan=False))


def literal(text: str) -> str:
    """The pattern of one text."""
    return "".join("\\" + c if c in r"\.^$*+?{}[]|()" else c for c in text)
