"""Collect the prompts: texts, token ids and files, in the given order."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mdmkit._gone import names_gone
from mdmkit.cli.inputs import beside
from mdmkit.errors import MdmkitError, shown

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from mdmkit.canvas.prompt import Prompt
    from mdmkit.decoding.encodings import Encodings
    from mdmkit.model.backbone import Backbone
    from mdmkit.settings.plan import Plan


@dataclass
class Requests:
    """The prompts of a run.

    Attributes:
        lines: index of a prompt of a file -> its line, for errors.
        own: index -> `id` and `meta` of a prompt, which travel into its row.
    """

    prompts: list[Prompt]
    lines: dict[int, str] = field(default_factory=dict)
    own: dict[int, dict[str, Any]] = field(default_factory=dict)


def gather(texts: Sequence[str], ids: Sequence[str], file: Path | None, seed: int, key: str | None = None) -> Requests:
    """Collect the prompts of `--prompt`, `--prompt-ids` and `--prompts`, each seeded by its place in the list.

    If there is none of these, and standard input is a pipe or a file, its prompts are read.

    Raises:
        MdmkitError: an id is not a number; or the file is missing, empty, or holds a wrong line.
    """
    from mdmkit.cli.prompt_file import STANDARD_INPUT, holds_something, piped, read_file
    from mdmkit.decoding.prompts import as_prompt, read_prompts

    asked = Requests(read_prompts([*texts, *(_numbers(line) for line in ids)], seed))
    if file is None and not asked.prompts and piped():
        click.echo("No prompt given: reading prompts from standard input.", err=True)
        file = STANDARD_INPUT if holds_something() else None
    if file is None and key is not None:
        raise MdmkitError(f"--prompt-key {key} is for the objects of --prompts: give --prompts FILE too.")
    if file is None:
        return asked
    for where, prompt, own in read_file(file, key):
        index = len(asked.prompts)
        asked.lines[index] = where
        try:
            asked.prompts.append(beside(as_prompt(prompt, index, seed), file.parent))
        except MdmkitError as error:
            raise MdmkitError(f"{where}: {error}") from None
        if own:
            asked.own[index] = own
    return asked


def check_own(asked: Requests, inputs: Sequence[str]) -> None:
    """Refuse a prompt's own key that is an input of the model, or looks like one: it would be ignored in silence.

    Args:
        inputs: as `Backbone.inputs`.

    Raises:
        MdmkitError: it says where the key belongs.
    """
    for index, own in asked.own.items():
        for key in own.get("meta", ()):
            near = difflib.get_close_matches(key, inputs, n=1, cutoff=0.8)
            if not near:
                continue
            name = near[0]
            what = f"{name!r} is" if key == name else f"unknown key {shown(key)}. Did you mean {name!r}? It is"
            raise MdmkitError(
                f"{asked.lines[index]}: {what} an input of this model, which stands under 'inputs': write "
                f'"inputs": {{"{name}": …}}. Rename the key if it is one of your own.'
            )


def check_prompts(
    backbone: Backbone,
    prompts: Iterable[Prompt],
    plan: Plan,
    lines: dict[int, str],
    keep: Container[int] | None = None,
) -> Encodings:
    """Encode every prompt, so that a wrong prompt is refused, with its line, before any is decoded.

    Args:
        keep: indices of the prompts that are to be decoded; None: all. The others are only checked.

    Returns:
        The encoded prompts, for `decode_batches`: so no prompt is encoded twice.
    """
    from mdmkit.decoding.encodings import Encodings

    encodings, others = Encodings(backbone, plan), Encodings(backbone, plan)
    for prompt in prompts:
        try:
            if keep is None or prompt.index in keep:
                encodings.size(prompt)
            else:
                others.size(prompt)
                others.forget([prompt])
        except MdmkitError as error:
            where = lines.get(prompt.index)
            raise MdmkitError(f"{where}: {error}" if where else str(error)) from error
    return encodings


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise MdmkitError(
            f"--prompt-ids {shown(text)}: token ids are whole numbers, as in --prompt-ids '5 7 9'."
        ) from None


__getattr__ = names_gone("cli.requests")
