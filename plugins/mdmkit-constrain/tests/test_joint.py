"""Tokens that are filled together: the best answer at temperature 0, and draws from the true distribution."""

import math
import random
from dataclasses import dataclass

import numpy as np
import pytest

from mdmkit import Draw, Plan, Prompt, Sampler, Score, compose, decode
from mdmkit.testing import TakeQuota
from mdmkit_constrain.language import Language
from mdmkit_constrain.regex import Regex

# Patterns under which a draw that looks at one position at a time goes wrong.
PATTERNS = ("a{5}|b.*|(ab)*c", "(ab|ba|c){2}a?b*", "[ab]*c[ab]*", "aaaa|[bc]{3,5}", "(a|b)*(c|aa)")


@dataclass(frozen=True)
class AnyOrder(Score):
    """Positions in random order, which the tokens do not change."""

    def __call__(self, step):
        return step.noise("any_order", 1)[:, 0]


def _first_logits(model, length):
    canvas, _ = model.encode([Prompt(ids=(), length=length)], Plan())
    hidden = model.forward(canvas.tokens, canvas.valid, None, positions=canvas.positions).hidden
    logits = model.project(hidden)[0]
    return logits


def test_of_several_tokens_at_temperature_0_each_is_that_of_the_best_answer(brute):
    rng, tried = random.Random(0), 0
    while tried < 40:
        model, pattern, length = brute.Small(seed=tried, ends=tried % 2 == 0), brute.random_pattern(rng), 4
        answers = brute.completions(model, pattern, [6] * length, [True] * length, _first_logits(model, length))
        if not answers:
            continue
        tried += 1
        for mode in ("exact", "mask"):
            sampler = Sampler(
                AnyOrder(), TakeQuota(), constraint=Regex(pattern, mode), plan=Plan(length=length, steps=1)
            )
            (row,) = decode(sampler, model, [Prompt(ids=())]).rows
            assert answers[tuple(row.trace["tokens"])] == pytest.approx(max(answers.values()), abs=1e-9), pattern


# Rows of ids, where 6 is a gap, that are drawn beside whole answers.
GAPS = ((6, 6, 2, 6), (1, 6, 6, 6, 1), (6, 3, 6, 6, 6), (6, 1, 6, 6, 6, 6))
DRAWN = 40


def _case(brute, rng, number):
    """A model, a prompt, a pattern, and the log weight of each answer; None if there are fewer than three."""
    model = brute.Small(independent=True, seed=number, ends=number % 3 == 0)
    pattern = rng.choice(PATTERNS) if rng.random() < 0.3 else brute.random_pattern(rng)
    row = rng.choice(GAPS) if rng.random() < 0.3 else (6,) * rng.randint(2, 6)
    infill = row in GAPS
    canvas = brute.canvas_of(model, [row if infill else ()], None if infill else len(row))
    ((start, stop),) = canvas.answers
    hidden = model.forward(canvas.tokens, canvas.valid, None, positions=canvas.positions).hidden
    tokens, open_ = canvas.tokens[0, start:stop].tolist(), canvas.open[0, start:stop].tolist()
    answers = brute.completions(model, pattern, tokens, open_, model.project(hidden)[0, start:stop], infill)
    return (model, row if infill else (), len(row), pattern, (start, stop), answers) if len(answers) > 2 else None


def _p_value(counts, chances, rng):
    """The p-value of counts under a distribution, exact whatever their number: the rank of their χ² among those of 199
    draws from it, equal ones in random order. Uniform on [0, 1] if the counts are drawn from the distribution, too."""
    others = rng.multinomial(counts.sum(), chances, size=199)
    own, *drawn = ((np.vstack((counts, others)) - counts.sum() * chances) ** 2 / chances).sum(1).round(9)
    above, equal = sum(x > own for x in drawn), sum(x == own for x in drawn)
    return (above + rng.random() * (equal + 1)) / 200


def _p_values(brute, mode, per_step, cases, temperature=1.0):
    """The p-values of the answers that are drawn in so many cases."""
    rng, noise, found, number = random.Random(1), np.random.default_rng(1), [], 0
    while len(found) < cases:
        number += 1
        case = _case(brute, rng, number)
        if case is None:
            continue
        model, ids, length, pattern, (start, stop), answers = case
        weights = np.array([*answers.values()])
        chances = np.exp(weights - weights.max())
        place = {answer: i for i, answer in enumerate(answers)}
        sampler = Sampler(
            AnyOrder(),
            TakeQuota(),
            constraint=Regex(pattern, mode),
            plan=Plan(length=length, tokens_per_step=per_step),
            draw=Draw(temperature=temperature),
        )
        prompts = [Prompt(ids=ids, seed=DRAWN * number + i, index=i) for i in range(DRAWN)]
        rows = decode(sampler, model, prompts, batch=DRAWN).rows
        drawn = [place[tuple(row.trace["tokens"][start:stop])] for row in rows]
        found.append(_p_value(np.bincount(drawn, minlength=len(answers)), chances / chances.sum(), noise))
    return sorted(found)


def _differs(values):
    """True if the values are not uniform, by a Kolmogorov-Smirnov test at .01."""
    n = len(values)
    gap = max(max((i + 1) / n - x, x - i / n) for i, x in enumerate(values))
    print(n, "cases, gap", gap, "of", 1.628 / math.sqrt(n))
    return gap > 1.628 / math.sqrt(n)


def _cases(few):
    return pytest.mark.parametrize("cases", [few, pytest.param(1000, marks=pytest.mark.slow)])


@_cases(40)
@pytest.mark.parametrize("per_step", [1, 4])
def test_draws_have_the_true_distribution_where_positions_are_independent(brute, per_step, cases):
    assert not _differs(_p_values(brute, "exact", per_step, cases))


@pytest.mark.slow
def test_a_draw_under_the_mask_alone_is_found_out(brute):
    assert _differs(_p_values(brute, "mask", 1, 1000))


@pytest.mark.slow
def test_a_draw_at_another_temperature_is_found_out(brute):
    assert _differs(_p_values(brute, "exact", 4, 1000, temperature=0.8))


@_cases(80)
def test_a_draw_of_each_token_by_itself_is_found_out(brute, monkeypatch, cases):
    """The planted sampler: allowed together, but each token is drawn as if the others were open."""
    settle = Language.settle

    def wrong(self, step, actions):
        return settle(Language(self.tables, self.on_host, self.what, "mask"), step, actions)

    monkeypatch.setattr(Language, "settle", wrong)
    assert _differs(_p_values(brute, "exact", 4, cases))


@pytest.mark.parametrize("mode", ["exact", "mask"])
@pytest.mark.parametrize("sampler", ["confidence", "info_gain", "lookum"])
def test_a_rule_that_changes_nothing_changes_no_drawn_token(brute, mode, sampler):
    """The positions were chosen for the drawn tokens."""
    texts = []
    for rule in (None, {"name": "regex", "pattern": "[abc]*", "mode": mode}):
        made = compose(sampler, constraint=rule, plan={"length": 8, "tokens_per_step": 4}, draw={"temperature": 1.0})
        prompts = [Prompt(ids=(1,), seed=seed, index=seed) for seed in range(20)]
        texts.append([row.text for row in decode(made, brute.Small(), prompts).rows])
    assert texts[0] == texts[1]
