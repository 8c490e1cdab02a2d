"""Show the library's warnings as notes: one line each on standard error, and each text once."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import click

from mdmkit.cli.saying import paragraph, say
from mdmkit.errors import MdmkitWarning

# A file of thousands of prompts may have a note for each. Further notes are only counted.
SHOWN = 20


@contextlib.contextmanager
def notes_shown() -> Iterator[None]:
    """Print every `MdmkitWarning` as a note; other warnings look as always."""
    said: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", MdmkitWarning)
        others = warnings.showwarning

        def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
            if not issubclass(category, MdmkitWarning):
                others(message, category, *place, **more)
            elif (text := str(message)) not in said:
                said.add(text)
                if len(said) <= SHOWN:
                    click.echo(paragraph(f"Note: {text}"), err=True)

        warnings.showwarning = show
        try:
            yield
        finally:
            if len(said) > SHOWN:
                say(f"Note: {len(said) - SHOWN} more notes are not shown.", err=True)
