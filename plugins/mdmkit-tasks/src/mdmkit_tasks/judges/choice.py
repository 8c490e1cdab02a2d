"""The final letter of an answer to a multiple-choice question."""

from __future__ import annotations

import re

from mdmkit_tasks.judges.numbers import NEXT, boxed

_TYPOGRAPHY = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf)\b|\\[()\[\]]|[{}$*]")


def chosen(answer: str, letters: str = "ABCD") -> str | None:
    r"""Find the letter that an answer states.

    It is the one in `\boxed{…}`, else after "answer is", else of an option that is not called wrong, else the last in
    parentheses, else the last one that begins a line.
    """
    text = NEXT.split(answer, maxsplit=1)[0]
    one = rf"(?:\(([{letters}{letters.lower()}])\)|([{letters}])\b(?!['’]))"
    if (inside := boxed(text)) is not None:
        found = _letters(one, _TYPOGRAPHY.sub("", inside))
        return found[0] if len(set(found)) == 1 else None
    text = _TYPOGRAPHY.sub("", text)
    text = re.sub(rf"\bnot\s+(?:(?:option|choice)\s+)?{one}", "not", text)
    stated = r"(?i:\b(?:answer|choice|option)\s*(?:is|:|=|would be|must be)\s*:?)"
    wrong = r"(?!\s*(?i:is|are)\s+(?i:not|wrong|false|incorrect|excluded|impossible)\b)"
    for pattern in (
        rf"{stated}\s*{one}",
        rf"{stated}[^\n]*?{one.partition('|')[0]})",  # the answer is 5 m, i.e. (B)
        rf"(?i:\b(?:option|choice))\s+{one}{wrong}",
        rf"\(([{letters}])\)",
        rf"^\s*([{letters}])(?:[).:]|\s*$)",
    ):
        if found := _letters(pattern, text):
            return found[-1]
    return None


def _letters(pattern: str, text: str) -> list[str]:
    """The letters that a pattern finds, in whichever of its groups."""
    return [next(filter(None, match.groups())).upper() for match in re.finditer(pattern, text, re.M)]
