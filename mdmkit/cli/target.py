"""The type of options that name what a command writes: a file or a directory, and never `-`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mdmkit.errors import MdmkitError


class Target(click.Path):
    """A path to write to.

    Args:
        directory: True: it names a directory.
        streams: True: the command can write to standard output, as `/dev/stdout`.
        more: as of `click.Path`.
    """

    def __init__(self, directory: bool = False, streams: bool = False, **more: Any):
        super().__init__(path_type=Path, **more)
        self.directory, self.streams = directory, streams

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path.

        Raises:
            MdmkitError: it is `-`, which other programs take for standard output.
        """
        if str(value) != "-":
            return super().convert(value, param, ctx)
        option = param.opts[0] if param is not None else "output"
        if self.streams:
            raise MdmkitError(f"{option} -: name /dev/stdout to write to standard output, or name a file.")
        what = "directory" if self.directory else "file"
        raise MdmkitError(
            f"{option} -: this is written into a {what}, and not to standard output. Name a {what}, or ./- for one of "
            "that name."
        )
