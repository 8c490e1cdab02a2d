"""The final letter of an answer to a multiple-choice question."""

from __future__ import annotations

import re

from mdmkit_tasks.judges.numbers import NEXT, boxed


def chosen(answer: str, letters: str = "ABCD") -> str | None:
    r"""Find the letter: in `\boxed{…}`, after "answer is", else the last in parentheses, else one on its own."""
    text = NEXT.split(answer, maxsplit=1)[0]
    alone = rf"\(?\b([{letters}])\b(?![\w'])\)?"
    if (inside := boxed(text)) is not None:
        found = re.findall(alone, inside)
        return found[-1] if len(set(found)) == 1 else None
    said = re.findall(rf"\b(?:answer|choice|option)\b\s*(?:is|:|=)?\s*:?\s*\**\s*{alone}", text, re.I)
    if said:
        return said[-1].upper() if said[-1].upper() in letters else None
    if brackets := re.findall(rf"\(([{letters}])\)", text):
        return brackets[-1]
    lines = re.findall(rf"^\s*\**([{letters}])\**(?:[).:]|\s*$)", text, re.M)
    return lines[-1] if lines else None
