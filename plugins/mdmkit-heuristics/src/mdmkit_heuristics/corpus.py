"""`mdmkit corpus`: count a corpus with a model's tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mdmkit import MdmkitError
from mdmkit.cli.commands import Target, read_whole, say

if TYPE_CHECKING:
    from mdmkit import Backbone


@click.group()
def corpus() -> None:
    """Token frequencies of a corpus, for scores that discount common tokens."""


@corpus.command("build")
@click.argument("texts", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", required=True, help="The model whose tokenizer counts.")
@click.option("--output", required=True, type=Target(), help="The table to write.")
@click.option("--source", default="", help="A description of the corpus; stored in the table.")
@click.option("--overwrite", is_flag=True, help="Replace the table if it exists.")
def build(texts: tuple[Path, ...], model: str, output: Path, source: str, overwrite: bool) -> None:
    """Count the tokens of UTF-8 TEXTS, line by line, with a model's tokenizer."""
    _check_output(output, texts, overwrite)
    lines = [line for path in texts for line in _lines(path)]
    import mdmkit
    from mdmkit_heuristics.frequency import count

    backbone = mdmkit.load(model, device="cpu")
    pieces, left_out = _tokens(backbone, lines)
    if not any(pieces):
        raise MdmkitError(
            f"the tokenizer of {model} can read nothing in {', '.join(map(str, texts))}: there is no word to count."
        )
    table = count(pieces, backbone, model, source or ", ".join(path.name for path in texts))
    table.save(output)
    say(f"{output}: {table.total} tokens, {len(table.counts)} of {table.vocab} ids; {left_out} words left out")


@corpus.command("check")
@click.argument("table")
@click.option("--model", required=True, help="The model to decode.")
def check(table: str, model: str) -> None:
    """Say whether TABLE, a file or the name of a shipped one, fits a model's tokenizer."""
    import mdmkit
    from mdmkit_heuristics.frequency import read

    found = read(table)
    found.check(mdmkit.load(model, device="cpu"), table)
    say(f"{table} fits {model}: {found.total} tokens of {found.source}")


def _check_output(output: Path, texts: tuple[Path, ...], overwrite: bool) -> None:
    """Refuse, before anything is counted, an output that exists or cannot be written."""
    try:
        if output.exists() and not output.is_file():
            raise MdmkitError(f"--output {output}: that is a directory, a pipe or a device. Name a file.")
        if output.exists() and not overwrite:
            raise MdmkitError(f"--output {output}: the file exists. Name another, or add --overwrite to replace it.")
        if not output.resolve().parent.is_dir():
            raise MdmkitError(f"--output {output}: its directory does not exist. Create it first.")
        if any(output.resolve() == path.resolve() for path in texts):
            raise MdmkitError(
                f"--output {output}: that is one of the texts, which the table would replace. Name another file."
            )
    except OSError as error:  # the name is too long, or links form a loop
        raise MdmkitError(f"--output {output}: {error.strerror or error}. Name another file.") from error


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in read_whole(path).decode().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise MdmkitError(f"{path} cannot be read as UTF-8 text: {reason}.") from error


def _tokens(backbone: Backbone, lines: list[str]) -> tuple[list[list[int]], int]:
    """Each line's ids, and the number of words left out. A line that the tokenizer refuses is read word by word."""
    pieces, left_out = [], 0
    for line in lines:
        try:
            pieces.append(_ids(backbone, line))
        except MdmkitError:
            for word in line.split():
                try:
                    pieces.append(_ids(backbone, word))
                except MdmkitError:
                    left_out += 1
    return pieces, left_out


def _ids(backbone: Backbone, text: str) -> list[int]:
    from mdmkit import Plan, Prompt

    # Only the words: tokens that a chat template or a tokenizer adds around a line are not part of the corpus.
    canvas, _ = backbone.encode([Prompt(text=text, infill=False, length=1, chat=False)], Plan())
    kept = canvas.fixed[0].tolist()
    special = {canvas.mask_id, *backbone.forbidden, *backbone.ends}
    return [token for token, keep in zip(canvas.tokens[0].tolist(), kept, strict=True) if keep and token not in special]
