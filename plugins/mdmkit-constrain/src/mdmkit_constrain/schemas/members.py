"""Objects and arrays as patterns, from those of their members and items."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mdmkit import MdmkitError
from mdmkit_constrain.schemas.texts import COMMA

# Characters of a pattern. A part of one is at most as long as the whole; it is measured before it is made, since each
# level of arrays doubles it.
LONGEST = 200_000


def check_size(characters: int) -> None:
    """Refuse a pattern that would be too long.

    Raises:
        MdmkitError: it has more than `LONGEST` characters.
    """
    if characters > LONGEST:
        raise MdmkitError(
            f"constraint.schema is too large: as a regular expression it has more than {LONGEST:,} characters. Say "
            "what values stand where it says nothing, put fewer arrays into one another, or set constraint.depth lower."
        )


def either(patterns: Iterable[str | None]) -> str | None:
    """One of several; None stands for what no text can be."""
    found: dict[str, None] = {}
    size = 0
    for pattern in patterns:  # some may not be made yet
        if pattern is not None and pattern not in found:
            found[pattern] = None
            size += len(pattern)
            check_size(size)
    return f"(?:{'|'.join(found)})" if found else None


def braced(body: str) -> str:
    return rf"\{{{body}\}}"


def bracketed(body: str) -> str:
    return rf"\[{body}\]"


def listed(members: Sequence[tuple[str, bool]]) -> str:
    """Members in this order, with commas between them; the flag says which must be there."""
    first = next((i for i, (_, needed) in enumerate(members) if needed), None)
    if first is None:
        check_size(sum((i + 1) * len(member) for i, (member, _) in enumerate(members)))
        ways = [member + _following(members[i + 1 :]) for i, (member, _) in enumerate(members)]
        return f"(?:{'|'.join(ways)})?" if ways else ""
    before = "".join(f"(?:{member}{COMMA})?" for member, _ in members[:first])
    return before + members[first][0] + _following(members[first + 1 :])


def _following(members: Sequence[tuple[str, bool]]) -> str:
    return "".join(f"{COMMA}{member}" if needed else f"(?:{COMMA}{member})?" for member, needed in members)


def repeated(item: str, low: int, high: int | None) -> str:
    """`low` to `high` items, with commas between them."""
    if high == 0:
        return ""
    check_size(2 * len(item))
    more = f"(?:{COMMA}{item}){{{max(0, low - 1)},{'' if high is None else high - 1}}}"
    return f"{item}{more}" if low else f"(?:{item}{more})?"


def tupled(items: Sequence[str], rest: str | None, low: int, high: int | None) -> str:
    """Items in this order, then any number of `rest`; at least `low` and at most `high` of them in all."""
    count = len(items) if high is None else min(high, len(items))
    check_size(sum(map(len, items)) + len(rest or ""))
    if count == 0:
        return "" if rest is None else repeated(rest, low, high)
    tail = ""
    if rest is not None and high != count:
        least = max(0, low - count)
        tail = f"(?:{COMMA}{rest}){{{least},{'' if high is None else high - count}}}"
    for i in reversed(range(count)):
        body = (COMMA if i else "") + items[i] + tail
        tail = body if i < low else f"(?:{body})?"
    return tail
