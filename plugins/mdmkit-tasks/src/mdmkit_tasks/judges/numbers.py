"""The final number of an answer, exact: with commas, decimals, units, fractions, LaTeX."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

from mdmkit_tasks.judges.formulas import UNKNOWN, marked, spoils
from mdmkit_tasks.judges.marks import ANNOUNCED, boxed, first_turn, plain_signs, tagged
from mdmkit_tasks.judges.words import is_part, with_fractions, with_signs

# Longer numbers are no answers, and nor are powers that are longer when they are written out.
DIGITS = 1000
_NUMBER = re.compile(
    r"""(?<![\d])(?<!\d\.)(?<!\b[A-Za-z])  # not inside a number, nor x2
    (?P<sign>(?<![\w)\]])-)?               # a minus sign, unless it subtracts
    (?P<whole>\d{1,3}(?:,\d{3})+(?!\d)|\d{1,2}(?:,\d{2})+,\d{3}(?!\d)|\d+)?
    (?P<part>\.\d+)?
    (?(whole)|(?(part)|(?!)))
    (?:[eE](?P<ten>[+-]?\d+)\b)?
    (?:\^(?P<power>\d+))?
    (?:\s?/\s?(?P<below>\d+))?
    (?:\s*(?P<times>hundred|thousand|million|billion|trillion)\b|(?P<letter>(?-i:[kKMB]))\b)?""",
    re.X | re.I,
)
_MIXED = re.compile(r"(?<![\d.,/])(\d+)\s+(?:and\s+)?(\d+)\s?/\s?(\d+)(?!\d|\.\d)")
_TIMES = {
    "dozen": 12,
    "dozens": 12,
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
_LETTERS = {"k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9}
# Between two numbers, of which neither is the answer: 18-20, 18 or 20, 5 * 3, 18,5.
_JOINS = re.compile(r"\)?\s*\\?%?\s*(?:[-—±+*×÷x]|\b(?:to|or)\b|\\(?:times|cdot|div|pm)\b)\s*\(?-?|,")
_COMPUTES = re.compile(r"[±+*×÷x]|\\(?:times|cdot|div|pm)\b")
_RANGE = re.compile(r"-|\s+or\s+")
# 1.234,50 and, beside a sign or word for euros, 18,50: the comma is the decimal one.
_DECIMAL_COMMA = re.compile(
    r"""(?<![\d.,])(?:
        (?P<long>[1-9]\d{0,2}(?:\.\d{3})+)
        |(?:(?<=€)|(?<=EUR))(?P<after>\s?-?(?:\d{1,3}(?:\s\d{3})+|\d+))
        |(?P<before>\d{1,3}(?:\s\d{3})+|\d+)(?=,\d{1,2}\s?(?:€|EUR\b|euros?\b))
    ),(?P<cents>\d{1,2})(?![\d,.]*\d)""",
    re.X | re.I,
)
_FRACTION = re.compile(
    r"\\[dtc]?frac\s*(?:\{\s*(?P<above>-?\d+(?:\.\d+)?)\s*\}|(?P<digit>\d))\s*(?:\{\s*(?P<below>\d+)\s*\}|(?P<other>\d))"
)
# GSM8K's notes of a calculator: <<9*2=18>>18.
_CALCULATED = re.compile(r"<<[^<>\n]*>>")
# What follows `####` if it is the answer; `#### 1. Add the prices` is a heading.
_MARKED = re.compile(r"(?!\s*\d+[.)]\s+[A-Za-z])[\s*:=$€£¥\\−–-]*(?:[dt]?frac|\.?\d)")


def final_number(answer: str) -> Fraction | None:
    r"""Find the number that an answer gives; None if it gives none, a range such as 18-20, or a sum that is not done.

    It is the one in the last `\boxed{…}`. Otherwise, in the last `<answer>` or the whole answer, it is the one after
    the first `####`, else after "answer is", else the last one.
    """
    text = _CALCULATED.sub("", plain_signs(first_turn(answer)))
    if (inside := boxed(text)) is not None:
        return _only(_said(inside, alone=True))
    if (inside := tagged(text)) is not None:
        if "\n" not in inside.strip():
            return _only(_said(inside, alone=True))
        text = inside
    lines = [part.split("\n", 1)[0] for part in text.split("####")[1:]]
    if said := next((line for line in lines if _MARKED.match(line)), None):
        return _only(_said(said, alone=True))
    for said in reversed(ANNOUNCED.split(text)[1:]):
        if found := _said(said.lstrip().split("\n", 1)[0]):
            return _only(found)
    plain = _plain(text)
    numbers = list(_read(plain))
    before, after = (plain[: numbers[-1][1].start()], plain[numbers[-1][1].end() :]) if numbers else ("", "")
    if UNKNOWN in after or spoils(before, "") or is_part(before, after):
        return None
    for (low, first), (high, last) in itertools.pairwise(numbers[-2:]):
        if low < high and _RANGE.fullmatch(plain, first.end(), last.start()):
            return None
    return numbers[-1][0] if numbers else None


def same_number(answer: str, reference: str) -> bool:
    """True if the answer's number is that of the reference, which may be a whole solution that ends in `#### 18`."""
    said, right = final_number(answer), final_number(reference)
    return said is not None and said == right


def _read(text: str) -> Iterator[tuple[Fraction, re.Match[str]]]:
    """Every number of a plain text, in order, and where it stands. Times and ratios, such as 12:30, are none."""
    for match in _NUMBER.finditer(text):
        whole = (match["whole"] or "0").replace(",", "")
        if max(map(len, (whole, match["part"] or "", match["below"] or ""))) > DIGITS:
            continue  # a model that repeats itself; Python refuses to read more than 4300 digits
        if max(len(match["ten"] or ""), len(match["power"] or "")) > len(str(DIGITS)):
            continue
        written = len(whole) + len(match["part"] or "") + abs(int(match["ten"] or 0))
        if written * int(match["power"] or 1) > DIGITS:
            continue
        if match["below"] is not None and not int(match["below"]):
            continue  # 1/0 is no number
        value = Fraction(f"{whole}{match['part'] or ''}") * Fraction(10) ** int(match["ten"] or 0)
        value **= int(match["power"] or 1)
        if match["below"] is not None:
            value /= int(match["below"])
        value *= _TIMES.get((match["times"] or "").lower(), 1) * _LETTERS.get(match["letter"] or "", 1)
        yield -value if match["sign"] else value, match


def _with_point(match: re.Match[str]) -> str:
    whole = match["long"] or match["after"] or match["before"]
    digits = re.sub(r"[.\s]", "", whole)
    return f"{' ' * whole[0].isspace()}{digits}.{match['cents']}"


def _improper(mixed: re.Match[str]) -> str:
    """2 1/2 as 5/2."""
    if max(map(len, mixed.groups())) > DIGITS:
        return mixed[0]
    return f"{int(mixed[1]) * int(mixed[3]) + int(mixed[2])}/{mixed[3]}"


def _said(text: str, alone: bool = False) -> list[Fraction | None]:
    """The number of a phrase: the one after its last `=`, else its first one, and others that are joined to it.

    It is None if it is part of an expression that is not computed. If nothing else should stand in the text (`alone`),
    such an expression may stand nowhere in it.
    """
    text = re.sub(r"^\s*-\s+(?=[\d.\\$])", "-", text)  # a minus sign with a space after it
    text = re.sub(r"(?<![\d.,/])\d{1,3}(?: \d{3})+(?![\d/])", lambda m: m[0].replace(" ", ""), text)  # 1 000
    text = re.sub(r"\b(?:equals|(?:is|are) equal to)\b", "=", text, flags=re.I)
    text = re.sub(r"\bbetween\s+(\S+)\s+and\b", r"\1 to", text, flags=re.I)
    for part in (_plain(part, alone) for part in (text.rpartition("=")[2], text)):
        found = list(_read(part))
        if UNKNOWN in (part if alone or not found else part[: found[0][1].start()]):
            return [None]
        if found and is_part(part[: found[0][1].start()], part[found[0][1].end() :]):
            return [None]
        joined: list[Fraction | None] = [value for value, _ in found[:1]]
        for (_, before), (value, after) in itertools.pairwise(found):
            between = part[before.end() : after.end("sign") if after["sign"] else after.start()]
            if not _JOINS.fullmatch(between):
                break
            if _COMPUTES.search(between):
                return [None]
            joined.append(value)
        if joined and spoils("", part[found[len(joined) - 1][1].end() :]):
            return [None]
        if joined:
            return joined
    return []


def _only(numbers: Sequence[Fraction | None]) -> Fraction | None:
    return numbers[0] if len(set(numbers)) == 1 else None


def _plain(text: str, formula: bool = False) -> str:
    """Undo typography: LaTeX thousands, fractions and signs, thin spaces, the minus sign, currency, emphasis.

    Expressions that are not computed become `UNKNOWN`.
    """
    text = with_fractions(text)
    text = re.sub(r"(?<==)\s*-\s+(?=[\d.\\$])", "-", text)
    text = re.sub(r"(?<=\d)(?:\{,\}|\\[,!;: ]|[\u2009\u202f\u00a0~_'’])(?=\d{3}(?!\d))", "", text)
    text = _DECIMAL_COMMA.sub(_with_point, text)
    text = re.sub(r"(?<![\d.,])\d{1,3}(?:\.\d{3}){2,}(?!\d)", lambda m: m[0].replace(".", ""), text)  # 1.000.000
    text = re.sub(r"(?<=\d)\s*(?:\\times|\\cdot|[×x*])\s*10\^\{?([+-]?\d+)\}?", r"e\1", text)
    text = re.sub(r"(?<=\d)(?=\\[dtc]?frac)", " ", text)  # 2\frac{1}{2} is a mixed number
    text = _FRACTION.sub(lambda m: f"{m['above'] or m['digit']}/{m['below'] or m['other']}", text)
    text = marked(text, formula)
    text = re.sub(r"\\?[$€£¥]|\*\*|\\(?:text|mathrm|mathbf)\b|\\[()\[\]]|[{}]", "", text)
    return with_signs(re.sub(r"(?<!\d)\d+(?::\d+)+", " ", _MIXED.sub(_improper, text)))
