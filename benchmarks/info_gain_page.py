"""The page of results, from the numbers of `benchmarks/info_gain.py`."""

from __future__ import annotations

import math
from statistics import mean, stdev
from typing import Any

INTRODUCTION = """# Info-Gain beyond its paper

What decides better at equal forwards: variants of [`branch` and `info_gain`](../plugins/info-gain.md), against the
paper's and against best of N.

* **Exact model**: `zoo:bigram` restricted to its 400 most frequent words, length 24, 6 words revealed, greedy tokens.
  *Gap*: nats by which the decoded row is less likely, under the true joint distribution, than the most probable
  completion (Viterbi); smaller is better.
* **Puzzles**: `zoo:puzzles`, held-out Sudoku, Countdown (both greedy) and one-way products (temperature 1): solved,
  in %.
* K is tokens per step, N alternatives per step; *rows* are row-forwards of one prompt, *calls* the calls of the model
  for a batch. A sampler without a bypass makes as many calls as greedy decoding: rows are throughput, calls are
  latency.
* **Best of N**: N trajectories whose positions are drawn with Gumbel noise on the score at a temperature (tau); the
  one with the lowest cumulative uncertainty H̃ is the answer. It is the honest rival: no lookahead, the same model
  calls. It gets N = 6, at least as many rows as N = 8 alternatives cost.
* ± is the standard error over prompts.

200 prompts a task, seed 0; variants were chosen on 100 others, seed 99 (for Countdown, of whose held-out prompts
there are few, on trained ones). All on a CPU, fp32, by `python benchmarks/info_gain.py development`, then `reported`,
then `page`; the [numbers](info_gain.json) hold the reported prompts one by one. `zoo:antibody` is left out: no other
author's
model to score its sequences with is at hand offline.

## All together

Gap averaged over K = 1, 2, 4; solved averaged over the three puzzles and K = 2, 4. *Ahead*: the difference on the
same prompts in standard errors, bold from two up, for N = 8 and for N = 6.
"""

DETAILS = """\
`info_gain_plus` is the best of the variants below, named `total in surprisal, spacing=2, tau=0.4` there: no bypass,
positions drawn at tau_pos = 0.4, no two neighbours in one step, and J = Σ over what stays masked of log max p after −
before, less the surprisal of the tokens written. It is ahead of `info_gain`, with its bypass and without, and of
every best of 6, on the exact model and on the puzzles, by more than two standard errors; so it ships. N = 6 costs as
many rows as `info_gain` with N = 8 and without its bypass, and N = 4 fewer.

`half total` (summed gain of half the weight, entropies, cost in surprisal, spacing 2, tau 0.4) is the other variant
that went on from development, and `K-scaled` (matched reference, gain times K, cost in surprisal, no bypass) was the
best before. Over the three puzzles both are ahead of `info_gain_plus`, by one-way products at K = 2; on the exact
model both
are behind it, and `half total` is no better there than best of 6 with spacing. On Sudoku and Countdown alone best of 6
is as good as any. `info_gain_plus` looks for the likeliest completion, which is what the exact model rewards; at a
temperature its answers vary less than was asked for.

## Task by task
"""

DEVELOPMENT = """## Every variant

On the development prompts; rows in parentheses, blank where it was not run. `paper` is the preset `info_gain`;
`K-scaled` has the matched reference, the gain times K, the cost in surprisal and no bypass; `total` sums the gain;
`in surprisal` measures uncertainty by −log max p; `likelihood` is that with the paper's reference, exactly the
log-probability of the tokens written and of the most probable ones elsewhere. Other words are options. Solved in %,
the exact model's gap in nats.
"""

LOST = """## What was tried, and what came of it

* **Bypass.** The authors' (up to K certain positions alone) is worst for K > 1. `certain=fixed`, the paper's text,
  costs up to half as much again and keeps the plan: on Countdown at K = 4 it solves 76 % in place of 31 %, on one-way
  products 79 % in place of 47 %. It is the cheap way to more than one token a step. `certain=all` saves rows on
  Sudoku and is no better than the authors'. No bypass decides best where rows do not count.
* **Scale of the gain.** K-scaled beats the mean nearly everywhere; summed is better on the exact model and worse on
  one-way products.
* **Cost in surprisal** in place of entropy: much on one-way products, where tokens are drawn, and on the exact model.
* **Spacing 2** is the largest single step on the exact model for K > 1, at no cost, also for greedy decoding and best
  of N. On the puzzles it is worth little, and best of N loses by it on one-way products at K = 4.
* **More varied candidates** (tau 0.4 for 0.1) help on Sudoku and Countdown at K = 4, and on one-way products they
  hurt; on the exact model they help the summed gain in surprisal at K = 1 and 2.
* **Uncertainty in surprisal** helps the exact model much together with the spacing; without it only at K = 1, and it
  hurts at K = 4. On one-way products at K = 2 it costs much. The pure likelihood is worse than counting the cost
  twice, as the matched reference does.
* **Adaptive N** (`gap=0.1`) saves 2 to 12 % of the rows and costs up to ten points on Countdown: the doubtful steps
  are not the close ones.
* **Few positions** (`positions=4`): as good on Sudoku and one-way products, worse on Countdown at K = 4 and on the
  exact model. For large vocabularies only.
* **Margin in place of confidence** for the proposals: better on the exact model, worse on every puzzle.
* **Two steps ahead**: not tried. A step looks once; a second look needs a forward for each next state's own
  proposals.
"""

Cells = dict[tuple[str, str, int, str], dict[str, Any]]
TASKS = {
    "bigram": "Exact model",
    "sudoku4": "Sudoku 4×4",
    "countdown": "Countdown",
    "one_way": "One-way products",
}


PUZZLES = ("sudoku4", "countdown", "one_way")
CANDIDATES = ("info_gain_plus", "info_gain_plus, N=6")


def page(data: dict[str, Any]) -> str:
    cells = {(c["part"], c["task"], c["tokens_per_step"], c["case"]): c for c in data["cells"]}
    parts = [INTRODUCTION, _together(cells), DETAILS]
    parts += [f"### {title}\n\n{_reported(cells, task)}" for task, title in TASKS.items()]
    return "\n".join([*parts, f"{DEVELOPMENT}\n{_development(cells)}", LOST])


def _averages(cells: Cells, case: str, tasks: tuple[str, ...], field: str) -> list[list[float]]:
    """By task, each prompt's value averaged over K."""
    out = []
    for task in tasks:
        own = [cell for key, cell in cells.items() if key[:2] == ("reported", task) and key[3] == case]
        each = [cell[field] if field == "values" else [cell[field]] for cell in own]
        out.append([mean(of) for of in zip(*each, strict=True)])
    return out


def overall(by_task: list[list[float]]) -> tuple[float, float]:
    """The mean over tasks, and its standard error over prompts."""
    errors = [stdev(values) / math.sqrt(len(values)) for values in by_task]
    return mean(map(mean, by_task)), math.hypot(*errors) / len(errors)


def lead(cells: Cells, ours: str, theirs: str, tasks: tuple[str, ...]) -> float:
    """How far `ours` is ahead on the same prompts, in standard errors of the difference."""
    pairs = zip(*(_averages(cells, case, tasks, "values") for case in (ours, theirs)), strict=True)
    sign = -1 if tasks == ("bigram",) else 1
    difference, error = overall([[sign * (a - b) for a, b in zip(x, y, strict=True)] for x, y in pairs])
    return difference / error if error else 0.0


def _together(cells: Cells) -> str:
    rows = []
    for case in dict.fromkeys(key[3] for key in cells if key[0] == "reported"):
        row = [case]
        for tasks, scale, digits in ((("bigram",), 1, 2), (PUZZLES, 100, 1)):
            value, error = overall(_averages(cells, case, tasks, "values"))
            spent = mean(of[0] for of in _averages(cells, case, tasks, "rows"))
            row += [f"{scale * value:.{digits}f} ± {scale * error:.{digits}f}", f"{spent:.1f}"]
            for ours in CANDIDATES:
                ahead = lead(cells, ours, case, tasks)
                row.append("" if ours == case else f"**{ahead:+.1f}**" if abs(ahead) > 2 else f"{ahead:+.1f}")
        rows.append(row)
    leads = ["`plus` ahead", "`plus`, N=6, ahead"]
    return _table(["sampler", "gap, nats", "rows", *leads, "puzzles solved, %", "rows", *leads], rows)


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
