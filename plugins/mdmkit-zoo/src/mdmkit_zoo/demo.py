"""`mdmkit zoo demo`: solve a Sudoku by Info-Gain with the embedded model."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mdmkit.cli.commands import Target
from mdmkit_zoo.puzzles import texts

if TYPE_CHECKING:
    from mdmkit import Backbone, Sampler

PUZZLE = "___4/3___/1__2/____"


@click.command()
@click.option("--sampler", default="info_gain", show_default=True, help="Preset to solve it with.")
@click.option("--svg", type=Target(), help="Save the live view at four moments as an SVG picture.")
def demo(sampler: str, svg: Path | None) -> None:
    """Solve a sample Sudoku with the embedded model, and tell if the answer is valid."""
    import mdmkit

    composed, backbone = mdmkit.compose(sampler), mdmkit.load("zoo:puzzles", device="cpu")
    row = mdmkit.decode(composed, backbone, [PUZZLE]).rows[0]
    valid = texts.judge("sudoku4", PUZZLE, row.text)
    click.echo("puzzle       answer")
    for asked, answer in zip(PUZZLE.split("/"), row.text.split("/"), strict=True):
        click.echo(f"{' '.join(asked)}      {' '.join(answer)}")
    click.echo(
        f"{'valid' if valid else 'NOT valid'} · H̃ {row.uncertainty:.3f} nats · NFE {row.nfe} ({sampler}, zoo:puzzles)"
    )
    if svg is not None:
        picture(composed, backbone, svg)
    if not valid:
        raise SystemExit(1)


def picture(sampler: Sampler, backbone: Backbone, path: Path) -> None:
    """Decode the samples again, and draw four moments of the live view, one below the other, as an SVG."""
    from rich.console import Console

    import mdmkit
    from mdmkit.cli.commands import LiveView, write_text

    console = Console(record=True, width=48, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    panels = []

    class Film(LiveView):
        def draw(self) -> None:
            panels.append(self.panel())

    mdmkit.decode(sampler, backbone, list(backbone.samples), observers=[Film(console, len(backbone.samples))])
    for share in range(4):
        console.print(panels[share * (len(panels) - 1) // 3])
    path.parent.mkdir(parents=True, exist_ok=True)
    title = f"mdmkit decode --sampler {sampler.name}"
    write_text("--svg", path, console.export_svg(title=title, code_format=_without_fonts()))


def _without_fonts() -> str:
    """Rich's picture without the web fonts that it would fetch; the reader's monospace font is used."""
    from rich._export_format import CONSOLE_SVG_FORMAT

    return re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
