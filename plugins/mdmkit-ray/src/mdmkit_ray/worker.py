"""What runs in the process of a worker."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from mdmkit import MdmkitError, decode_unit
from mdmkit_ray.versions import differences, versions

if TYPE_CHECKING:
    from mdmkit import Outcome, Recipe, Unit


class Worker:
    """Decode units, one after the other."""

    def meet(self, recipe: Recipe, folder: str, asked: Mapping[str, str]) -> None:
        """Prepare for a decode: it has this recipe, and began in this folder, with these versions.

        Raises:
            MdmkitError: something has another version here.
        """
        with contextlib.suppress(OSError):  # a machine without the folder has no relative paths
            os.chdir(folder)
        with _here():
            if wrong := differences(asked, versions()):
                raise MdmkitError(f"{wrong}. Install the same versions on every machine.")
        self.recipe = recipe

    def decode(self, unit: Unit) -> Outcome:
        with _here():
            return decode_unit(self.recipe, unit)


@contextlib.contextmanager
def _here() -> Iterator[None]:
    """Name this machine in errors that are not of a row."""
    try:
        yield
    except MdmkitError as error:
        raise MdmkitError(f"a worker on {socket.gethostname()}: {error}") from error
