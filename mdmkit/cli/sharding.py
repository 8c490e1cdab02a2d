"""`--shard I/N`: which part of a run a command decodes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mdmkit.cli.output import can_resume
from mdmkit.cli.saying import say
from mdmkit.decoding.batch import AUTO
from mdmkit.decoding.shards import Shard
from mdmkit.decoding.units import WINDOW
from mdmkit.errors import MdmkitError, shown

if TYPE_CHECKING:
    from mdmkit.model.files import Files


class ShardType(click.ParamType):
    """Which shard, from 1, and how many there are: `2/8`."""

    name = "I/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Shard:
        """Return the shard.

        Raises:
            MdmkitError: it is not of this form, or there is no such shard.
        """
        if isinstance(value, Shard):
            return value
        form = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", value)
        if form is None:
            raise MdmkitError(
                f"--shard {shown(value, 60)}: write which shard and how many there are, as in --shard 2/8."
            )
        number, of = map(int, form.groups())
        if not 1 <= number <= of:
            there = f"of {of} shards, the first is 1/{of} and the last is {of}/{of}" if of else "there is no such shard"
            raise MdmkitError(f"--shard {value}: {there}. Shards are counted from 1, as in --shard 1/8 to --shard 8/8.")
        return Shard(number, of)


def shard_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--shard I/N` (as `shard`, a `Shard` or None)."""
    return click.option(
        "--shard",
        type=ShardType(),
        help="Decode only this part of the prompts, as 2/8; `mdmkit join` joins the outputs of all parts.",
    )(command)


def check_shard(shard: Shard, output: Path | None, batch: int | str) -> None:
    """Refuse options that do not go with a shard.

    Raises:
        MdmkitError: the output of the shard could not be joined.
    """
    if output is None or not can_resume(output):
        where = "" if output is None else f", and {output} is a pipe or a device, which keeps no record of the run"
        raise MdmkitError(
            f"--shard {shard}: the outputs of all shards are joined by `mdmkit join`{where}. Give --output FILE.jsonl, "
            "another file for each shard."
        )
    if batch == AUTO:
        raise MdmkitError(
            f"--shard {shard}: shards with --batch auto could find different numbers, and joined they would not be one "
            "run. Give --batch N, the same for all shards."
        )


def check_joinable(shard: Shard, files: Files | None, model: str) -> None:
    """Refuse a model whose rows are files of their own.

    Raises:
        MdmkitError: the outputs could not be joined.
    """
    if files is not None:
        raise MdmkitError(
            f"--shard {shard}: the rows of {model} are {files.suffix} files, and `mdmkit join` joins only rows of one "
            "file. Leave --shard out, and give each command some of the prompts."
        )


def say_share(shard: Shard, mine: range, prompts: int, batch: int) -> None:
    """Say on standard error which prompts the shard decodes."""
    if mine:
        say(f"Shard {shard}: {_counted(mine)} of {prompts}, counted from 0.", err=True)
        return
    groups = -(-prompts // (WINDOW * batch))
    say(
        f"Shard {shard} has nothing to decode: prompts are shared in groups of {WINDOW} batches, and {prompts} "
        f"prompts in batches of {batch} are {groups} group{'s' if groups > 1 else ''}. Its output is empty; "
        "`mdmkit join` needs it. With fewer shards or a smaller --batch, every shard has something to decode.",
        err=True,
    )


def _counted(mine: range) -> str:
    return f"prompts {mine.start} to {mine.stop - 1}" if len(mine) > 1 else f"prompt {mine.start}"
