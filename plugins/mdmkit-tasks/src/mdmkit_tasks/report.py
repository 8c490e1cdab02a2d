"""The files of an evaluation: JSON lines, CSV and a Markdown table of the cells, and the paired tests."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from mdmkit.cli.commands import write_text
from mdmkit_tasks.statistics import Paired, Summary

# Scores that are shares are shown in percent; log-likelihoods are not.
PERCENT = ("solved", "recovered", "accuracy", "pass@1", "win rate")


def write(folder: Path, facts: Mapping[str, Any], cells: Sequence[Summary], pairs: Sequence[Paired]) -> str:
    """Write `results.jsonl`, `results.csv`, `pairs.csv` and `results.md`; return the text of the last one."""
    lines = [json.dumps(_plain(asdict(cell)), ensure_ascii=False) + "\n" for cell in cells]
    put(folder / "results.jsonl", "".join(lines))
    put(folder / "results.csv", _csv(Summary, cells))
    put(folder / "pairs.csv", _csv(Paired, pairs))
    text = markdown(facts, cells, pairs)
    put(folder / "results.md", text)
    return text


def put(path: Path, text: str) -> None:
    """Replace a file in one piece. If it is a link, its target is replaced.

    Raises:
        MdmkitError: it cannot be written.
    """
    write_text("--output", path, text)


def markdown(facts: Mapping[str, Any], cells: Sequence[Summary], pairs: Sequence[Paired]) -> str:
    """The page of an evaluation."""
    out = [f"# {facts['title']}\n", _about(facts)]
    for task in dict.fromkeys(cell.task for cell in cells):
        own = [cell for cell in cells if cell.task == task]
        out += [f"## {task}\n", cells_table(own), _pairs_table([pair for pair in pairs if pair.task == task])]
    pictures = facts.get("pictures", [])
    out += [f"![{name}]({name})\n" for name in pictures]
    return "\n".join(part for part in out if part)


def cells_table(cells: Sequence[Summary]) -> str:
    """One row per sampler of a task."""
    share = cells[0].measure in PERCENT
    measures = list(dict.fromkeys(name for cell in cells for name in cell.measures))
    heads = ["sampler", cells[0].measure + (" %" if share else ""), "H̃", "NFE", "calls", "tokens/forward"]
    heads += ["tokens/s", "seconds", "peak MB", *measures]
    rows = [
        [
            cell.sampler,
            _with_error(cell.score, cell.score_error, share),
            _with_error(cell.uncertainty, cell.uncertainty_error, False),
            f"{cell.nfe:.1f}",
            f"{cell.calls:.0f}",
            f"{cell.tokens_per_forward:.2f}",
            f"{cell.tokens_per_second:.0f}",
            f"{cell.seconds:.1f}",
            "" if cell.memory is None else f"{cell.memory / 1e6:.0f}",
            *(f"{cell.measures[name]:.3f}" if name in cell.measures else "" for name in measures),
        ]
        for cell in cells
    ]
    return table(heads, rows)


def _about(facts: Mapping[str, Any]) -> str:
    prompts = ", ".join(f"{name} {number}" for name, number in facts["prompts"].items())
    return (
        f"Model `{facts['model']}`; prompts: {prompts}; seeds {facts['seeds']}; {facts['versions']}.\n\n"
        "Means over prompts ± standard error, each prompt averaged over its seeds first. H̃: cumulative uncertainty, "
        "nats. NFE: row-forwards per prompt; calls: of the model, in all. Samplers that take equally many steps do not "
        "take equally many forwards: read the score together with NFE.\n"
    )


def _pairs_table(pairs: Sequence[Paired]) -> str:
    if not pairs:
        return ""
    heads = ["first", "second", "difference", "wins", "ties", "losses", "test", "p", "p (Holm)"]
    rows = [
        [
            pair.first,
            pair.second,
            f"{pair.difference:+.3f} ± {pair.error:.3f}",
            str(pair.wins),
            str(pair.ties),
            str(pair.losses),
            pair.test,
            f"{pair.p:.2g}",
            f"{pair.holm:.2g}",
        ]
        for pair in pairs
    ]
    return table(heads, rows)


def _with_error(value: float, error: float, share: bool) -> str:
    scale, digits = (100, 1) if share else (1, 2)
    tail = "" if math.isnan(error) else f" ± {scale * error:.{digits}f}"
    return f"{scale * value:.{digits}f}{tail}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _csv(kind: type, items: Sequence[Any]) -> str:
    out = io.StringIO()
    named = sorted({name for item in items for name in getattr(item, "measures", {})})
    plain = [field.name for field in fields(kind) if field.name not in ("measures", "per_seed")]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*plain, *named])
    for item in items:
        measured = getattr(item, "measures", {})
        writer.writerow([*(getattr(item, name) for name in plain), *(measured.get(name, "") for name in named)])
    return out.getvalue()


def _plain(value: Any) -> Any:
    """A value for JSON, which has no nan."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
