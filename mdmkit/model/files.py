"""Decoded rows as files, for models whose rows are no texts: a backbone says how, nothing else of mdmkit knows what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from mdmkit.canvas.row import Row


class Files(Protocol):
    """What `Backbone.files` is.

    Attributes:
        suffix: of a row's file, such as `.png`.
        beside: suffixes of what `picture` writes beside its path.
    """

    suffix: str
    beside: Sequence[str]

    def save(self, item: Any, path: Path) -> None:
        """Write one item of `Backbone.decode` to a file, whatever the path's own suffix."""

    def sheet(self, items: Sequence[Any], path: Path) -> None:
        """Write several items to one file."""

    def picture(self, rows: Sequence[Row], path: Path) -> None:
        """Show how rows were filled, in the file `path` and, with the suffixes of `beside`, next to it."""
