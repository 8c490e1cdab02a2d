"""`mdmkit samplers`: every installed preset, its needs, and when to use it."""

from __future__ import annotations

from typing import Any

import click

from mdmkit.cli.options import plugin_option
from mdmkit.cli.saying import say
from mdmkit.config.facts import Facts, facts
from mdmkit.installed import registry
from mdmkit.terminal import to_json

HEADS = ["sampler", "forwards", "cache", "for", "seeds", "paper"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@plugin_option
def samplers(as_json: bool) -> None:
    """List the installed presets: the needs of each, its paper's arXiv number, and when to use it.

    Forwards are counted per row and step. "Seeds agree" means that every seed gives the same result.
    """
    found = registry.default()
    rows = [facts(part, found) for part in found.of_kind("sampler")]
    if as_json:
        click.echo(to_json({"samplers": [_document(row) for row in rows]}, indent=2))
        return
    cells = [HEADS, *map(_cells, rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEADS))]
    for line, row in zip(cells, (None, *rows), strict=True):
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        if row is not None:
            say(f"    {_when(row)}")


def _cells(row: Facts) -> list[str]:
    least, most = row.forwards or (None, None)
    forwards = "" if least is None else str(least) if least == most else f"{least} to {most}"
    seeds = {True: "agree", False: "differ", None: ""}[row.deterministic]
    ids = row.about.get("arxiv")
    paper = ", ".join(map(str, ids)) if isinstance(ids, list) else _text(ids)
    return [row.part.name, forwards, row.cache or "", row.modality, seeds, paper]


def _when(row: Facts) -> str:
    if row.problem:
        return f"cannot be composed: {row.problem}"
    return _text(row.about.get("when")) or _text(row.part.summary)


def _text(value: Any) -> str:
    return " ".join(str(value).split()) if value is not None else ""


def _document(row: Facts) -> dict[str, Any]:
    about = {key: value for key, value in row.about.items() if value is not None}
    return {
        "name": row.part.name,
        "distribution": row.part.distribution,
        "version": row.part.version,
        "summary": row.part.summary,
        "forwards_per_step": None if row.forwards is None else dict(zip(("least", "most"), row.forwards, strict=True)),
        "cache": row.cache,
        "modality": row.modality,
        "deterministic": row.deterministic,
        "about": about,
        "problem": row.problem,
    }
