"""Print to the terminal: everything that may hold text of a model or of a file passes through here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mdmkit.terminal import visible

if TYPE_CHECKING:
    from rich.text import Text


def say(text: str, err: bool = False) -> None:
    """Print a line, with its control characters shown."""
    click.echo(visible(text), err=err)


def styled(text: str, style: str = "") -> Text:
    """The text for a console of rich, with its control characters shown. Brackets in it are no markup."""
    from rich.text import Text

    return Text(visible(text), style=style)
