"""The part of docs/results/speed.md that `benchmarks/lookahead.py` measures."""

from __future__ import annotations

from typing import Any

GREEDY = """\
### What a lookahead costs

Info-Gain with N = 8 and no bypass beside greedy decoding of the same prompts: {size}, 32 + {length} tokens, batch 1.
Made by `python benchmarks/lookahead.py`, in pairs in one process.

* **A**: row-forwards a step of Info-Gain: its alternatives that differ. Greedy decoding has 1.
* **Info-Gain / greedy**: time of the one divided by that of the other.
* **Model alone**: the same for trunk and head only. The forwards of both decodes are run again without the loop, the
  head at the open positions of the block.
* **Ratio**: the first divided by the second, the median over the pairs; in brackets the least and the most. The aim is
  1.15.
"""
PREFIX = """\
### Alternatives over a long prefix

One forward of 8 alternatives of a row, with so many frozen columns besides the window. *Copies*: each alternative gets
a copy of the row's keys and values, in every layer. *One read*: all read those of the row. *Attention* is that of one
layer, with what is copied for it; *forward* is the whole trunk. With fewer than {fewest} keys mdmkit makes copies.
"""
KEYS = ("copies", "shared", "ratio")


def machine_of(data: dict[str, Any]) -> str:
    """The line about the machine on which these rows were measured."""
    facts = data["machine"]
    return (
        f"{facts['cpu']}, {facts['cores']} cores, {facts['threads']} thread; torch {facts['torch']}, transformers "
        f"{facts['transformers']}, Python {facts['python']}.\n"
    )


def lookahead(data: dict[str, Any]) -> str:
    """Both tables."""
    greedy = ["cache, block", "A", "Info-Gain, ms a step", "greedy, ms a step", "Info-Gain / greedy", "model alone"]
    three = ["copies, ms", "one read, ms", "ratio"]
    prefix = [
        "cache, block",
        "frozen columns",
        *(f"{part}: {key}" for part in ("attention", "forward") for key in three),
    ]
    how = ["ratio", "pairs", "clock", "load", "date"]
    return "\n".join(
        (
            GREEDY.format(**data),
            machine_of(data),
            _table([*greedy, *how], [_greedy(row) + _how(row) for row in data["greedy"]]),
            PREFIX.format(**data),
            _table([*prefix, *how[1:]], [_prefix(row) + _how(row) for row in data["prefix"]]),
        )
    )


def _greedy(row: dict[str, Any]) -> list[str]:
    numbers = [f"{row[key]:.2f}" for key in ("alternatives", "ahead_ms", "greedy_ms", "wall", "least")]
    return [row["cell"], *numbers, f"{row['ratio']:.2f} ({row['from']:.2f} to {row['to']:.2f})"]


def _prefix(row: dict[str, Any]) -> list[str]:
    numbers = [f"{row[f'{part}_{key}']:.2f}" for part in ("attention", "forward") for key in KEYS]
    return [row["cell"], f"{row['prefix']:,}", *numbers]


def _how(row: dict[str, Any]) -> list[str]:
    return [str(row["pairs"]), row["clock"], f"{row['load']:.1f}", row["date"]]


def _table(heads: list[str], rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in (heads, ["---"] * len(heads), *rows))
