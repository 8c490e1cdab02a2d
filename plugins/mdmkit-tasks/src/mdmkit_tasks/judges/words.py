"""Numbers with words: signs and fractions are read, and a number that is only a part of a sum or product is none."""

from __future__ import annotations

import re
import unicodedata

_OPERATORS = (
    r"(?:minus|plus|times|(?:multiplied|divided)\s+by|to\s+the\s+power(?:\s+of)?"
    r"|(?:less|more|fewer|greater|larger|smaller|higher|lower)\s+than|(?:%|percent)\s+of)"
)
# Between two numbers only: "sales increased by 15" answers a question.
_CHANGED = r"(?:reduced|increased)\s+by"
_SIGNS = r"(?:the\s+)?[-(\\$€£¥]*"
_MINUS = re.compile(
    r"(?:(?<![\w-])negative|(?:^|(?<=[=:#*(])|(?<=\b(?:is|be|to|of|at))|(?<=\b(?:are|was))|(?<=\bexactly))\s*\bminus)"
    r"\s+(?=[\\$€£¥]*\.?\d)",
    re.I,
)
# With a unit between, perhaps: 36 eggs divided by 2.
_UNIT = r"(?!(?:is|are|was|were|which|that|and|but|because|since|as|so|if|when)\b)[A-Za-z]+"
_UNITS = rf"(?:{_UNIT}\s+){{0,2}}?"
_BEFORE = re.compile(
    rf"(?:(?:\b|(?=%))(?:{_OPERATORS}|twice|thrice|doubl\w+|tripl\w+|half(?:\s+of)?)|\d\S*(?<![.,:;])\s+{_UNITS}{_CHANGED})"
    rf"\s+{_SIGNS}$",
    re.I,
)
_AFTER = re.compile(rf"\s*{_UNITS}(?:(?:{_OPERATORS}|{_CHANGED})\s+{_SIGNS}\.?\d|below\s+zero\b)", re.I)
_ONE_CHARACTER = "[¼-¾⅐-⅞]"
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fourth": 4}
# "18 and a quarter of them" are two numbers.
_AND_A_PART = re.compile(
    rf"(?<![\d.,/])(\d+)\s+and\s+(an?|one|three)\s+({'|'.join(_PARTS)})s?\b(?!\s+of\s+(?:them|these|those|all)\b)", re.I
)
NEAR = 60  # characters before a number that are looked at


def with_signs(text: str) -> str:
    """A text with a minus sign for "negative 5" and "is minus 5", but not for "7 minus 5"."""
    return _MINUS.sub(" -", text)


def with_fractions(text: str) -> str:
    """A text with 3 1/2 for "3½" and for "3 and a half"."""
    text = re.sub(rf"(?<=\d)(?={_ONE_CHARACTER})", " ", text)
    text = re.sub(_ONE_CHARACTER, lambda found: unicodedata.normalize("NFKC", found[0]).replace("\u2044", "/"), text)
    return _AND_A_PART.sub(
        lambda found: f"{found[1]} {3 if found[2].lower() == 'three' else 1}/{_PARTS[found[3].lower()]}", text
    )


def is_part(before: str, after: str) -> bool:
    """True if the number between is a part of a sum, product or comparison in words, such as "twice 9"."""
    return bool(_BEFORE.search(before[-NEAR:]) or _AFTER.match(after))
