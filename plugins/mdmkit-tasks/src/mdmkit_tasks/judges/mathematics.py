"""Answers to MATH: compared as mathematics by math-verify (Hugging Face), never as substrings."""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import subprocess
import sys
import threading
from typing import Any

from mdmkit import MdmkitError
from mdmkit_tasks.judges.marks import boxed, first_turn, plain_signs, tagged

# Of the larger number: exact numbers that differ by more are not equal, and nor are decimals. A decimal that is rounded
# to six digits or more equals the exact number, as in math-verify; graders that compare texts would refuse it.
EXACT, DECIMAL = 1e-12, 1e-5
SECONDS = 60.0
# Characters. A longer expression is no answer, and of a longer text only its end is searched for one: the time that
# math-verify takes grows with the square of the length.
EXPRESSION, TEXT = 1000, 8000
# What math-verify passes over although it changes the value: a relation without a left side, and words.
_DROPPED = re.compile(
    r"^\s*\\(?:neq?|not|neg|geq?|leq?)\b|\b(?:factorial|squared|cubed|hundred|thousand|million|billion|trillion|dozen)\b"
)
_ALONE = (
    "import json, sys; from mdmkit_tasks.judges.mathematics import same_value as f; print(f(*json.load(sys.stdin)))"
)


def same_value(answer: str, reference: str) -> bool:
    r"""True if an answer's final expression equals the reference, the content of MATH's `\boxed{…}`.

    math-verify stops long computations by a signal, which only the main thread can get. So in another thread this runs
    in a process of its own, which takes a second.

    Raises:
        MdmkitError: math-verify is not installed.
    """
    parse, verify = _library()
    if threading.current_thread() is not threading.main_thread():
        return _in_a_process(answer, reference)
    text = plain_signs(first_turn(answer))
    box, tag = boxed(text), tagged(text)
    inside = tag.strip(" \n$") if box is None and tag is not None else box
    reference = boxed(reference) or reference
    if inside is not None:
        if _plain(inside) == _plain(reference):
            return True
        if len(inside) > max(EXPRESSION, 2 * len(reference)):
            return False
        if _DROPPED.findall(inside) != _DROPPED.findall(reference):
            return False
        bases = {base[1] for side in (inside, reference) if (base := re.search(r"\w_\{?(\d+)\}?$", _plain(side)))}
        if len(bases) == 2:  # math-verify reads 2516_8 as 2516
            return False
    said = parse(f"\\boxed{{{inside}}}") if inside is not None else []
    if box is None and not said:
        said = parse((tag or text)[-TEXT:])
    right = parse(f"\\boxed{{{reference}}}")
    if not said or not verify(right, said):
        return False
    return any(verify([a], [b]) and not _apart(a, b) for a, b in itertools.product(right, said))


def require() -> None:
    """Check that math-verify is installed, before anything is decoded.

    Raises:
        MdmkitError: it is not installed.
    """
    _library()


def _library():
    try:
        from math_verify import parse, verify
    except ImportError as error:
        raise MdmkitError(
            f"answers to MATH are judged by math-verify, which is not installed ({error}): pip install math-verify."
        ) from error
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    return parse, verify


def _apart(a: Any, b: Any) -> bool:
    """True for numbers whose difference is small, but not for their size: math-verify compares 15 or 6 decimals."""
    from sympy import Expr, Float, Interval, MatrixBase, Tuple, UnevaluatedExpr

    if isinstance(a, Interval) and isinstance(b, Interval):
        return _apart(a.start, b.start) or _apart(a.end, b.end)
    if isinstance(a, (Tuple, MatrixBase)) and isinstance(b, (Tuple, MatrixBase)):
        return any(map(_apart, a, b))
    if not (isinstance(a, Expr) and isinstance(b, Expr) and a.is_number and b.is_number):
        return False
    if a == b or a.has(UnevaluatedExpr) or b.has(UnevaluatedExpr):  # a percentage may be meant as its number
        return False
    try:
        difference, size = abs((a - b).evalf(30)), max(abs(a.evalf(30)), abs(b.evalf(30)))
        return bool(difference > (DECIMAL if a.has(Float) or b.has(Float) else EXACT) * size)
    except (TypeError, ValueError, ArithmeticError):
        return False


def _in_a_process(answer: str, reference: str) -> bool:
    path = os.pathsep.join(filter(None, sys.path))
    try:
        done = subprocess.run(
            [sys.executable, "-c", _ALONE], input=json.dumps([answer, reference]), capture_output=True, text=True,
            timeout=SECONDS, env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False
    if done.returncode != 0:
        raise MdmkitError(f"an answer to MATH could not be judged in its own process: {done.stderr.strip()[-300:]}")
    return done.stdout.strip() == "True"


def _plain(text: str) -> str:
    """An expression without spacing, sizes and dollar signs."""
    text = re.sub(r"\\(?:left|right|big|Big|displaystyle|!|,|;|:| )|\$|\s", "", text)
    return re.sub(r"\\[dt]frac", r"\\frac", text).rstrip(".")
