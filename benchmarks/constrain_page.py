"""The page of results, from the numbers of `benchmarks/constrain.py`."""

from __future__ import annotations

import math
from statistics import mean, stdev
from typing import Any

INTRODUCTION = """# Constraints: quality

What a [constraint](../plugins/constrain.md) does to answers beside keeping its rule. Made by
`python benchmarks/constrain.py`, on a CPU, one thread, fp32; the [numbers](constraints.json) hold every prompt.

* **exact**, **mask**: the two modes of the constraint.
* **none**: the same sampler and seed without a constraint; answers that break the rule count, too.
* **rejection**: draws without a constraint, thrown away until one keeps the rule.
* K is the number of tokens per step. ± is the standard error. *exact − mask* and the like are means of the differences
  on the same prompts; those of more than two standard errors are bold.
"""

CHOICES = """## Distance from the true distribution

`zoo:bigram` at temperature 1, rule `choices`: {texts} texts of {words} words, which the chain itself has drawn. So the
probability of each under the rule is known. *KL* goes from the drawn distribution to the true one, in nats; smaller is
better. It is the mean over {prompts} prompts, {drawn:,} answers of each, less the bias of a finite sample (Miller,
1955). Rejection is computed over all orders of filling, so it has no error. *Draws* is how many of its draws one answer
takes.
"""

CHOICES_READ = """\
In a random order, one word a step, rejection is exact: it is the chain rule. `confidence` prefers positions whose drawn
words are probable, so it is biased with and without a rule. With a constraint the belief of a step knows the rule, but
only as if positions did not depend on one another. So `exact` is not the true distribution, even at K = 1, but it is
much closer than `mask`. If one step fills everything (K = 4), `exact` is what rejection gives, for one draw instead of
many.
"""

LENGTHS = """## Answers of 32 characters

Eight words of `zoo:bigram`, rule `.{{32}}`, sampler `random` at temperature 1; {prompts} prompts of three words,
{rows} answers of each. Log-likelihood of an answer under the chain, nats. Rejection draws from the chain itself, word
by word: it shows what is true.
"""

PUZZLES = """## Puzzles

`zoo:puzzles`, sampler `confidence`, held-out prompts. *Right*: the puzzle is solved. *Kept*: of the answers without a
constraint, those that keep the rule. Rejection takes the first of at most {tries} draws that keeps it. The rules:

* **Sudoku, rows**: each row holds 1 to 4. Columns and boxes are no part of the rule.
* **Countdown, form**: digits and signs stand where they should.
* **Countdown, numbers**: also, each number is used once, and the target stands at the end. Sums are no part of it.
* **One-way, form**: two digits from 2 to 9, and seven binary digits.
"""

PUZZLES_READ = """\
* **It helps** where answers without it break the rule: with many tokens a step. `exact` is ahead of `mask` where a step
  fills a part of what is open, because its beliefs know what the rule leaves for the rest. If a step fills everything
  at temperature 0, both take the most probable answer that keeps the rule.
* **It does not help** where answers keep the rule anyway (K = 1; the form of Countdown and of one-way products).
* **Rejection** is as good or better where a draw keeps the rule often enough. It decodes each answer so many times.
* **Chance.** Of so many differences, one or two may be bold by chance.
"""

NAMES = {"sudoku4": "Sudoku", "countdown": "Countdown", "one_way": "One-way"}


def page(told: dict[str, Any]) -> str:
    """The whole page; parts that were not measured are left out."""
    parts = [INTRODUCTION]
    for name, part in (("choices", _choices), ("lengths", _lengths), ("puzzles", _puzzles)):
        if name in told:
            about = f"Measured on {told[name]['date']} with torch {told[name]['torch']}.\n"
            parts += [*part(told[name]), about]
    return "\n".join(parts)


def _choices(told: dict[str, Any]) -> list[str]:
    found = {(cell["order"], cell["k"], cell["draws"]): cell for cell in told["cells"]}
    rows = []
    for order, k in dict.fromkeys(key[:2] for key in found):
        exact, mask, rejection = (found[order, k, draws] for draws in ("exact", "mask", "rejection"))
        kl = [f"{cell['kl']:.3f} ± {cell['error']:.3f}" for cell in (exact, mask)]
        rows.append([order, str(k), *kl, f"{abs(rejection['kl']):.3f}", f"{1 / rejection['kept']:,.0f}"])
    heads = ["order", "K", "exact, KL", "mask, KL", "rejection, KL", "rejection, draws"]
    return [CHOICES.format(**told), _table(heads, rows), CHOICES_READ]


def _lengths(told: dict[str, Any]) -> list[str]:
    found = {(cell["draws"], cell["k"]): cell for cell in told["cells"]}
    rejection = found["rejection", None]
    rows = []
    for k in sorted({key[1] for key in found if key[1]}):
        none, mask, exact = (found[draws, k] for draws in ("none", "mask", "exact"))
        each = [_value(cell["logs"], 1, 2) for cell in (none, mask, exact)]
        less = [_difference(exact["logs"], cell["logs"], 1, 2) for cell in (mask, rejection)]
        rows.append([str(k), f"{100 * none['kept']:.1f}", *each, *less])
    heads = ["K", "none, kept %", "none", "mask", "exact", "exact − mask", "exact − rejection"]
    last = f"Rejection: {_value(rejection['logs'], 1, 2)}; {100 * rejection['kept']:.1f} % of its draws were kept.\n"
    return [LENGTHS.format(prompts=len(rejection["logs"]), **told), _table(heads, rows), last]


def _puzzles(told: dict[str, Any]) -> list[str]:
    found = {tuple(cell[key] for key in ("task", "rule", "k", "temperature", "draws")): cell for cell in told["cells"]}
    rows = []
    for key in dict.fromkeys(key[:4] for key in found):
        none, mask, exact = (found[*key, draws] for draws in ("none", "mask", "exact"))
        again = found.get((*key, "rejection"))
        row = [f"{NAMES[key[0]]}, {key[1]}", str(key[2]), f"{key[3]:g}", f"{100 * mean(none['kept']):.1f}"]
        row += [_value(cell["right"], 100, 1) for cell in (none, mask, exact)]
        row.append(f"{_value(again['right'], 100, 1)} ({again['decodes']:.1f})" if again else "–")
        row += [_difference(exact["right"], cell["right"], 100, 1) if cell else "–" for cell in (none, mask, again)]
        rows.append(row)
    right = [f"{name}, right %" for name in ("none", "mask", "exact")]
    less = [f"exact − {name}" for name in ("none", "mask", "rejection")]
    heads = ["puzzle, rule", "K", "temperature", "kept %", *right, "rejection, right % (draws)", *less]
    return [PUZZLES.format(**told), _table(heads, rows), PUZZLES_READ]


def _value(values: list[float], scale: float, digits: int) -> str:
    return f"{scale * mean(values):.{digits}f} ± {scale * _error(values):.{digits}f}"


def _difference(ours: list[float], theirs: list[float], scale: float, digits: int) -> str:
    """The mean difference on the same prompts, bold if it is more than two standard errors from 0."""
    each = [a - b for a, b in zip(ours, theirs, strict=True)]
    value, error = mean(each), _error(each)
    shown = f"{scale * value:+.{digits}f} ± {scale * error:.{digits}f}"
    return f"**{shown}**" if abs(value) > 2 * error else shown


def _error(values: list[float]) -> float:
    return stdev(values) / math.sqrt(len(values))


def _table(heads: list[str], rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in (heads, ["---"] * len(heads), *rows))
