"""The option `ends`: ids that end an answer, instead of those that the checkpoint names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mdmkit import MdmkitError

if TYPE_CHECKING:
    from collections.abc import Iterable


def read_ends(given: Any) -> set[int] | None:
    """Read token ids: a number, a list of numbers, or a text of numbers with commas between; None stays None.

    Raises:
        MdmkitError: anything else.
    """
    if given is None:
        return None
    if isinstance(given, str) and re.fullmatch(r"\s*\d+(\s*,\s*\d+)*\s*", given):
        return {int(number) for number in given.split(",")}
    listed = [given] if isinstance(given, int) else list(given) if isinstance(given, list | tuple | set) else [None]
    if not all(isinstance(i, int) and not isinstance(i, bool) for i in listed):
        raise MdmkitError(f"ends={given!r}: give token ids with commas between them, such as 256,260, or a list.")
    return {*listed}


def check_ends(ends: Iterable[int], mask_id: int, vocab: int) -> None:
    """Raise an MdmkitError if an id that should end answers can never be chosen."""
    for end in sorted(ends):
        if end == mask_id or not 0 <= end < vocab:
            why = "is the mask's" if end == mask_id else f"is outside the model's vocabulary of {vocab} ids"
            raise MdmkitError(f"ends: token id {end} {why}, so it could never end an answer. Name other ids.")
