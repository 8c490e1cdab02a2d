"""The blocks of code in an answer, by its Markdown fences."""

from __future__ import annotations

import re
from collections.abc import Callable

_FENCE = re.compile(r"(?P<indent>[ \t]*)(?P<marks>```+|~~~+)[ \t]*(?P<info>[^`]*)")
# What may follow the marks of a block that can be Python: python3.11, {.python}, py title="x.py", or nothing.
_PYTHON = re.compile(r"(?:\{\s*\.?)?(?:i?python[\d.]*|py[\d.]*|pycon)?(?![\w+#-])", re.I)


def blocks(answer: str, is_code: Callable[[str], bool]) -> list[str] | None:
    """Find the blocks that can be Python; None if the answer has no fence.

    A last block may be left open. A first fence that names no language closes a block that was never opened, if the
    text before it is code.

    Args:
        is_code: tells if a text without fences is code.
    """
    out: list[str] = []
    held: list[str] = []  # lines since the last fence
    opened: re.Match[str] | None = None
    fences = 0
    for line in answer.split("\n"):
        fence = _FENCE.fullmatch(line.rstrip())
        if fence is None or (opened is not None and not _closes(fence, opened)):
            held.append(line)
            continue
        fences += 1
        if opened is not None:
            out += _python(opened, held)
            opened = None
        elif fences == 1 and not fence["info"] and is_code("\n".join(held)):
            out.append("\n".join(held))
        else:
            opened = fence
        held = []
    if opened is not None:
        out += _python(opened, held)
    return out if fences else None


def _closes(fence: re.Match[str], opened: re.Match[str]) -> bool:
    return not fence["info"] and fence["marks"].startswith(opened["marks"])


def _python(opened: re.Match[str], lines: list[str]) -> list[str]:
    """The block without the indent of its fence, if its language is Python or is not named."""
    if not _PYTHON.match(opened["info"]):
        return []
    indent = len(opened["indent"])
    shared = all(line.startswith(opened["indent"]) or not line.strip() for line in lines)
    return ["\n".join(line[indent:] if shared else line for line in lines)]
