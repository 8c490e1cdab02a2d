"""Text for a terminal: control characters in what a model or a file says are shown, never obeyed."""

from __future__ import annotations

import json
import re
from typing import Any

# C0 but for tab and newline, DEL and C1; and the marks that reorder a line: U+061C, U+200E/F, U+202A-E, U+2066-9.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Escape the control characters of a text: ESC becomes `\\x1b`. Tabs and newlines stay."""
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def to_json(value: Any, indent: int | None = None) -> str:
    """Write JSON with letters of all scripts as they are, and control characters escaped: it is read as the same."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
