"""`mdmkit zoo demo`: the toolkit's first picture, a Sudoku solved by Info-Gain with the embedded model."""

from __future__ import annotations

import io
from pathlib import Path

import click

from mdmkit_zoo.puzzles import texts

PUZZLE = "___4/3___/1__2/____"


@click.command()
@click.option("--sampler", default="info_gain", show_default=True, help="Preset to solve it with.")
@click.option("--svg", type=click.Path(path_type=Path), help="Save the live view at four moments as an SVG picture.")
def demo(sampler: str, svg: Path | None) -> None:
    """Solve a sample Sudoku with the embedded model and say whether the answer is valid."""
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


def picture(sampler, backbone, path: Path) -> None:
    """Decode once more and print the live view's pictures, one under the other, into an SVG."""
    from rich.console import Console

    import mdmkit
    from mdmkit.cli.live import LiveView

    console = Console(record=True, width=48, file=io.StringIO(), force_terminal=True, color_system="truecolor")

    class Printer(LiveView):
        def draw(self, canvas: list[list[int]]) -> None:
            console.print(self.panel(canvas))
            self.before = canvas

    mdmkit.decode(sampler, backbone, [PUZZLE], observers=[Printer(console, 1)])
    path.parent.mkdir(parents=True, exist_ok=True)
    console.save_svg(str(path), title=f"mdmkit decode --sampler {sampler.name} --live")
