"""The type of options that name what a command writes: a file, a directory, or standard output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mdmkit.errors import MdmkitError


class Target(click.Path):
    """A path to write to.

    Args:
        directory: True: it names a directory.
        streams: True: the command can write to standard output, which `-` and `/dev/stdout` name.
        more: as of `click.Path`.
    """

    def __init__(self, directory: bool = False, streams: bool = False, **more: Any):
        super().__init__(path_type=Path, **more)
        self.directory, self.streams = directory, streams

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path.

        Raises:
            MdmkitError: it is `-`, and the command cannot write to standard output.
        """
        if str(value) != "-":
            return super().convert(value, param, ctx)
        if self.streams:
            return Path("/dev/stdout")
        option = param.opts[0] if param is not None else "output"
        what = "directory" if self.directory else "file"
        raise MdmkitError(
            f"{option} -: this is written into a {what}, and not to standard output. Name a {what}, or ./- for one of "
            "that name."
        )
