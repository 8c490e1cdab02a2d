"""Print to the terminal: everything that may hold text of a model or of a file passes through here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from mdmkit.terminal import visible

if TYPE_CHECKING:
    from rich.text import Text


# An error or a note has at most so many characters, and a word in it: a user's value may have thousands.
MOST, MOST_OF_WORD = 3000, 300


def paragraph(text: str) -> str:
    """Return an error or a note for the terminal, with its control characters shown. Long ones lose their middle."""
    text = re.sub(rf"\S{{{MOST_OF_WORD + 1},}}", lambda found: _cut(found[0], MOST_OF_WORD), text)
    return visible(_cut(text, MOST))


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    ends = most // 3  # the fix is at the end of an error
    return f"{text[: 2 * ends]} … ({len(text) - 3 * ends} characters are left out) … {text[-ends:]}"


def say(text: str, err: bool = False) -> None:
    """Print a line, with its control characters shown."""
    click.echo(visible(text), err=err)


def styled(text: str, style: str = "") -> Text:
    """The text for a console of rich, with its control characters shown. Brackets in it are no markup."""
    from rich.text import Text

    return Text(visible(text), style=style)
