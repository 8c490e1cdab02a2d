"""The options that show, check and decode share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mdmkit import registry

Command = Callable[..., Any]


def _add_plugins(ctx: click.Context, param: click.Parameter, files: tuple[str, ...]) -> None:
    for file in files:
        registry.default().add_file(file)


def plugin_option(command: Command) -> Command:
    """Add `--plugin FILE`, which registers the file's parts before the command runs; the command gets no argument."""
    return click.option(
        "--plugin",
        metavar="FILE",
        multiple=True,
        expose_value=False,
        is_eager=True,
        callback=_add_plugins,
        help="Add the parts of a Python file; may be repeated.",
    )(command)


def composing(command: Command) -> Command:
    """Add `--config FILE` (as `config`, a path or None), `--set KEY=VALUE` (as `overrides`) and `--plugin FILE`."""
    command = plugin_option(command)
    command = click.option(
        "--set",
        "overrides",
        metavar="KEY=VALUE",
        multiple=True,
        help="Change one key, such as plan.length=64 or select.candidates=4; may be repeated.",
    )(command)
    return click.option(
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Read the sampler's configuration from a YAML file.",
    )(command)
