"""`mdmkit zoo`: list the models, and make them again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from mdmkit import MdmkitError
from mdmkit.cli.commands import Target
from mdmkit_zoo.catalogue import ENTRIES
from mdmkit_zoo.demo import demo

_output = click.option(
    "--output",
    type=Target(directory=True, file_okay=False),
    help="Directory to write; it must be new or empty.  [default: ./NAME]",
)


@click.group()
def zoo() -> None:
    """Small models that come with the toolkit, and the recipes that made them."""


@zoo.command("list")
def list_models() -> None:
    """List the models: name, size, summary, licence, and the command that makes it."""
    for entry in ENTRIES.values():
        size = f"{entry.megabytes:.1f} MB" if entry.megabytes else "absent"
        click.echo(f"zoo:{entry.name:<10} {size:>8}  {entry.summary}; {entry.licence}")
        click.echo(f"{'':<15} {'':>8}  {entry.made_by}")


@zoo.group()
def train() -> None:
    """Train a model from its seed."""


@train.command("puzzles")
@_output
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where to compute."
)
@click.option("--steps", type=click.IntRange(min=1), help="Training steps.  [default: the recipe's]")
def train_puzzles(output: Path | None, device: str, steps: int | None) -> None:
    """Train zoo:puzzles: about an hour on two CPU cores."""
    output = _new(output, "puzzles")
    import torch
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from mdmkit_zoo.puzzles.train import Recipe, train

    if device == "cuda" and not torch.cuda.is_available():
        raise MdmkitError("--device cuda was asked for, and torch sees no CUDA device here. Use --device cpu.")
    recipe = Recipe() if steps is None else replace(Recipe(), steps=steps)
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("training", total=recipe.steps, loss=float("nan"))
        train(
            output, recipe, device=device, report=lambda step, loss: progress.update(bar, completed=step + 1, loss=loss)
        )
    click.echo(f"wrote {output}; decode with: mdmkit decode --model {output}")


@train.command("digits")
@_output
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where to compute."
)
def train_digits(output: Path | None, device: str) -> None:
    """Train zoo:digits and its judge: about ten minutes on a CPU core. Needs mdmkit-image and scikit-learn."""
    output = _new(output, "digits")
    try:
        import diffusers  # type: ignore[import-untyped, unused-ignore]  # noqa: F401
    except ImportError:
        raise MdmkitError(
            "zoo:digits is made of diffusers' classes, which come with: pip install mdmkit-image."
        ) from None
    from mdmkit_zoo.digits.train import train

    def report(stage: str, step: int, loss: float) -> None:
        if step % 100 == 0:
            click.echo(f"{stage} step {step}, loss {loss:.4f}", err=True)

    train(output, device=device, report=report)
    click.echo(f"wrote {output}; decode with: mdmkit decode --model {output} --prompt 3 --output three.png")


@zoo.group()
def build() -> None:
    """Count a model from text."""


@build.command("bigram")
@click.argument("text", type=click.Path(path_type=Path))
@_output
def build_bigram(text: Path, output: Path | None) -> None:
    """Count zoo:bigram from a plain-text file.

    The text of the shipped model comes from two Debian packages:

    \b
    apt-get install diatheke sword-text-web
    diatheke -b engWEB2015eb -f internal -o f \\
        -k "Gen 1:1-Mal 4:6; Mat 1:1-Rev 22:21" > web.txt
    """
    output = _new(output, "bigram")
    from mdmkit_zoo.bigram.build import build

    click.echo(f"wrote {build(text, output)}")


@zoo.group()
def convert() -> None:
    """Convert a published checkpoint."""


@convert.command("antibody")
@click.argument("wheel", type=click.Path(path_type=Path))
@_output
def convert_antibody(wheel: Path, output: Path | None) -> None:
    """Convert zoo:antibody from the wheel of sapiens 1.0.4 (`pip download --no-deps sapiens==1.0.4`)."""
    output = _new(output, "antibody")
    from mdmkit_zoo.antibody.convert import convert

    click.echo(f"wrote {convert(wheel, output)}; decode with: mdmkit decode --model {output}")


def _new(output: Path | None, name: str) -> Path:
    """The directory to write; refused if it is not empty."""
    output = output or Path(name)
    if output.exists() and any(output.iterdir()):
        raise MdmkitError(
            f"{output} exists and is not empty. Name another directory with --output, or remove it first."
        )
    return output


zoo.add_command(demo)


@zoo.command()
@click.option(
    "--output",
    type=Target(),
    default=Path("docs/results/puzzles.md"),
    show_default=True,
    help="Page to write.",
)
@click.option(
    "--count", type=click.IntRange(min=2), default=500, show_default=True, help="Held-out instances per task."
)
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="Decodes per instance.")
@click.option(
    "--trial-count",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Other instances, to choose the variant on.",
)
@click.option("--batch", type=click.IntRange(min=1), default=250, show_default=True, help="Rows decoded together.")
@click.option("--render", is_flag=True, help="Only write the page again, from the numbers beside it.")
def results(output: Path, count: int, seeds: int, trial_count: int, batch: int, render: bool) -> None:
    """Judge the samplers on held-out puzzles and write the page of results (about an hour at the defaults)."""
    import time

    from mdmkit_zoo.puzzles import page

    if render:
        if not output.with_suffix(".json").is_file():
            raise MdmkitError(
                f"{output.with_suffix('.json')} does not exist: run `mdmkit zoo results` without --render."
            )
        page.render(output)
        click.echo(f"wrote {output}")
        return
    began = time.monotonic()
    page.write_page(
        output,
        count=count,
        seeds=seeds,
        batch=batch,
        trial_count=trial_count,
        say=lambda line: click.echo(f"[{time.monotonic() - began:6.0f} s] {line}", err=True),
    )
    click.echo(f"wrote {output}")
