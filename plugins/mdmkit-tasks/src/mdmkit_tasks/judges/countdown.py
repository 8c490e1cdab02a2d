"""Countdown: reach the target with the given numbers, each used exactly once."""

from __future__ import annotations

import ast
import operator
import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from mdmkit_tasks.judges.marks import ANNOUNCED, boxed, first_turn, plain_signs, tagged

OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
LONGEST = 200
PLAIN = re.compile(r"[\d+\-*/() \t]*")
# Words in a formula: \text{Answer: }.
_IN_WORDS = re.compile(r"\\(?:text|math)(?:bf|it|rm|sf|tt)?\s*\{([^{}]*)\}")
# What may stand before an equation: a label, the number of a step, or words without a "not".
_WORDS = re.compile(
    r"(?!.*(?:\b(?:no|not|never|cannot|wrong)\b|n['’]t))(?:[a-z][a-z '’]*\d*:|\d+[.)](?=\s)|[a-z][a-z '’]*(?:\s|$))\s*",
    re.I,
)


def reaches(answer: str, numbers: Sequence[int], target: int) -> bool:
    """True if an answer is an expression, or a chain of equations, that uses all numbers and reaches the target.

    `(3+9)*2`, `2(3+9) = 24`, `24 = (3+9)*2` and `3+9=12, 12*2=24` are the same answer. The answer is the text inside
    `<answer>` or `\\boxed{…}`, or after "answer is" or `####`, else the last line, or the equations on the last lines.
    """
    return any(_holds(said, numbers, target) for said in _final(answer, len(numbers) - 1))


def _holds(said: str, numbers: Sequence[int], target: int) -> bool:
    said = _plain(said)
    if len(said) > LONGEST:
        return False
    parts = [_bare(part) for part in re.split(r"[,;\n]|\b(?:and|then)\b|\.\s+(?=[A-Za-z])", said, flags=re.I)]
    equations = [part for part in parts if part]
    if len(equations) < 2:
        return bool(equations) and _whole(equations[0], numbers, target)
    return _chain(equations, numbers, target)


def value(expression: str) -> tuple[Fraction, list[int]] | None:
    """An expression's value and the whole numbers in it; None if it is not made of + − × ÷ and whole numbers."""
    if not PLAIN.fullmatch(expression):  # 0x1 and 1_0 are numbers of Python, not of the game
        return None
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
        used: list[int] = []
        return _value(tree, used), used
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr, used: list[int]) -> Fraction:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        used.append(node.value)
        return Fraction(node.value)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
        return OPERATIONS[type(node.op)](_value(node.left, used), _value(node.right, used))
    raise ValueError(ast.dump(node))


def _whole(said: str, numbers: Sequence[int], target: int) -> bool:
    """True if all sides of an equation reach the target, and one of them uses all numbers."""
    sides = [value(side) for side in said.split("=")]
    if any(side is None or side[0] != target for side in sides):
        return False
    return any(side is not None and Counter(side[1]) == Counter(numbers) for side in sides)


def _chain(equations: Sequence[str], numbers: Sequence[int], target: int) -> bool:
    have: Counter[Fraction] = Counter(Fraction(number) for number in numbers)
    result = None
    for equation in equations:
        left, equals, right = equation.partition("=")
        found, said = value(left), value(right)
        if found is not None and len(found[1]) < 2:  # 12 = 3 + 9
            found, said = said, found
        if not equals or found is None or said is None or found[0] != said[0] or len(found[1]) < 2:
            return False
        used = Counter(Fraction(number) for number in found[1])
        if used - have:
            return False
        have = have - used + Counter([said[0]])
        result = said[0]
    return result == target and have == Counter([Fraction(target)])


def _final(answer: str, steps: int) -> list[str]:
    """The text that holds the answer. If nothing marks it, the last line, the last two lines, … up to `steps`."""
    text = plain_signs(first_turn(answer))
    text = re.sub(r"\\[()\[\]]|\$|```\w*|\\[ ,;:!]|\\q?quad\b", " ", text)  # signs of formulas and of code
    text = _IN_WORDS.sub(r"\1", text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    text = re.sub(r"\n(?=[=≈])", " ", "\n".join(lines))  # an equation goes on
    if (inside := tagged(text)) is not None:
        box = boxed(inside)
        return [inside if box is None else box]
    if (inside := boxed(text)) is not None:
        return [inside]
    if "####" in text:
        return [text.rpartition("####")[2].strip().split("\n", 1)[0]]
    if marked := list(ANNOUNCED.finditer(text)):
        return [text[marked[-1].end() :].strip().split("\n", 1)[0]]
    lines = text.split("\n")
    return ["\n".join(lines[-count:]) for count in range(1, max(steps, 1) + 1)]


def _bare(equation: str) -> str:
    """An equation without bold, words before it, and a full stop or tick after it."""
    bare = equation.strip(" \t*'\"“”").rstrip(" \t*.!✓✔✅\ufe0f")
    while match := _WORDS.match(bare):
        bare = bare[match.end() :].lstrip(" \t*")
    return bare


def _plain(text: str) -> str:
    for signs, plain in (
        (("\\times", "\\cdot", "\\ast", "\\*", *"×·∗⋅∙✕✖"), "*"), (("\\div", *"÷∕⁄"), "/"),
        (("\\approx", "==", "≈"), "="), (("\\left", "\\right", "`"), ""),
    ):  # fmt: skip
        for sign in signs:
            text = text.replace(sign, plain)
    text = text.translate(str.maketrans("[]", "()"))
    text = re.sub(r"(?<=[\d)])[ \t]*\*\*[ \t]*(?=[\d(])", "^", text).replace("**", "")  # a power, or else bold
    text = re.sub(r"(?<=[\d)}])[ \t]*(?=\()|(?<=\))[ \t]*(?=\d|\\[dt]?frac)", "*", text)  # 2(3+9)
    text = re.sub(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"((\1)/(\2))", text)
    text = text.translate(str.maketrans("{}", "()"))
    text = re.sub(r"(?<=[\d)])\s*[xX]\s*(?=[\d(])", "*", text)  # 3 x 2
    return re.sub(r"(?<![\d])0+(?=\d)", "", text)  # 08 is 8
