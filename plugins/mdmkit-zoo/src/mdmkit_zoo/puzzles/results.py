"""`mdmkit zoo results`: the samplers judged on held-out puzzles; writes the page `docs/results/puzzles.md`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import mdmkit
from mdmkit_zoo.puzzles import texts

if TYPE_CHECKING:
    from mdmkit import Backbone, Sampler

BASELINES = ("random", "left_to_right", "confidence", "entropy", "margin")
TOKENS_PER_STEP = (1, 2, 4)
NO_BYPASS = {"bypass": None}
# The variants of Info-Gain, as changes of its preset. The paper's is the first, and is always reported.
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {},
    "no bypass": {"select": NO_BYPASS},
    "K-scaled": {"lookahead": {"reference": "matched", "normalise": "k_mean"}},
    "total": {"lookahead": {"reference": "matched", "normalise": "sum"}},
    "total, surprisal": {"lookahead": {"reference": "matched", "normalise": "sum", "cost": "surprisal"}},
    "K-scaled, no bypass": {"lookahead": {"reference": "matched", "normalise": "k_mean"}, "select": NO_BYPASS},
    "total, no bypass": {"lookahead": {"reference": "matched", "normalise": "sum"}, "select": NO_BYPASS},
    "K-scaled, surprisal, no bypass": {
        "lookahead": {"reference": "matched", "normalise": "k_mean", "cost": "surprisal"},
        "select": NO_BYPASS,
    },
    "total, surprisal, no bypass": {
        "lookahead": {"reference": "matched", "normalise": "sum", "cost": "surprisal"},
        "select": NO_BYPASS,
    },
}
# A one-way product has only one prompt, so its tokens are drawn; the other two puzzles are solved greedily.
TEMPERATURE = {"sudoku4": 0.0, "countdown": 0.0, "one_way": 1.0}
# Another seed than 0, that of the judged prompts: these prompts choose the best variant.
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
        """Standard error of the solved share over instances; each instance is averaged over the seeds."""
        per_instance = [mean(column) for column in zip(*self.solved, strict=True)]
        return stdev(per_instance) / math.sqrt(len(per_instance))


def factors_first(order: list[int]) -> bool:
    """True if the factors of `7*8=0111000` were written, on average, before the product's bits."""
    return mean(order[i] for i in (0, 2)) < mean(order[4:])


def composed(name: str, task: str, tokens_per_step: int, changes: dict[str, dict[str, Any]] | None = None) -> Sampler:
    plan, draw = {"tokens_per_step": tokens_per_step}, {"temperature": TEMPERATURE[task]}
    return mdmkit.compose(name, config={"plan": plan, "draw": draw, **(changes or {})})


def product_given_factors(backbone: Backbone) -> float:
    """Share of the 64 products that greedy decoding gets right when both factors are given."""
    prompts = [text[: texts.PROMPT["one_way"]] + texts.MASK * 7 for text in texts.one_way_texts()]
    decoded = mdmkit.decode(mdmkit.compose("confidence"), backbone, prompts, batch=240)
    return mean(texts.judge("one_way", p, t) for p, t in zip(prompts, decoded.texts, strict=True))


def trial(backbone: Backbone, count: int, batch: int, say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Solved shares of every variant, on prompts that are not judged later: variant -> `task K` -> share."""
    found: dict[str, dict[str, float]] = {name: {} for name in VARIANTS}
    for task in texts.TASKS:
        # Countdown has few held-out prompts, and all are judged, so variants are tried on trained prompts.
        prompts = texts.instances(task, count, TRIAL_SEED, trained=task == "countdown")
        for k in TOKENS_PER_STEP[1:]:
            for name, changes in VARIANTS.items():
                decoded = mdmkit.decode(
                    composed("info_gain", task, k, changes), backbone, prompts, seed=99, batch=batch
                )
                right = [texts.judge(task, p, t) for p, t in zip(prompts, decoded.texts, strict=True)]
                found[name][f"{task} K={k}"] = mean(right)
                say(f"trial {task} K={k} {name}: {mean(right):.3f}")
    return found


def measure(
    backbone: Backbone, best: str, count: int, seeds: int, batch: int, say: Callable[[str], None]
) -> Iterator[Cell]:
    """Judge every sampler on `count` held-out prompts of every task, for every K, over the seeds."""
    candidates: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {name: (name, {}) for name in BASELINES}
    candidates["info_gain"] = ("info_gain", {})
    candidates[f"info_gain ({best})"] = ("info_gain", VARIANTS[best])
    for task in texts.TASKS:
        prompts = texts.instances(task, min(count, texts.available(task)), 0)
        for k in TOKENS_PER_STEP:
            for label, (name, changes) in candidates.items():
                cell = Cell(task, k, label)
                # Nothing is drawn, so every seed gives the same result and only one is decoded.
                fixed = TEMPERATURE[task] == 0 and name not in ("random", "info_gain")
                for seed in range(1 if fixed else seeds):
                    cell.add(
                        prompts,
                        mdmkit.decode(composed(name, task, k, changes), backbone, prompts, seed=seed, batch=batch),
                    )
                say(f"{task} K={k} {label}: {cell.share:.3f}")
                yield cell
