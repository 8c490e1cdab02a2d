"""From judged rows to numbers: means with standard errors, and paired tests between samplers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Rows = Sequence[Mapping[str, Any]]

# Resamples of the permutation test, if there are more sign patterns; else all are tried, and the test is exact.
RESAMPLES = 9999
# Means of equal scores differ by this much at most, because sums are rounded.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Summary:
    """One sampler on one task.

    Attributes:
        score, uncertainty, nfe: means over prompts, each prompt averaged over its seeds first.
        score_error, uncertainty_error: standard errors over prompts; nan for a single one.
        per_seed: mean score of every seed.
        nfe: row-forwards per row; `calls`: model calls in all; `tokens`: generated in all.
        tokens_per_forward: generated tokens per row-forward.
        memory: peak, bytes; None: other processes decoded all rows.
        measures: means of the judge's other measures.
    """

    task: str
    sampler: str
    measure: str
    prompts: int
    seeds: int
    score: float
    score_error: float
    per_seed: list[float]
    uncertainty: float
    uncertainty_error: float
    nfe: float
    nfe_rows: int
    calls: float
    tokens: int
    tokens_per_second: float
    tokens_per_forward: float
    seconds: float
    memory: int | None
    measures: dict[str, float] = field(default_factory=dict)


def generated(row: Mapping[str, Any]) -> int:
    """Tokens that a row's decode wrote."""
    return sum(tick >= 0 for tick in row["order"])


def table(rows: Rows, key: str) -> np.ndarray:
    """One number of every row, float [seeds, prompts]: every seed has the same prompts."""
    seeds = sorted({row["seed"] for row in rows})
    indices = sorted({row["index"] for row in rows})
    out = np.full((len(seeds), len(indices)), np.nan)
    for row in rows:
        out[seeds.index(row["seed"]), indices.index(row["index"])] = row[key]
    return out


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean over prompts and its standard error, of [seeds, prompts]: seeds of a prompt are not independent."""
    per_prompt = values.mean(0)
    error = per_prompt.std(ddof=1) / math.sqrt(len(per_prompt)) if len(per_prompt) > 1 else math.nan
    return float(per_prompt.mean()), float(error)


def summarize(task: str, sampler: str, measure: str, rows: Rows) -> Summary:
    """Compute the numbers of a cell; all its rows must be judged."""
    score = table(rows, "score")
    uncertainty, uncertainty_error = mean_and_error(table(rows, "uncertainty"))
    mean, error = mean_and_error(score)
    tokens, nfe = sum(map(generated, rows)), sum(row["nfe"] for row in rows)
    seconds = sum(row["seconds"] for row in rows)
    named = sorted({name for row in rows for name in row["measures"]})
    return Summary(
        task=task,
        sampler=sampler,
        measure=measure,
        prompts=score.shape[1],
        seeds=score.shape[0],
        score=mean,
        score_error=error,
        per_seed=score.mean(1).tolist(),
        uncertainty=uncertainty,
        uncertainty_error=uncertainty_error,
        nfe=nfe / len(rows),
        nfe_rows=nfe,
        calls=sum(row["calls"] for row in rows),
        tokens=tokens,
        tokens_per_second=tokens / max(seconds, 1e-9),
        tokens_per_forward=tokens / max(nfe, 1),
        seconds=seconds,
        memory=max((row["memory"] for row in rows if row["memory"] is not None), default=None),
        measures={n: float(np.mean([row["measures"][n] for row in rows if n in row["measures"]])) for n in named},
    )


@dataclass(frozen=True)
class Paired:
    """Two samplers on the same prompts.

    Attributes:
        difference: first minus second, mean over prompts; `error` its standard error.
        wins, ties, losses: of the first, by prompt.
        p: two-sided; `holm` the same after Holm's correction for all pairs of the task.
        test: `mcnemar` (exact; every difference is −1, 0 or 1) or `sign flips` (permutation test of the mean; ties are
            left out, since a zero has no sign).
    """

    task: str
    first: str
    second: str
    difference: float
    error: float
    wins: int
    ties: int
    losses: int
    test: str
    p: float
    holm: float


def compare(task: str, cells: Mapping[str, Rows]) -> list[Paired]:
    """Test every two samplers of a task on the prompts that they share."""
    from scipy.stats import binomtest

    scores = {name: table(rows, "score").mean(0) for name, rows in cells.items()}
    found = []
    for first, second in itertools.combinations(scores, 2):
        gaps = scores[first] - scores[second]
        gaps[np.abs(gaps) < ROUNDING] = 0.0
        wins, losses = int((gaps > 0).sum()), int((gaps < 0).sum())
        if np.isin(gaps, (-1.0, 0.0, 1.0)).all():
            test, p = "mcnemar", binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
        else:
            test, p = "sign flips", _sign_flips(gaps[gaps != 0])
        error = gaps.std(ddof=1) / math.sqrt(len(gaps)) if len(gaps) > 1 else math.nan
        found.append((first, second, float(gaps.mean()), float(error), wins, losses, test, float(p)))
    corrected = holm([pair[-1] for pair in found])
    return [
        Paired(task, first, second, gap, error, wins, len(scores[first]) - wins - losses, losses, test, p, adjusted)
        for (first, second, gap, error, wins, losses, test, p), adjusted in zip(found, corrected, strict=True)
    ]


def _sign_flips(gaps: np.ndarray) -> float:
    from scipy.stats import permutation_test

    if len(gaps) < 2:  # turned around, a single difference is as large
        return 1.0
    rng = np.random.default_rng(0)
    tested = permutation_test((gaps,), np.mean, permutation_type="samples", n_resamples=RESAMPLES, rng=rng)
    return float(tested.pvalue)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down correction of p-values (Scand. J. Statist. 6, 1979)."""
    out, highest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        out[i] = highest
    return out
