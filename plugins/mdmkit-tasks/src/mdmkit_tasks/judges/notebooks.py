"""What stands around the code in an answer: the marks of a quotation, a shell's prompts, a notebook's commands."""

from __future__ import annotations

import re

from mdmkit_tasks.judges.names import parsed

_QUOTED = re.compile(r"(?:^[ \t]*>(?!>>)[^\n]*(?:\n|\Z))+", re.M)
_QUOTED_FENCE = re.compile(r"^[ \t]*>[ \t]*(?:```|~~~)", re.M)
_MARK = re.compile(r"^[ \t]*>[ \t]?", re.M)
_SESSION_DEFINES = re.compile(r"^>>> (?:@|(?:async )?def |class )", re.M)
# !pip install x, %matplotlib inline, %%time; a line that begins with != or with % and a space goes on with another one.
_COMMAND = re.compile(r"^(?:(?P<indent>[ \t]+)!|!|%%?(?=[A-Za-z]))(?!=)[^\n]*(?:(?<=\\)\n[^\n]*)*", re.M)


def unquoted(text: str) -> str:
    """A text in which quotations that have a fence stand without their marks `>`."""
    return _QUOTED.sub(lambda run: _MARK.sub("", run[0]) if _QUOTED_FENCE.search(run[0]) else run[0], text)


def code(block: str) -> str:
    """The Python of a block: of a shell's session that defines something, its input; without a notebook's commands."""
    if block.lstrip().startswith(">>>") and _SESSION_DEFINES.search(block):
        lines = [line.rstrip() for line in block.split("\n")]
        block = "\n".join(line[4:] for line in lines if line[:4] in (">>> ", "... ", ">>>", "..."))
    if parsed(block) is not None:
        return block
    return _COMMAND.sub(lambda found: f"{found['indent']}pass" if found["indent"] else "", block)
