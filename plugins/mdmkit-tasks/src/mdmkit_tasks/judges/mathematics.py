"""Answers to MATH: compared as mathematics by math-verify (Hugging Face), never as substrings."""

from __future__ import annotations

import logging
import re

from mdmkit import MdmkitError
from mdmkit_tasks.judges.numbers import NEXT, boxed


def same_value(answer: str, reference: str) -> bool:
    r"""True if an answer's final expression equals the reference, the content of MATH's `\boxed{…}`.

    Raises:
        MdmkitError: math-verify is not installed.
    """
    parse, verify = _library()
    text = NEXT.split(answer, maxsplit=1)[0]
    inside = boxed(text)
    reference = boxed(reference) or reference
    if inside is not None and _plain(inside) == _plain(reference):
        return True
    said = parse(f"\\boxed{{{inside}}}" if inside is not None else text)
    return bool(said) and bool(verify(parse(f"\\boxed{{{reference}}}"), said))


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


def _plain(text: str) -> str:
    """An expression without spacing, sizes and dollar signs."""
    text = re.sub(r"\\(?:left|right|big|Big|displaystyle|!|,|;|:| )|\$|\s", "", text)
    return re.sub(r"\\[dt]frac", r"\\frac", text).rstrip(".")
