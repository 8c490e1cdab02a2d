"""Info-Gain and its variants against their rivals at equal forwards: writes docs/results/info_gain.md and .json.

    python benchmarks/info_gain.py development   # every variant, on prompts that are not reported
    python benchmarks/info_gain.py reported      # the chosen one and its rivals, on other prompts
    python benchmarks/info_gain.py page          # the page anew from the numbers

Numbers are kept cell by cell (task, K, case): a run that is started again goes on where it stopped.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import click
from info_gain_cases import REPORTED, TRIALS, Task, composed, tasks
from info_gain_page import page

import mdmkit

OUTPUT = Path(__file__).resolve().parents[1] / "docs/results/info_gain.json"
TOKENS_PER_STEP = (1, 2, 4)
BATCH = 100


def measure(task: Task, k: int, case: dict[str, Any], prompts: list[Any], seeds: list[int]) -> dict[str, Any]:
    """One cell: per prompt what its answers are worth on average; forwards and calls of a prompt."""
    sampler = composed(case, task, k)
    worth, rows, calls = [], 0.0, 0.0
    for seed in seeds:
        decoded = mdmkit.decode(sampler, task.backbone, prompts, seed=seed, batch=BATCH)
        worth.append(task.worth(prompts, decoded))
        rows += decoded.nfe["rows"] / len(prompts) / len(seeds)
        calls += decoded.nfe["calls"] / math.ceil(len(prompts) / BATCH) / len(seeds)
    values = [mean(of) for of in zip(*worth, strict=True)]
    return {
        "mean": mean(values),
        "error": stdev(values) / math.sqrt(len(values)),
        "rows": rows,
        "calls": calls,
        "values": [round(value, 4) for value in values],
    }


def run(part: str, cases: dict[str, dict[str, Any]], count: int, seeds: list[int], only: tuple[str, ...]) -> None:
    for task in tasks():
        if only and task.name not in only:
            continue
        prompts = task.prompts(count, part == "development")
        easy = task.better > 0  # one token at a time nearly every puzzle is solved
        for k in TOKENS_PER_STEP[easy:]:
            for name, case in cases.items():
                key = {"part": part, "task": task.name, "tokens_per_step": k, "case": name}
                if any(all(cell[field] == key[field] for field in key) for cell in load()["cells"]):
                    continue
                cell = measure(task, k, case, prompts, seeds)
                if part == "development":
                    del cell["values"]
                click.echo(
                    f"{task.name} K={k} {name}: {cell['mean']:.3f} ± {cell['error']:.3f}, {cell['rows']:.1f} rows"
                )
                # Read again: another process may have added cells of other tasks.
                data = load()
                data["cells"].append({**key, "prompts": len(prompts), "seeds": seeds, **cell})
                save(data)


def load() -> dict[str, Any]:
    return json.loads(OUTPUT.read_text(encoding="utf-8")) if OUTPUT.exists() else {"cells": []}


def save(data: dict[str, Any]) -> None:
    """Write the numbers whole, one cell a line, cases in their order."""
    order = {"development": [*TRIALS], "reported": [*REPORTED]}
    data["cells"].sort(key=lambda cell: (cell["part"], order[cell["part"]].index(cell["case"])))
    lines = ",\n".join(json.dumps(cell) for cell in data["cells"])
    temporary = OUTPUT.with_suffix(".new")
    temporary.write_text(f'{{"cells": [\n{lines}\n]}}\n', encoding="utf-8")
    temporary.replace(OUTPUT)


@click.command()
@click.argument("part", type=click.Choice(["development", "reported", "page"]))
@click.option("--count", default=None, type=int, help="Prompts of each task: 100 in development, else 200.")
@click.option("--task", "only", multiple=True, help="This task only; may be repeated.")
def main(part: str, count: int | None, only: tuple[str, ...]) -> None:
    if part == "development":
        run(part, TRIALS, count or 100, [99], only)
    elif part == "reported":
        run(part, REPORTED, count or 200, [0], only)
    else:
        save(load())
        OUTPUT.with_suffix(".md").write_text(page(load()), encoding="utf-8")


if __name__ == "__main__":
    main()
