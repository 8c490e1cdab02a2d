"""The page of results, from the numbers of `benchmarks/info_gain.py`."""

from __future__ import annotations

import math
from statistics import mean, stdev
from typing import Any

INTRODUCTION = """# Info-Gain beyond its paper

This page compares variants of [`branch` and `info_gain`](../plugins/info-gain.md) with the paper's settings and with
best of N, at equal forwards.

* **Exact model**: `zoo:bigram` restricted to its 400 most frequent words, length 24, 6 words revealed, greedy tokens.
  *Gap*: the log-probability of the most probable completion (Viterbi) minus that of the decoded row, under the true
  joint distribution, in nats; smaller is better.
* **Puzzles**: `zoo:puzzles`, held-out Sudoku, Countdown (both greedy) and one-way products (temperature 1): solved,
  in %.
* K is the number of tokens per step, N the number of alternatives. *Rows* are row-forwards of one prompt (throughput),
  *calls* the model calls for a batch (latency). A sampler without a bypass makes as many calls as greedy decoding.
* **Best of N**: N trajectories whose positions are drawn with Gumbel noise on the score at a temperature (tau). The
  answer is the one with the lowest cumulative uncertainty H̃. This is the fair comparison: no lookahead, the same
  number of model calls. With N = 6 it costs at least as many rows as N = 8 alternatives.
* ± is the standard error over prompts.

There are 200 prompts per task, with seed 0. Variants were chosen on 100 other prompts, with seed 99 (for Countdown on
trained prompts, because there are few held-out ones). Everything ran on a CPU in fp32, with
`python benchmarks/info_gain.py development`, then `reported`, then `page`. The [numbers](info_gain.json) hold every
reported prompt. `zoo:antibody` is left out, because no model of other authors was available offline to score its
sequences.

## All together

The gap is averaged over K = 1, 2, 4, *solved* over the three puzzles and K = 2, 4. *Ahead* is the difference on the
same prompts in standard errors, for N = 8 and for N = 6; two or more are bold.
"""

DETAILS = """\
`info_gain_plus` is the best of the variants below, where it is called `total in surprisal, spacing=2, tau=0.4`. It has
no bypass, draws positions at tau_pos = 0.4, and fills no two neighbours in one step. Its J is the sum, over the
positions that stay masked, of log max p after the step minus before, minus the surprisal of the tokens written. It is
better than `info_gain`, with and without the bypass, and than every best of 6, by more than two standard errors, on
the exact model and on the puzzles. For this reason it is a preset. With N = 6 it costs as many rows as `info_gain` with
N = 8 and without the bypass; with N = 4 it costs fewer.

Two other variants were kept after development. `half total` has a summed gain with half the weight, entropies, the
cost in surprisal, spacing 2 and tau 0.4. `K-scaled` (matched reference, gain times K, cost in surprisal, no bypass) was
the best before. Over the three puzzles both are better than `info_gain_plus`, because of one-way products at K = 2. On
the exact model both are worse, and `half total` is not better than best of 6 with spacing. On Sudoku and Countdown
alone best of 6 is as good as any variant. `info_gain_plus` searches for the most probable completion, and the exact
model rewards this. At a temperature its answers vary less than the temperature asks for.

## Task by task
"""

DEVELOPMENT = """## Every variant

Measured on the development prompts. Rows are in parentheses; an empty cell was not run. Solved is in %, the gap of the
exact model in nats. The names mean:

* `paper`: the preset `info_gain`.
* `K-scaled`: matched reference, gain times K, cost in surprisal, no bypass.
* `total`: the gain is summed.
* `in surprisal`: uncertainty is −log max p.
* `likelihood`: the same with the paper's reference. This is the log-probability of the tokens written, and of the most
  probable tokens at all other positions.
* Other words are options.
"""

LOST = """## What was tried, and what came of it

* **Bypass.** The bypass of the authors' code (only certain positions, up to K) is the worst for K > 1. `certain=fixed`,
  as in the paper's text, costs up to half as much again, and every step fills K tokens. On Countdown at K = 4 it solves
  76 % instead of 31 %, on one-way products 79 % instead of 47 %. It is the cheapest good choice for K > 1.
  `certain=all` saves rows on Sudoku, and is not better than the authors' bypass. If rows do not matter, no bypass is
  best.
* **Scale of the gain.** The gain times K is better than the mean nearly everywhere. The sum is better on the exact
  model and worse on one-way products.
* **Cost in surprisal** instead of entropy helps much on one-way products, where tokens are drawn, and on the exact
  model.
* **Spacing 2** is the largest single improvement on the exact model for K > 1. It costs nothing, and also improves
  greedy decoding and best of N. On the puzzles it changes little; on one-way products at K = 4 it makes best of N
  worse.
* **More varied alternatives** (tau 0.4 instead of 0.1) help on Sudoku and Countdown at K = 4, and make one-way products
  worse. On the exact model they help the summed gain in surprisal at K = 1 and 2.
* **Uncertainty in surprisal** together with spacing helps much on the exact model. Without spacing it helps only at
  K = 1, and is worse at K = 4. On one-way products at K = 2 it is much worse. The pure likelihood is worse than the
  matched reference, which counts the cost twice.
* **Adaptive N** (`gap=0.1`) saves 2 to 12 % of the rows, and costs up to ten points on Countdown: the steps in which
  the model is uncertain are not those with close scores.
* **Few positions** (`positions=4`) are as good on Sudoku and one-way products, and worse on Countdown at K = 4 and on
  the exact model. They are for large vocabularies only.
* **Margin instead of confidence** to propose alternatives is better on the exact model, and worse on every puzzle.
* **Two steps ahead** was not tried. A second look would need a forward for each alternative of each next state.
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
