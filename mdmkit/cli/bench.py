"""`mdmkit bench`: what a model costs on this machine, with each sampler, cache and batch."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mdmkit.cli.bench_samplers import composed, labelled, settings
from mdmkit.cli.cases import DEFAULT_LENGTH, Case, make_cases
from mdmkit.cli.cells import Cell, Drawn, measured
from mdmkit.cli.machine import machine
from mdmkit.cli.options import BatchType, loading, names, plugin_option
from mdmkit.cli.output import check_suffix, check_targets, is_stdout, write_text
from mdmkit.cli.run import limit_threads
from mdmkit.cli.saying import say
from mdmkit.cli.target import Target
from mdmkit.errors import MdmkitError
from mdmkit.terminal import to_json, visible
from mdmkit.version import __version__

if TYPE_CHECKING:
    from mdmkit.model.backbone import Backbone

# A run that takes longer says how far it is.
QUIET_SECONDS = 2.0


class Batches(BatchType):
    """Batches between commas."""

    name = "A,B,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = [super(Batches, self).convert(one, param, ctx) for one in names(value, "--batch")]
        twice = next((batch for batch in found if found.count(batch) > 1), None)
        if twice is not None:  # 1 and 01 are one number
            raise MdmkitError(f"--batch {value!r}: {twice} occurs twice.")
        return found


@click.command()
@loading()
@click.option(
    "--samplers", default="confidence,info_gain", show_default=True, metavar="A,B,…", help="Presets, or YAML files."
)
@click.option("--cache", "caches", metavar="A,B,…", help="Caches (default: those that the model supports).")
@click.option(
    "--batch",
    "batches",
    type=Batches(),
    default="1,8",
    show_default=True,
    help="Rows decoded together; auto: the largest of 64, 32, … (on a CPU 8, 4, …) that fits.",
)
@click.option(
    "--length",
    type=click.IntRange(min=1),
    help=f"Masks to fill (default: the sampler's, else the model's, else {DEFAULT_LENGTH}).",
)
@click.option("--prompt-length", type=click.IntRange(min=1), default=32, show_default=True, help="Tokens of a prompt.")
@click.option(
    "--repeats", type=click.IntRange(min=1), default=3, show_default=True, help="Decodes of each cell that are counted."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the prompts and of the decodes.")
@click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change one key of every sampler, such as plan.block=32; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--output",
    type=Target(streams=True),
    help="Write the table (.md, .txt) or the JSON document (.json) to this file.",
)
@click.option("--overwrite", is_flag=True, help="Replace an --output that exists.")
@plugin_option
def bench(
    model: str,
    model_options: dict[str, Any],
    device: str,
    dtype: str,
    samplers: str,
    caches: str | None,
    batches: list[int | str],
    length: int | None,
    prompt_length: int,
    repeats: int,
    seed: int,
    overrides: tuple[str, ...],
    as_json: bool,
    output: Path | None,
    overwrite: bool,
) -> None:
    """Measure decodes of random prompts: one line for each sampler, cache and batch.

    A cell is decoded once to warm up, then --repeats times. Its line shows the decode whose time is the median. Rows
    do not end at an end token, unless --set plan.early_stop=true is given, so every decode fills all masks.

    \b
    tokens/s      tokens written in all rows, divided by the seconds from the
                  admission of the prompts to the end of the last row
    first text s  seconds from the same start until the leftmost mask of a row
                  has a token that will not change; the median of the rows
    ms/step       milliseconds a step of the loop, and its parts:
      trunk       in the backbone's `forward`
      head        in the backbone's `project`
      rest        outside of both: sampler, statistics, loop
    NFE/token     row-forwards for each token
    peak MiB      on a GPU: the memory of tensors (max_memory_allocated); on a
                  CPU: the resident memory of the whole process, model and
                  libraries included

    On a GPU the parts are times of the device: an event in its queue before and after each call, so that nothing waits
    in between.

    A cell that the model does not support, or that runs out of memory, is a line with the reason.
    """
    check_targets({"--output": output}, {}, overwrite, resumable=False)
    check_suffix("--output", output, (".json", ".md", ".txt"), "the result is a table (.md, .txt) or JSON (.json).")
    from mdmkit.model.loading import load

    if as_json and output is not None and output.suffix.lower() in (".md", ".txt"):
        raise MdmkitError(
            f"--json and --output {output}: that file is a table. Name it FILE.json, or leave --json out."
        )
    labels, chosen = labelled(samplers), None if caches is None else names(caches, "--cache")
    overrides = settings(overrides, seed, length, chosen)
    # A wrong name is refused before a model loads.
    for name, cache in itertools.product(labels.values(), chosen or ["auto"]):
        composed(name, cache, overrides)
    backbone = load(model, device=device, dtype=dtype, **model_options)
    limit_threads(backbone)
    cases = make_cases(backbone, labels, chosen, batches, overrides)
    drawn = Drawn(backbone, prompt_length, seed)
    _check(backbone, model, cases, drawn)
    cells, stopped = _measure(cases, drawn, repeats)
    if not any(cell.costs for cell in cells):
        why = "; ".join(f"{cell.case.named}: {cell.reason.rstrip('.')}" for cell in cells)
        raise MdmkitError(f"no cell of {model} could be measured. {why}.")
    lengths = sorted({case.masks for case in cases})
    document = {
        "mdmkit": __version__,
        "model": model,
        "model-option": model_options,
        "machine": machine(backbone.device) | {"dtype": next(cell.costs[0].dtype for cell in cells if cell.costs)},
        "prompt_length": prompt_length,
        "length": lengths[0] if len(lengths) == 1 else lengths,
        "repeats": repeats,
        "seed": seed,
    }
    _show(document, cells, as_json, output)
    if stopped:
        say(f"Stopped: {len(cells)} of {len(cases)} cells were measured.", err=True)
        raise SystemExit(130)


def _check(backbone: Backbone, model: str, cases: list[Case], drawn: Drawn) -> None:
    """Refuse a model whose rows are no texts, and prompts that do not fit."""
    if backbone.files is not None:
        raise MdmkitError(
            f"mdmkit bench draws prompts of tokens, and model {model} fills images. Name a model of texts."
        )
    for masks in {case.masks: case for case in cases}:
        prompt = drawn(1, masks)
        try:
            backbone.encode(prompt, cases[0].sampler.plan)
        except MdmkitError as error:
            raise MdmkitError(
                f"a prompt of {drawn.length} tokens with {masks} masks does not fit model {model}: {error} Change "
                "--prompt-length or --length."
            ) from error


def _measure(cases: list[Case], drawn: Drawn, repeats: int) -> tuple[list[Cell], bool]:
    """Measure every case; return the cells, and whether Ctrl-C came before the end."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console, said = Console(stderr=True), time.monotonic()
    cells: list[Cell] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("decodes"))
    with Progress(
        *columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        line = bar.add_task("", total=len(cases) * (repeats + 1))
        for number, case in enumerate(cases):
            bar.update(line, description=escape(visible(case.named)), completed=number * (repeats + 1))
            try:
                cells.append(measured(case, drawn, repeats, lambda: bar.advance(line)))
            except KeyboardInterrupt:
                if not any(cell.costs for cell in cells):
                    raise
                return cells, True
            if not console.is_terminal and time.monotonic() - said > QUIET_SECONDS:
                said = time.monotonic()
                say(f"{case.named}: {len(cells)} of {len(cases)} cells", err=True)
    return cells, False


def _show(document: dict[str, Any], cells: list[Cell], as_json: bool, output: Path | None) -> None:
    """Print the result, or write it to the file, in the form that its suffix says."""
    from mdmkit.cli.costs_page import cell_document, page

    written = output is not None and output.suffix.lower() == ".json"
    if as_json or written:
        text = to_json(document | {"cells": list(map(cell_document, cells))}, indent=2)
    else:
        text = visible("\n".join(page(document, cells)))
    if output is None:
        click.echo(text)
        return
    write_text("--output", output, text + "\n")
    measured_ = sum(bool(cell.costs) for cell in cells)
    say(f"{output}: {measured_} of {len(cells)} cells could be measured.", err=is_stdout(output))
