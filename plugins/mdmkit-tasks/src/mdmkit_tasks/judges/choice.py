"""The final letter of an answer to a multiple-choice question."""

from __future__ import annotations

import re

from mdmkit_tasks.judges.marks import boxed, first_turn, plain_signs, shortened, tagged

_TYPOGRAPHY = re.compile(
    r"\\(?:text|textbf|textit|mathrm|mathbf)\b|\\[()\[\]]|</?[a-z]+>|[{}$*_`\"“”<>\[\]]|(?<!\w)'|'(?!\w)"
)
_IS = (
    r"(?:is|was|are|were|seems|looks|(?:can|could|must|would|should|has to|have to) be)"
    r"(?:\s+(?:most\s+)?(?:likely|probably|clearly|definitely|indeed|therefore|thus)\b)?"
)
_STATED = rf"\b(?:answer|choice|option|letter)\s*(?:{_IS}\b|:|=|\s-\s)\s*:?(?:\s*(?:but|rather|instead)\b)?"
_CONCLUDED = (
    r"\b(?:(?:no|wait|actually)\s*[,:]|so|therefore|thus|hence|but|rather|instead|choose|chose|pick|select|go with)"
    rf"\s*,?(?:\s*it(?:['’]s|\s+{_IS})\b)?|\bit(?:['’]s|\s+{_IS})\b"
)
_RIGHT = rf"(?:\s+{_IS}\s+|\s*[:-]\s*)(?:the\s+)?(?:only\s+)?(?:right|correct|true|best|answer)\b"
_NOT = (
    r"(?:\b(?:not|cannot|neither|than|instead of|rul(?:e|es|ed|ing) out|exclud\w+|eliminat\w+|discard\w*)|n['’]t)"
    r"(?:\s+be)?(?:\s+the)?(?:\s+(?:option|choice|answer)s?)?"
)
_WRONG = (
    r"(?:\s+(?:both|all|also))?\s+(?:not|wrong|false|incorrect|excluded|impossible|out|ruled out|eliminated"
    r"|invalid|unlikely|too)\b"
)
_END = r"(?=\s*(?:[.,;:!?)]|$)|\s+(?:because|since|as|and|but|while)\b)"


def chosen(answer: str, letters: str = "ABCD") -> str | None:
    r"""Find the letter that an answer states; None if it states none, or several.

    It is the one in the last `\boxed{…}`. Otherwise, in the last `<answer>` or the whole answer, it is the last that is
    stated ("the answer is B", "B is right") or concluded ("so B"), else of the last option, else the last in
    parentheses, else the last one at the start of a line or sentence. Options that are called wrong do not count.
    """
    text = plain_signs(first_turn(answer))
    inside = boxed(text)
    text = shortened(_TYPOGRAPHY.sub("", (tagged(text) or text) if inside is None else inside))
    bare = text.strip(" \n().")
    if len(bare) == 1:
        return bare.upper() if bare.upper() in letters else None
    marked = rf"\([{letters}{letters.lower()}]\)"
    one = rf"(?:{marked}|(?<![\w-])[{letters}]\b(?!['’-]\w))"
    several = _list(one)
    listed = rf"(?:{one}(?:\s*,\s*{one}){{1,8}}|{several})"  # A, C, D are wrong
    text = re.sub(
        rf"(?i:{_NOT})\s+{several}|{listed}\s+(?i:are|were)(?i:{_WRONG})|{one}(?:(?i:\s+{_IS}|\s*[:-])(?i:{_WRONG})|\s+\w+n['’]t\b)",
        " ", text,
    )  # fmt: skip
    noun = r"\s*(?i:(?:the\s+)?\b(?:option|choice|answer)\b)?\s*"
    alone = r"(?:[).:]|\s*$)"
    stated = rf"(?i:{_STATED}){noun}({several})|(?i:{_CONCLUDED}){noun}({several}){_END}|({several})(?i:{_RIGHT})"
    if inside is not None:
        first = re.match(rf"\s*{noun}({_list(marked)}|{several}{alone})", text)  # B. A gas
        return _only(one, first[1] if first else text)
    for pattern in (
        stated,
        rf"(?i:{_STATED})[^\n]{{0,200}}?({_list(marked)})",  # the answer is 5 m, i.e. (B)
        rf"(?i:\b(?:option|choice|answer))\s+({several})",
        rf"({_list(marked)})",
        rf"(?:^|[.!?])\s*({several}){alone}",
    ):
        if found := [next(filter(None, match.groups())) for match in re.finditer(pattern, text, re.M)]:
            return _only(one, found[-1])
    return None


def _only(one: str, said: str) -> str | None:
    """The option in a text if it is the only one."""
    letters = {match[0].strip("()").upper() for match in re.finditer(one, said)}
    return letters.pop() if len(letters) == 1 else None


def _list(one: str) -> str:
    """One option, or several: A or B; A, B or C; A and B. In "A, and B …" another clause begins."""
    more = rf"\s*,\s*{one}"
    last = rf"(?:{more}){{0,8}}\s*,?\s*(?:or|nor|/)\s*{one}|(?:{more}){{1,8}}\s*,?\s*(?:and|&)\s*{one}"
    return rf"{one}(?:{last}|\s+(?:and|&)\s+{one}){{0,8}}"
