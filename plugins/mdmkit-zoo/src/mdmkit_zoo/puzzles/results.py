"""`mdmkit zoo results`: the samplers judged on held-out puzzles; writes the page `docs/results/puzzles.md`."""

from __future__ import annotations

import datetime
import json
import math
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import mdmkit
from mdmkit_zoo.puzzles import texts

if TYPE_CHECKING:
    from mdmkit import Backbone, Sampler

BASELINES = ("random", "left_to_right", "confidence", "entropy", "margin")
TOKENS_PER_STEP = (1, 2, 4)
# The objective's variants that were tried; the paper's comes first and is always reported.
VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "matched, K-scaled": {"reference": "matched", "normalise": "k_mean"},
    "matched, total": {"reference": "matched", "normalise": "sum"},
    "matched, K-scaled, surprisal": {"reference": "matched", "normalise": "k_mean", "cost": "surprisal"},
    "matched, total, surprisal": {"reference": "matched", "normalise": "sum", "cost": "surprisal"},
}
# A one-way product starts from nothing, so its tokens are drawn; the other two puzzles are solved greedily.
TEMPERATURE = {"sudoku4": 0.0, "countdown": 0.0, "one_way": 1.0}
# Drawn apart from the judged prompts' seed 0, to choose the best variant on.
TRIAL_SEED = 1


@dataclass
class Cell:
    """One sampler on one task at one K: per seed, per instance."""

    task: str
    tokens_per_step: int
    sampler: str
    solved: list[list[bool]] = field(default_factory=list)
    uncertainty: list[float] = field(default_factory=list)
    nfe: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    factors_first: list[float] = field(default_factory=list)

    def add(self, prompts: list[str], decoded: Any) -> None:
        rows = decoded.rows
        self.solved.append([texts.judge(self.task, p, row.text) for p, row in zip(prompts, rows, strict=True)])
        self.uncertainty.append(mean(row.uncertainty for row in rows))
        self.nfe.append(mean(row.nfe for row in rows))
        self.rate.append(sum(p.count(texts.MASK) for p in prompts) / decoded.seconds)
        if self.task == "one_way":
            self.factors_first.append(mean(factors_first(row.order) for row in rows))

    @property
    def share(self) -> float:
        return mean(mean(seed) for seed in self.solved)

    @property
    def error(self) -> float:
        """Standard error of the solved share over instances, each instance averaged over the seeds."""
        per_instance = [mean(column) for column in zip(*self.solved, strict=True)]
        return stdev(per_instance) / math.sqrt(len(per_instance))


def factors_first(order: list[int]) -> bool:
    """Whether the factors' digits of `12*7=0001010100` were written, on average, before the product's bits."""
    return mean(order[i] for i in (0, 1, 3)) < mean(order[5:])


def composed(name: str, task: str, tokens_per_step: int, lookahead: dict[str, Any] | None = None) -> Sampler:
    nodes: dict[str, Any] = {
        "plan": {"tokens_per_step": tokens_per_step},
        "draw": {"temperature": TEMPERATURE[task]},
    }
    return mdmkit.compose(name, **nodes, **({"lookahead": lookahead} if lookahead else {}))


def product_given_factors(backbone: Backbone) -> float:
    """Share of the 720 products that greedy decoding gets right when both factors are given."""
    prompts = [text[: texts.PROMPT["one_way"]] + texts.MASK * 10 for text in texts.one_way_texts()]
    decoded = mdmkit.decode(mdmkit.compose("confidence"), backbone, prompts, batch=240)
    return mean(texts.judge("one_way", p, t) for p, t in zip(prompts, decoded.texts, strict=True))


def trial(backbone: Backbone, count: int, batch: int, say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Solved shares of every variant on prompts that are not judged later: variant -> `task K` -> share."""
    found: dict[str, dict[str, float]] = {name: {} for name in VARIANTS}
    for task in texts.TASKS:
        prompts = texts.instances(task, count, TRIAL_SEED)
        for k in TOKENS_PER_STEP[1:]:
            for name, lookahead in VARIANTS.items():
                decoded = mdmkit.decode(
                    composed("info_gain", task, k, lookahead), backbone, prompts, seed=99, batch=batch
                )
                right = [texts.judge(task, p, t) for p, t in zip(prompts, decoded.texts, strict=True)]
                found[name][f"{task} K={k}"] = mean(right)
                say(f"trial {task} K={k} {name}: {mean(right):.3f}")
    return found


def measure(
    backbone: Backbone, best: str, count: int, seeds: int, batch: int, say: Callable[[str], None]
) -> Iterator[Cell]:
    """Judge every sampler on `count` held-out prompts of every task, for every K, over the seeds."""
    candidates: dict[str, tuple[str, dict[str, Any] | None]] = {name: (name, None) for name in BASELINES}
    candidates["info_gain"] = ("info_gain", None)
    candidates[f"info_gain ({best})"] = ("info_gain", VARIANTS[best])
    for task in texts.TASKS:
        prompts = texts.instances(task, count, 0)
        for k in TOKENS_PER_STEP:
            for label, (name, lookahead) in candidates.items():
                cell = Cell(task, k, label)
                # Greedy tokens and no proposals: every seed gives the same, so one is decoded.
                fixed = TEMPERATURE[task] == 0 and name not in ("random", "info_gain")
                for seed in range(1 if fixed else seeds):
                    cell.add(
                        prompts,
                        mdmkit.decode(composed(name, task, k, lookahead), backbone, prompts, seed=seed, batch=batch),
                    )
                say(f"{task} K={k} {label}: {cell.share:.3f}")
                yield cell


def write_page(
    output: Path, *, count: int, seeds: int, batch: int, trial_count: int, say: Callable[[str], None]
) -> None:
    """Measure everything and write the page, and its numbers beside it as JSON."""
    backbone = mdmkit.load("zoo:puzzles", device="cpu")
    product = product_given_factors(backbone)
    say(f"products right given both factors: {product:.3f}")
    trials = trial(backbone, trial_count, batch, say)
    best = max((name for name in VARIANTS if name != "paper"), key=lambda name: mean(trials[name].values()))
    cells = list(measure(backbone, best, count, seeds, batch, say))
    facts = {"count": count, "seeds": seeds, "trial_count": trial_count, "best": best, "product": product}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page(cells, trials, facts), encoding="utf-8")
    numbers = {"facts": facts, "trials": trials, "cells": [_numbers(cell) for cell in cells]}
    output.with_suffix(".json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


def _numbers(cell: Cell) -> dict[str, Any]:
    kept = {k: v for k, v in vars(cell).items() if k != "solved"}
    return kept | {"solved_per_seed": [mean(s) for s in cell.solved], "solved": cell.share, "error": cell.error}


TITLES = {"sudoku4": "Sudoku 4×4", "countdown": "Countdown", "one_way": "One-way products"}
ABOUT = {
    "sudoku4": "4 to 10 givens, solved greedily (temperature 0). Solved: the rules hold and the givens are kept.",
    "countdown": "Three numbers and a target are given, two equations are filled in greedily. Solved: every equation is "
    "right, each number is used once, the target is reached.",
    "one_way": "Nothing is given but `*` and `=`: the model writes a two-digit factor, a one-digit factor and their "
    "product in ten bits, tokens drawn at temperature 1. Solved: the product is right. *Factors first*: the share of rows "
    "whose factor digits were written, on average, before the product's bits.",
}


def page(cells: list[Cell], trials: dict[str, dict[str, float]], facts: dict[str, Any]) -> str:
    import torch
    import transformers

    command = (
        f"mdmkit zoo results --count {facts['count']} --seeds {facts['seeds']} --trial-count {facts['trial_count']}"
    )
    lines = [
        "# Samplers on `zoo:puzzles`",
        "",
        f"{facts['count']} held-out instances per task, K = 1, 2, 4 tokens per step, {facts['seeds']} seeds. Generated by `{command}` on "
        f"{datetime.date.today()}, CPU ({platform.machine()}, {torch.get_num_threads()} thread), torch {torch.__version__}, "
        f"transformers {transformers.__version__}.",
        "",
        "Solved is the mean over instances and seeds ± the standard error over instances (each averaged over its seeds). "
        "H̃ (cumulative uncertainty, nats) and NFE (row-forwards) are means per instance. Samplers that draw nothing give the "
        "same for every seed and were decoded once. Tokens/s were taken in one process on a shared machine: compare them "
        "within a table only.",
        "",
        "A Sudoku is held out as a masked puzzle (its solution, one of 288 grids, is known to the model under other masks); a "
        "Countdown by its numbers and target; a one-way product starts from nothing, so there is no puzzle to hold out. "
        f"Given both factors, greedy decoding gets {100 * facts['product']:.1f} % of the 720 products right.",
        "",
    ]
    for task in texts.TASKS:
        lines += [f"## {TITLES[task]}", "", ABOUT[task], ""]
        first = task == "one_way"
        lines.append("| K | sampler | solved % | H̃ | NFE | tokens/s |" + (" factors first % |" if first else ""))
        lines.append("|---|---|---|---|---|---|" + ("---|" if first else ""))
        for cell in cells:
            if cell.task == task:
                row = (
                    f"| {cell.tokens_per_step} | {cell.sampler} | {100 * cell.share:.1f} ± {100 * cell.error:.1f} "
                    f"| {mean(cell.uncertainty):.2f} | {mean(cell.nfe):.1f} | {mean(cell.rate):.0f} |"
                )
                lines.append(row + (f" {100 * mean(cell.factors_first):.0f} |" if first else ""))
        lines.append("")
    columns = list(next(iter(trials.values())))
    lines += [
        "## Variants of the objective",
        "",
        f"Solved % on {facts['trial_count']} other held-out prompts, one seed: how the second `info_gain` row of the tables "
        "above was chosen (the best mean). All with N = 8, τ_pos = 0.1, γ = 0.8, scope block.",
        "",
        "| variant | " + " | ".join(columns) + " | mean |",
        "|---|" + "---|" * (len(columns) + 1),
    ]
    for name, shares in trials.items():
        numbers = " | ".join(f"{100 * shares[c]:.1f}" for c in columns)
        lines.append(f"| {name} | {numbers} | {100 * mean(shares.values()):.1f} |")
    return "\n".join(lines) + "\n"
