"""The result of `mdmkit bench` as a table, and as a JSON document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mdmkit.cli.cells import Cell
from mdmkit.watch.cost import median

MIB = 1 << 20
HEADS = (
    *("sampler", "cache", "batch", "tokens/s", "first text s"),
    *("ms/step", "trunk", "head", "rest", "NFE/token", "peak MiB"),
)
# The columns before this one are texts; numbers are aligned to the right.
NUMBERS = 2


def table(cells: Sequence[Cell]) -> list[str]:
    """Lines of a Markdown table, one for each cell; a last column has the reasons of cells that were not measured."""
    rows = [HEADS, *([*_name(cell), *_numbers(cell)] for cell in cells)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, "|" + "|".join(_rule(i, width) for i, width in enumerate(widths)) + "|")
    if any(cell.reason for cell in cells):
        notes = ["not measured because", "---", *(" ".join(cell.reason.split()).replace("|", "/") for cell in cells)]
        lines = [f"{line} {note} |" for line, note in zip(lines, notes, strict=True)]
    return lines


def _name(cell: Cell) -> list[str]:
    auto = " (auto)" if isinstance(cell.case.batch, str) else ""
    return [cell.case.label, cell.case.cache, f"{cell.batch}{auto}"]


def _numbers(cell: Cell) -> list[str]:
    if not cell.costs:
        return [""] * (len(HEADS) - 3)
    cost = median(cell.costs)
    parts = (cost.seconds, cost.trunk, cost.head, cost.rest)
    return [
        f"{cost.tokens_per_second:.1f}",
        f"{cost.first_text:.3f}",
        *(f"{cost.ms_per_step(seconds):.2f}" for seconds in parts),
        f"{cost.nfe_per_token:.2f}",
        "" if cell.peak is None else f"{cell.peak / MIB:.0f}{'' if cell.own_peak else '*'}",
    ]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    padded = (
        text.ljust(width) if i < NUMBERS else text.rjust(width)
        for i, (text, width) in enumerate(zip(row, widths, strict=True))
    )
    return f"| {' | '.join(padded)} |"


def _rule(column: int, width: int) -> str:
    return "-" * (width + 2) if column < NUMBERS else "-" * (width + 1) + ":"


def page(document: dict[str, Any], cells: Sequence[Cell]) -> Iterator[str]:
    """Lines of the whole text: the machine, what was decoded, the table, and what needs to be known to read it."""
    of = document["machine"]
    versions = ", ".join(f"{name} {of[name]}" for name in ("mdmkit", "torch", "transformers") if of[name])
    where = of["device"] if of["device_type"] == "cuda" else f"{of['device']}, {of['threads']} threads"
    where = where.replace(", 1 threads", ", 1 thread")
    yield f"{document['model']}: {where}; {of['dtype']}; {versions}, Python {of['python']}; {of['date']}"
    repeats = document["repeats"]
    median_of = f"the median of {repeats} decodes" if repeats > 1 else "one decode"
    yield f"{document['prompt_length']} prompt tokens, {document['length']} to fill; {median_of}, after one to warm up"
    yield ""
    yield from table(cells)
    if any(not cell.own_peak and cell.costs for cell in cells):
        yield ""
        yield "* the peak of the whole process so far: this system cannot measure that of a cell"


def cell_document(cell: Cell) -> dict[str, Any]:
    """A cell as JSON writes it."""
    known = {
        "sampler": cell.case.label,
        "cache": cell.case.cache,
        "batch": cell.batch,
        "asked": cell.case.batch,
        "config": cell.case.sampler.config,
    }
    if not cell.costs:
        return known | {"reason": cell.reason}
    cost = median(cell.costs)
    parts = {"total": cost.seconds, "trunk": cost.trunk, "head": cost.head, "rest": cost.rest}
    return known | {
        "tokens": cost.tokens,
        "seconds": cost.seconds,
        "tokens_per_second": cost.tokens_per_second,
        "seconds_to_first_text": cost.first_text,
        "steps": cost.steps,
        "ms_per_step": {name: cost.ms_per_step(seconds) for name, seconds in parts.items()},
        "nfe": {"rows": cost.rows, "calls": cost.calls, "per_token": cost.nfe_per_token},
        "peak_bytes": cell.peak,
        "peak_of": "cell" if cell.own_peak else "process",
        "seconds_of_each": [each.seconds for each in cell.costs],
    }
