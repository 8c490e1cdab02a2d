"""Write decoded rows to files, for models whose rows are not texts. Only the backbone knows the format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from mdmkit.canvas.row import Row


class Files(Protocol):
    """The interface of `Backbone.files`.

    Attributes:
        suffix: the suffix of a row's file, such as `.png`.
        beside: suffixes of the other files that `picture` writes beside its path.
    """

    suffix: str
    beside: Sequence[str]

    def save(self, item: Any, path: Path) -> None:
        """Write one item of `Backbone.decode` to a file, whatever the suffix of the path is."""

    def intact(self, path: Path) -> bool:
        """True if a file that `save` wrote can still be read as it was. Without this method, any file counts."""
        return path.is_file()

    def sheet(self, items: Sequence[Any], path: Path) -> None:
        """Write several items to one file."""

    def picture(self, rows: Sequence[Row], path: Path) -> None:
        """Show how rows were filled: write the file `path`, and files with the suffixes of `beside` next to it."""
