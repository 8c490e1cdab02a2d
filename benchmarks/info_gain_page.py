"""The page of results, from the numbers of `benchmarks/info_gain.py`."""

from __future__ import annotations

import math
from statistics import mean, stdev
from typing import Any

Cells = dict[tuple[str, str, int, str], dict[str, Any]]
TASKS = {
    "bigram": "Exact model",
    "sudoku4": "Sudoku 4×4",
    "countdown": "Countdown",
    "one_way": "One-way products",
}


def page(data: dict[str, Any]) -> str:
    cells = {(c["part"], c["task"], c["tokens_per_step"], c["case"]): c for c in data["cells"]}
    parts = [INTRODUCTION]
    reported = [key for key in cells if key[0] == "reported"]
    if reported:
        parts += [REPORTED_ABOUT]
        for task, title in TASKS.items():
            parts.append(f"### {title}\n\n{_reported(cells, task)}")
        parts.append(f"{DIFFERENCES_ABOUT}\n{_differences(cells)}")
    parts.append(f"{DEVELOPMENT_ABOUT}\n{_development(cells)}")
    return "\n".join([*parts, CLOSING])


def shown(cell: dict[str, Any] | None) -> str:
    """Gaps in nats, solved shares in %."""
    if cell is None:
        return ""
    if cell["task"] == "bigram":
        return f"{cell['mean']:.2f} ± {cell['error']:.2f}"
    return f"{100 * cell['mean']:.1f} ± {100 * cell['error']:.1f}"


def _columns(cells: Cells, part: str) -> list[tuple[str, int]]:
    return list(dict.fromkeys((task, k) for at, task, k, _ in sorted(cells, key=_order) if at == part))


def _order(key: tuple[str, str, int, str]) -> tuple[int, int]:
    return list(TASKS).index(key[1]), key[2]


def _reported(cells: Cells, task: str) -> str:
    own = {key: cell for key, cell in cells.items() if key[:2] == ("reported", task)}
    steps = sorted({key[2] for key in own})
    rows = []
    for case in dict.fromkeys(key[3] for key in own):
        row = [case]
        for k in steps:
            cell = own["reported", task, k, case]
            row += [shown(cell), f"{cell['rows']:.1f}", f"{cell['calls']:.1f}"]
        rows.append(row)
    unit = "nats" if task == "bigram" else "%"
    heads = ["sampler", *(head for k in steps for head in (f"K={k}, {unit}", "rows", "calls"))]
    return _table(heads, rows)


def _differences(cells: Cells) -> str:
    columns = _columns(cells, "reported")
    rows = []
    for case in dict.fromkeys(key[3] for key in cells if key[0] == "reported"):
        if case == CHOSEN:
            continue
        row = [case]
        for task, k in columns:
            ours, theirs = (cells["reported", task, k, name] for name in (CHOSEN, case))
            sign = -1 if task == "bigram" else 1
            pairs = [sign * (a - b) for a, b in zip(ours["values"], theirs["values"], strict=True)]
            error = stdev(pairs) / math.sqrt(len(pairs))
            score = mean(pairs) / error if error else 0.0
            row.append(f"**{score:+.1f}**" if abs(score) > 2 else f"{score:+.1f}")
        rows.append(row)
    return _table([f"`{CHOSEN}` against", *(f"{TASKS[task]}, K={k}" for task, k in columns)], rows)


def _development(cells: Cells) -> str:
    columns = _columns(cells, "development")
    rows = []
    for case in dict.fromkeys(key[3] for key in cells if key[0] == "development"):
        row = [case]
        for task, k in columns:
            cell = cells.get(("development", task, k, case))
            row.append(f"{shown(cell)} ({cell['rows']:.0f})" if cell else "")
        rows.append(row)
    return _table(["variant", *(f"{TASKS[task]}, K={k}" for task, k in columns)], rows)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
