"""`mdmkit chat`: a conversation in the terminal, which shows how each answer fills."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mdmkit.cli.options import chat_option, composing, loading, names_sampler
from mdmkit.cli.run import limit_threads
from mdmkit.cli.saying import paragraph, styled
from mdmkit.config.resolution import DEFAULT_SAMPLER
from mdmkit.errors import MdmkitError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from mdmkit.cli.conversation import Conversation
    from mdmkit.loop.observe import Observer

PROMPT = "> "


@click.command()
@loading()
@click.option(
    "--sampler", "preset", help=f"Preset to answer with (default: the --config file's, else {DEFAULT_SAMPLER})."
)
@click.option("--system", metavar="TEXT", help="System message of the conversation.")
@chat_option
@click.option(
    "--length",
    type=click.IntRange(min=1),
    help="Masks of an answer, as plan.length (default: the config's, else the model's, else 128).",
)
@click.option("--seed", type=int, help="Seed of the conversation (default: the config's, else 0).")
@click.option("--live/--no-live", default=None, help="Show the answer filling (default: on a terminal).")
@composing
def chat(
    model: str,
    preset: str | None,
    config: Path | None,
    overrides: tuple[str, ...],
    system: str | None,
    chat_options: dict[str, Any],
    length: int | None,
    model_options: dict[str, Any],
    seed: int | None,
    device: str,
    dtype: str,
    live: bool | None,
) -> None:
    """Talk with a masked diffusion model, through its chat template.

    Every line is a message, or a command such as /help. Ctrl-C stops an answer, Ctrl-D ends the conversation.
    """
    from mdmkit.cli.conversation import Conversation, Recipe
    from mdmkit.config.layers import config_layer
    from mdmkit.model.loading import load

    if preset is None and not names_sampler(config):
        preset = DEFAULT_SAMPLER
    own = [f"plan.length={length}"] if length is not None else []
    own += [f"seed={seed}"] if seed is not None else []
    # A pipe, or anything else that is not a file, can be read only once.
    source = config if config is None or config.is_file() else config_layer(config)[1]
    recipe = Recipe(preset, source, (*overrides, *own))
    sampler = recipe.compose()
    backbone = load(model, device=device, dtype=dtype, **model_options)
    limit_threads(backbone)
    talk(Conversation(backbone, recipe, sampler, system, chat_options), model, live)


def talk(conversation: Conversation, model: str, live: bool | None) -> None:
    """Read lines until there are no more. Answers go to standard output, everything else to standard error."""
    from rich.console import Console

    answers, notes = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False, soft_wrap=True)
    typed = sys.stdin.isatty()
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # a byte that is not text only spoils its line
    if typed:
        _greet(conversation, model, notes)
    while True:
        try:
            _take(conversation, input(PROMPT if typed else "").strip(), answers, notes, live)
        except EOFError:
            if typed:
                notes.print()
            return
        except MdmkitError as error:
            click.echo(paragraph(f"Error: {error}"), err=True)
        except KeyboardInterrupt:
            if not typed:
                raise
            notes.print()


def _greet(conversation: Conversation, model: str, notes: Console) -> None:
    with contextlib.suppress(ImportError):  # without readline, only the terminal edits lines
        import readline  # noqa: F401
    sampler, length = conversation.sampler.name, conversation.length
    _note(notes, f"{model} · {sampler} · {length} masks an answer · /help lists the commands, Ctrl-D ends")


def _take(conversation: Conversation, line: str, answers: Console, notes: Console, live: bool | None) -> None:
    """Obey a command, or answer a message; `//` begins a message with a slash."""
    if line.startswith("/") and not line.startswith("//"):
        _note(notes, conversation.obey(line))
    elif line:
        _answer(conversation, line.removeprefix("/"), answers, notes, live)


def _answer(conversation: Conversation, line: str, answers: Console, notes: Console, live: bool | None) -> None:
    try:
        with _watching(live) as views:
            row = conversation.ask(line, views)
    except KeyboardInterrupt:
        _note(notes, "Stopped; the conversation is as it was before this message.")
        raise
    answers.print(styled(str(row.text)))
    _note(notes, f"H̃ {row.uncertainty:.3f} nats · NFE {row.nfe}")


def _note(console: Console, text: str) -> None:
    console.print(styled(text, "dim"))


@contextlib.contextmanager
def _watching(live: bool | None) -> Iterator[list[Observer]]:
    from rich.console import Console

    console = Console(stderr=True, force_terminal=live or None)
    if live is False or not console.is_terminal:
        yield []
        return
    from mdmkit.cli.live import AnswerView

    with AnswerView(console, 1) as view:
        yield [view]
