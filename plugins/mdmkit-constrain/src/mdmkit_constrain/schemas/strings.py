"""The `pattern` of a JSON schema, as a pattern of what stands between the quotation marks."""

from __future__ import annotations

from collections.abc import Iterator

from mdmkit import MdmkitError
from mdmkit_constrain.apart import of_pattern
from mdmkit_constrain.schemas.texts import PLAIN

# Bytes that JSON writes in another way: control characters, the quotation mark and the backslash.
_WRITTEN_ANEW = (*range(0x20), ord('"'), ord("\\"))


def inside(pattern: str, path: str) -> str:
    """Return the pattern of the strings that `pattern` is found in, written without escapes.

    Raises:
        MdmkitError: it is none that can be used; `path` says where it stands.
    """
    body, starts, ends = _bare(pattern, path)
    _check(body, pattern, path)
    return f"{'' if starts else PLAIN + '*'}(?:{body}){'' if ends else PLAIN + '*'}"


def _bare(pattern: str, path: str) -> tuple[str, bool, bool]:
    """The pattern without ^ and $ at its ends, and if it had them. A dot becomes any character without an escape."""
    pieces = list(_pieces(pattern))
    starts, ends = pieces[:1] == ["^"], pieces[-1:] == ["$"]
    pieces = pieces[starts : len(pieces) - (ends and len(pieces) > starts)]
    if (starts or ends) and _chooses(pieces):
        raise MdmkitError(f"{path} is {pattern!r}: put what | separates in brackets, as in ^(a|b)$.")
    return "".join(PLAIN if piece == "." else piece for piece in pieces), starts, ends


def _pieces(pattern: str) -> Iterator[str]:
    """Escapes, classes of characters, and single characters."""
    at = 0
    while at < len(pattern):
        stop = at + 1
        if pattern[at] == "\\":
            stop += 1
        elif pattern[at] == "[":
            stop += pattern[stop : stop + 1] == "^"
            stop += pattern[stop : stop + 1] == "]"
            while stop < len(pattern) and pattern[stop] != "]":
                stop += 2 if pattern[stop] == "\\" else 1
            stop += 1
        yield pattern[at:stop]
        at = stop


def _chooses(pieces: list[str]) -> bool:
    """True if a | stands outside of all brackets."""
    depth = 0
    for piece in pieces:
        depth += (piece == "(") - (piece == ")")
        if piece == "|" and depth == 0:
            return True
    return False


def _check(body: str, pattern: str, path: str) -> None:
    try:
        automaton = of_pattern(body)
    except MdmkitError as error:
        raise MdmkitError(f"{path} is {pattern!r}: {error}") from None
    live = automaton.moves[:-1, list(_WRITTEN_ANEW)] != automaton.dead
    if live.any():
        code = _WRITTEN_ANEW[int(live.any(0).nonzero()[0][0])]
        raise MdmkitError(
            f"{path} is {pattern!r}, and also allows the character {chr(code)!r}, which JSON writes as an escape. Name "
            "the characters that you mean, such as [a-z] in place of [^0-9]."
        )
