"""Changed files: what is left of a file after an editor, another program, or a broken disk was at it (hypothesis)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import yaml
from hypothesis import strategies as st

# What stands where something else was expected.
NUMBERS = [None, True, False, 0, 1, -1, 2, 7, 10**9, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf")]
TEXTS = ["", "x", "auto", "null", "a" * 300, "\x00", "\x1b[2J", "\u202e", "é", "\ud800"]
VALUES = st.sampled_from([*NUMBERS, *TEXTS, [], [0], [None], {}, {"a": 1}])
SIGNS = [
    b"",
    b" ",
    b"\n",
    b"\t",
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b'"',
    b",",
    b":",
    b"[",
    b"}",
    b"-",
]
WORDS = [b"null", b"NaN", b"1e999", b"&a", b"!!python/name:os.system", b"a", b"0", b"\\u0041", b"\r\n", b"9" * 400]
BYTES = st.sampled_from([*SIGNS, *WORDS])
Place = tuple[Any, Any]  # a dictionary or list, and a key of it


def changed(original: bytes, form: str) -> st.SearchStrategy[bytes]:
    """Files that differ from `original`; `form` is "lines" (JSON lines), "json", "yaml" or "text"."""
    slip = _letter(original)  # the most common
    kinds = [slip, slip, _bytes(original), *([_tree(original, form)] if form in _FORMS else [])]
    return st.one_of(*kinds).filter(lambda data: data != original)


@st.composite
def _letter(draw: st.DrawFn, original: bytes) -> bytes:
    """Replace a letter by a letter, or a digit by a digit: a slip of the pen."""
    at = draw(st.sampled_from([i for i, byte in enumerate(original) if byte < 128 and chr(byte).isalnum()]))
    others = b"0123456789" if chr(original[at]).isdigit() else b"abcdz"
    return original[:at] + bytes([draw(st.sampled_from(others))]) + original[at + 1 :]


@st.composite
def _bytes(draw: st.DrawFn, original: bytes) -> bytes:
    """Replace a few bytes, insert some, or lose a part."""
    at = draw(st.integers(0, len(original)))
    until = draw(st.integers(at, min(len(original), at + draw(st.sampled_from([0, 1, 3, 40, len(original)])))))
    return original[:at] + draw(BYTES) + original[until:]


@st.composite
def _tree(draw: st.DrawFn, original: bytes, form: str) -> bytes:
    """Change one place of the document: its value, its key, or whether it is there."""
    read, write = _FORMS[form]
    tree = [read(original)]
    home, key = draw(st.sampled_from(list(_places(tree))))
    kind = draw(st.sampled_from(["replace", "nudge", "drop", "rename", "again"]))
    if kind == "drop" and home is not tree:
        del home[key]
    elif kind == "rename" and isinstance(home, dict):
        home[draw(st.sampled_from([f"{key}_", str(key)[:-1], "id", "meta"]))] = home.pop(key)
    elif kind == "again" and isinstance(home, list) and home is not tree:
        home.insert(key, home[key])
    elif kind == "nudge" and isinstance(home[key], int | float | str):
        value = home[key]
        home[key] = not value if isinstance(value, bool) else value + ("a" if isinstance(value, str) else 1)
    else:
        home[key] = draw(VALUES)
    return write(tree[0])


def _places(home: Any) -> Iterator[Place]:
    for key in range(len(home)) if isinstance(home, list) else home:
        yield home, key
        if isinstance(home[key], dict | list):
            yield from _places(home[key])


def _read_lines(data: bytes) -> list[Any]:
    return [json.loads(line) for line in data.splitlines()]


def _write_lines(lines: Any) -> bytes:
    return b"".join(_write_json(line) + b"\n" for line in (lines if isinstance(lines, list) else [lines]))


def _write_json(tree: Any) -> bytes:
    return json.dumps(tree).encode()


def _write_yaml(tree: Any) -> bytes:
    return yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")


_FORMS: dict[str, tuple[Callable[[bytes], Any], Callable[[Any], bytes]]] = {
    "lines": (_read_lines, _write_lines),
    "json": (json.loads, _write_json),
    "yaml": (yaml.safe_load, _write_yaml),
}
