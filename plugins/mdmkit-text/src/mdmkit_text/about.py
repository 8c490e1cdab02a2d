"""Errors about one model name it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from mdmkit import MdmkitError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def about(what: str) -> Iterator[None]:
    """Put `what` before the text of an MdmkitError that is raised inside."""
    try:
        yield
    except MdmkitError as error:
        raise MdmkitError(f"{what}: {error}") from error
