"""`mdmkit trace`: make one page from trace files, to look at in a browser."""

from __future__ import annotations

from pathlib import Path

import click

from mdmkit.cli.output import check_suffix, check_targets, is_stdout, write_text
from mdmkit.cli.saying import say
from mdmkit.cli.target import Target


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--output", type=Target(streams=True), help="The page (default: the first file's name, ending in .html).")
@click.option("--overwrite", is_flag=True, help="Replace an --output that exists.")
@click.option(
    "--row", "rows", type=int, multiple=True, metavar="N", help="Only the row with this index; repeat for more."
)
def trace(files: tuple[Path, ...], output: Path | None, overwrite: bool, rows: tuple[int, ...]) -> None:
    """Write a page that shows traces (`mdmkit decode --trace`) step by step.

    The page is one HTML file that needs no server and no network. If there are several files, the first two are shown
    side by side.
    """
    output = output if output is not None else files[0].with_suffix(".html")
    check_targets({"--output": output}, {f"FILE {path}": path for path in files}, overwrite, resumable=False)
    check_suffix("--output", output, (".html", ".htm"), "the page is HTML: name it FILE.html.")

    from mdmkit.watch.page import page
    from mdmkit.watch.page.reading import read_trace

    read = {path: read_trace(path, rows) for path in dict.fromkeys(files)}
    text = page((str(path), document) for path, document in read.items())
    write_text("--output", output, text)
    count = sum(len(document["rows"]) for document in read.values())
    said = f"{output}: {count} row{'s' * (count != 1)}, {len(text) / 1e6:.1f} MB. Open it in a browser."
    say(said, err=is_stdout(output))
