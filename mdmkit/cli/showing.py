"""Print the rows of `mdmkit decode`, and their number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdmkit.cli.output import is_stdout
from mdmkit.cli.saying import styled

if TYPE_CHECKING:
    from mdmkit.cli.results import Results


def show(results: Results, calls: int, seconds: float, infills: int) -> None:
    """Print the rows that were collected, and one line about all of them.

    Args:
        infills: the number of rows whose prompts held the masks themselves. It is printed, because a prompt may hold
            the text of a mask by chance.
    """
    from rich.console import Console

    file = results.record.file
    # If rows are written to standard output, nothing else is printed there.
    console = Console(highlight=False, soft_wrap=True, stderr=file is not None and is_stdout(file.path))
    for row in results.rows:
        asked = row["prompt"] if row["prompt"] is not None else " ".join(map(str, row["prompt_ids"]))
        console.print(styled(asked, "dim"))
        console.print(styled(str(row.get("file") or row["text"]), "bold"))
        console.print(styled(f"H̃ {row['uncertainty']:.3f} nats · NFE {row['nfe']}\n", "dim"))
    before = f" {results.finished - results.new} rows were there before" if results.finished > results.new else ""
    if before:
        before += f"; {results.again} of them were decoded again within these calls." if results.again else "."
    where = f" All are in {file.path}." if file is not None else ""
    filled = f" {infills} row{'s were infills' if infills > 1 else ' was an infill'}." if infills else ""
    rate = results.tokens / max(seconds, 1e-9)
    line = (
        f"{results.new} rows, {results.tokens} tokens in {seconds:.2f} s ({rate:.0f} tokens/s); "
        f"NFE {results.nfe} rows in {calls} calls{'.' if before or where or filled else ''}{before}{filled}{where}"
    )
    console.print(styled(line))
