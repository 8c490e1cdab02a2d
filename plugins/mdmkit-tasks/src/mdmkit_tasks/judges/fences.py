"""The blocks of code in an answer, by its Markdown fences."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence

from mdmkit_tasks.judges.names import parsed
from mdmkit_tasks.judges.notebooks import code, unquoted

# So many later fences are tried as the end of a block.
LOOKED_AT = 20
_FENCE = re.compile(r"(?P<indent>[^\S\n]*)(?P<marks>```+|~~~+)[ \t]*(?P<info>[^`]*)")
# What may follow the marks of a block that can be Python: python3.11, {.python}, py title="x.py", or nothing.
_PYTHON = re.compile(r"(?:\{\s*\.?)?(?:i?python[\d.]*|py[\d.]*|pycon)?(?![\w+#-])", re.I)


def blocks(answer: str, is_code: Callable[[str], bool]) -> list[str] | None:
    """Find the blocks that can be Python; None if the answer has no fence.

    A last block may be left open. A first fence that names no language closes a block that was never opened, if the
    text before it is code. A fence inside a string of the program, such as a docstring, closes nothing.

    Args:
        is_code: tells if a text without fences is code.
    """
    out: list[str] = []
    held: list[str] = []  # lines since the last fence
    opened: re.Match[str] | None = None
    fences = 0
    lines = unquoted(answer).split("\n")
    for number, line in enumerate(lines):
        fence = _FENCE.fullmatch(line.rstrip())
        if fence is None or (opened is not None and not _ends(held, lines, number, opened)):
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


def _ends(held: Sequence[str], lines: Sequence[str], number: int, opened: re.Match[str]) -> bool:
    """True if the line with this number ends a block.

    It does not if it stands in a string: then the block is Python up to a later fence or up to the end, but not here.
    """
    if not _closes(lines[number], opened):
        return False
    if not any(line.count(quotes) % 2 for line in held for quotes in ('"""', "'''")) or _is_python(held):
        return True
    later = [end for end in range(number + 1, len(lines)) if _closes(lines[end], opened)]
    return not any(_is_python([*held, *lines[number:end]]) for end in (*later[:LOOKED_AT], len(lines)))


def _closes(line: str, opened: re.Match[str]) -> bool:
    fence = _FENCE.fullmatch(line.rstrip())
    return fence is not None and not fence["info"] and fence["marks"].startswith(opened["marks"])


def _is_python(lines: Sequence[str]) -> bool:
    return parsed(textwrap.dedent("\n".join(lines))) is not None


def _python(opened: re.Match[str], lines: list[str]) -> list[str]:
    """The code of a block without the indent of its fence, if its language is Python or is not named."""
    if not _PYTHON.match(opened["info"]):
        return []
    indent = len(opened["indent"])
    shared = all(line.startswith(opened["indent"]) or not line.strip() for line in lines)
    return [code("\n".join(line[indent:] if shared else line for line in lines))]
