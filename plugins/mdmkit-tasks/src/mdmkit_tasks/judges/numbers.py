"""The final number of an answer, exact: with commas, decimals, units, fractions, LaTeX."""

from __future__ import annotations

import re
from fractions import Fraction

# Longer numbers are no answers.
DIGITS = 1000
# A few-shot answer ends where the model goes on to invent a next question.
NEXT = re.compile(
    r"\n\s*(?:\*\*)?(?:Question|Q|Problem|Human|User)\s*\d*\s*:|\n\s*###\s*(?:Instruction|User|Human)\b"
    r"|<\|(?:eot_id|im_end|im_start|start_header_id|endoftext|end_of_text)\|>|</s>|\[INST\]"
)
_NUMBER = re.compile(
    r"""(?<![\d])(?<!\d\.)(?<!\b[A-Za-z])  # not inside a number, nor x2
    (?P<sign>(?<![\w)\]])-)?               # a minus sign, unless it subtracts
    (?P<whole>\d{1,3}(?:,\d{3})+(?![\d])|\d+)?
    (?P<part>\.\d+)?
    (?(whole)|(?(part)|(?!)))
    (?:[eE](?P<ten>[+-]?\d{1,2})\b)?
    (?:\^(?P<power>\d{1,2})(?!\d))?
    (?:\s?/\s?(?P<below>\d+))?
    (?:\s*(?P<times>hundred|thousand|million|billion|trillion)\b)?""",
    re.X | re.I,
)
_MIXED = re.compile(r"(?<![\d.,/])(\d+)\s+(\d+)\s?/\s?(\d+)(?![\d.])")
_TIMES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_FRACTION = re.compile(
    r"\\[dt]?frac\s*(?:\{\s*(?P<above>-?\d+(?:\.\d+)?)\s*\}|(?P<digit>\d))\s*(?:\{\s*(?P<below>\d+)\s*\}|(?P<other>\d))"
)
# What follows `####` if it is the answer; `#### 1. Add the prices` is a heading.
_MARKED = re.compile(r"(?!\s*\d+[.)]\s+[A-Za-z])[\s*:=$€£¥\\−–-]*(?:[dt]?frac|\.?\d)")


def final_number(answer: str) -> Fraction | None:
    r"""Find the number that an answer gives.

    It is the one in the last `\boxed{…}`, else after the first `####`, else after "answer is", else the last one.
    """
    text = NEXT.split(answer, maxsplit=1)[0]
    if (inside := boxed(text)) is not None:
        return _said(inside)
    lines = [part.split("\n", 1)[0] for part in text.split("####")[1:]]
    if marked := next((line for line in lines if _MARKED.match(line)), None):
        return _said(marked)
    answers = list(re.finditer(r"\banswer\s*(?:is|:|=|would be|to be)\s*:?", text, re.I))
    for mark in reversed(answers):
        if (found := _said(text[mark.end() :].lstrip().split("\n", 1)[0])) is not None:
            return found
    numbers = all_numbers(text)
    return numbers[-1] if numbers else None


def same_number(answer: str, reference: str) -> bool:
    """True if the answer's number is that of the reference, which may be a whole solution that ends in `#### 18`."""
    said, right = final_number(answer), final_number(reference)
    return said is not None and said == right


def boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{…}`, with balanced braces; None if no such box is closed."""
    for start in reversed([match.end() for match in re.finditer(r"\\(?:boxed|fbox)\s*\{", text)]):
        depth = 1
        for end in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                return text[start:end]
    return None


def all_numbers(text: str) -> list[Fraction]:
    """Every number of a text, in order. Times and ratios, such as 12:30, are none."""
    text = _MIXED.sub(_improper, _plain(text))
    text = re.sub(r"\d+(?::\d+)+", " ", text)
    found = []
    for match in _NUMBER.finditer(text):
        whole = (match["whole"] or "0").replace(",", "")
        if max(map(len, (whole, match["part"] or "", match["below"] or ""))) > DIGITS:
            continue  # a model that repeats itself; Python refuses to read more than 4300 digits
        if match["below"] is not None and not int(match["below"]):
            continue  # 1/0 is no number
        value = Fraction(f"{whole}{match['part'] or ''}") * Fraction(10) ** int(match["ten"] or 0)
        value **= int(match["power"] or 1)
        if match["below"] is not None:
            value /= int(match["below"])
        value *= _TIMES.get((match["times"] or "").lower(), 1)
        found.append(-value if match["sign"] else value)
    return found


def _improper(mixed: re.Match[str]) -> str:
    """2 1/2 as 5/2."""
    if max(map(len, mixed.groups())) > DIGITS:
        return mixed[0]
    return f"{int(mixed[1]) * int(mixed[3]) + int(mixed[2])}/{mixed[3]}"


def _said(text: str) -> Fraction | None:
    """The number of a phrase: the one after its last `=`, else its first one."""
    text = re.sub(r"^\s*[-−–]\s+(?=[\d.\\$])", "-", text)  # a minus sign with a space after it
    text = re.sub(r"(?<![\d.,/])\d{1,3}(?: \d{3})+(?![\d/])", lambda m: m[0].replace(" ", ""), text)  # 1 000
    numbers = all_numbers(text.rpartition("=")[2]) or all_numbers(text)
    return numbers[0] if numbers else None


def _plain(text: str) -> str:
    """Undo typography: LaTeX thousands, fractions and signs, thin spaces, the minus sign, currency, emphasis."""
    text = text.replace("−", "-").replace("–", "-")
    text = re.sub(r"(?<==)\s*-\s+(?=[\d.\\$])", "-", text)
    text = re.sub(r"(?<=\d)(?:\{,\}|\\[,!;]|[\u2009\u202f\u00a0])(?=\d{3})", "", text)
    text = re.sub(r"(?<=\d)\s*(?:\\times|\\cdot|×|\*)\s*10\^\{?([+-]?\d{1,2})\}?", r"e\1", text)
    text = re.sub(r"(?<=\d)(?=\\[dt]?frac)", " ", text)  # 2\frac{1}{2} is a mixed number
    text = _FRACTION.sub(lambda m: f"{m['above'] or m['digit']}/{m['below'] or m['other']}", text)
    return re.sub(r"\\?[$€£¥]|\*\*|\\(?:text|mathrm|mathbf)\b|\\[()\[\]]|[{}]", "", text)
