"""Words and punctuation as tokens, and back to text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MASK = "_"
PUNCTUATION = (".", ",", ";", ":", "?", "!")

_TOKEN = re.compile(r"_|[^\W_]+(?:['-][^\W_]+)*|\S")


def split(text: str) -> list[str]:
    """Cut text into lower-case words, punctuation and masks; any other character is a token by itself."""
    return _TOKEN.findall(text.lower().replace("’", "'"))


def join(tokens: Sequence[str]) -> str:
    """Write tokens as a line, without a space before punctuation."""
    return "".join(token if token in PUNCTUATION else f" {token}" for token in tokens).strip()
