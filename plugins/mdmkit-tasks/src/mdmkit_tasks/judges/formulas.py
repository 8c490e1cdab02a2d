"""Mathematics that the judge of numbers does not compute: it is marked, so that no number in it is read."""

from __future__ import annotations

import re

# It stands for an expression whose value is not known.
UNKNOWN = "\ufffd"
# Commands that only set text, join numbers, or give a unit. The value of an expression with any other is not known.
_KNOWN = (
    r"text\w*|math(?:rm|bf|it|sf|tt|bb)|mbox|textstyle|displaystyle|boxed|fbox|underline|left|right|[bB]ig\w*"
    r"|q?quad|hspace|circ|degree|pounds?|euro|yen|cents?|approx|sim|simeq|equiv|times|cdot|div|pm|[lc]?dots|ldots"
    r"|color|checkmark|blacksquare|square|Box|qed|therefore|because|[Rr]ightarrow|Longrightarrow|implies|to|newline"
)
_DEGREES = re.compile(r"\^\s*\{?\s*\\circ\b\s*\}?")
_VARIABLE = re.compile(r"\d\s?[xyznie]\s*\^\s*(?:\{[^{}]*\}|\d+)")
_UNIT = re.compile(r"(\\(?:text\w*|mathrm|mbox)\s*\{[^{}]*\}|[A-Za-z])\s*\^\s*(?:\{\s*\d+\s*\}|\d+)")
_POWER = re.compile(r"\^\s*\{\s*(\d+)\s*\}")
_STARS = re.compile(r"(?<=[\d)])\*\*(?=[\d(-])|(?<=[\d)]) \*\* (?=[\d(-])")  # the other ** are bold
_COMMAND = re.compile(
    rf"\\(?!(?:{_KNOWN})(?![A-Za-z]))[A-Za-z]+(?:\[[^][{{}}]*\])?(?:\s*\{{[^{{}}]*\}}|\s*\d+(?:\.\d+)?)*"
)
_UNREAD = re.compile(
    r"""[√∛∜]\s*\(?\d*(?:\.\d+)?\)?|[π∞∑∏∫]
    |(?<![\\A-Za-z])[A-Za-z]+\(\s*-?\d[^()]*\)             # f(3)
    |\b(?:sqrt|cbrt)\s*\d+(?:\.\d+)?|\b(?:square|cube)\s+root\s+of\s+\d+(?:\.\d+)?
    |\d\s?[CP]\s?\d+|\d\s*[²³¹⁰⁴-⁹]|\d_\{?\d+\}?
    |\d\s+(?:squared|cubed|factorial|choose|mod)\b(?:\s*\d+)?
    |[\d)}]\s*\^(?!\d)\s*(?:\{[^{}]*\}|[({-]*[\w.]+)?
    |[)}]\s*\^\s*\d+|\d\s?/\s?\d+\s*\^\s*\d+
    |\d!+(?=\$|\\[)\]]|\s?[-+*/^×·÷]\s?\d)                 # 5! in prose is no factorial
    """,
    re.X,
)
# In a formula also these: a factorial, a value without a sign, a comparison, a variable.
_UNREAD_IN_A_FORMULA = re.compile(
    r"""\d\s*!|\||[<>≤≥≠]|\b(?:log|ln)\s*\d+
    |(?<=[\d)])[xyznie]\b(?!\s*\d)|\b[xyzn]\s*[-+*/]|[-+*/]\s*[xyzn]\b|-\s*[({]+\s*-?\d|-\s*-\s*\d
    |(?:\\(?:times|cdot|div|pm)\b|[×÷·]|(?<=[\w)}])\s?\*)\s*[({]?\s*-?\d   # 7 cm × 2
    """,
    re.X,
)
_PRODUCT = re.compile(r"(?<=[\d)])\((?=-?[\d.])|(?<=\d\))(?=\d)")
_QUOTIENT = re.compile(r"(?<=[\d)])\s*/\s*(?:[(\ufffd-]|\d+\s*/)")
PASSES = 4  # so deep may commands stand in each other


def marked(text: str, formula: bool = False) -> str:
    """A text in which `UNKNOWN` stands for every expression that is not computed.

    Fractions of two numbers are expected to be written as 1/2 before.

    Args:
        formula: the text is a formula or a result alone, not prose.
    """
    text = _STARS.sub("^", _DEGREES.sub("", text))
    text = _POWER.sub(r"^\1", _UNIT.sub(r"\1", _VARIABLE.sub(UNKNOWN, text)))
    text = re.sub(r"\\(?:left|right|[bB]igg?[lr]?)(?![a-z])\s*", "", text)
    for _ in range(PASSES):
        text = _COMMAND.sub(UNKNOWN, text)
    text = _UNREAD.sub(UNKNOWN, text)
    if formula:
        text = _UNREAD_IN_A_FORMULA.sub(UNKNOWN, text)
    return _QUOTIENT.sub(UNKNOWN, _PRODUCT.sub("*", text))


def spoils(before: str, after: str) -> bool:
    """True if a number is part of something unknown: nothing but signs stands between, and no `=`."""
    return bool(re.search(rf"{UNKNOWN}[^\w\n=≈]*$", before) or re.match(rf"[^\w\n=≈]*{UNKNOWN}", after))
