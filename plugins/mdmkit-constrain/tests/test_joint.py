"""Tokens that are filled together: the best answer at temperature 0, and draws from the true distribution."""

import math
import random
from dataclasses import dataclass

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


def _p_values(brute, mode, per_step, cases=1000):
    """Where each drawn answer lies in the true distribution, spread evenly over its own probability: uniform if it is
    drawn from it."""
    rng, found, number = random.Random(1), [], 0
    while len(found) < cases:
        number += 1
        model = brute.Small(independent=True, seed=number, ends=number % 3 == 0)
        pattern, length = PATTERNS[number % len(PATTERNS)], 3 + number % 3
        answers = brute.completions(model, pattern, [6] * length, [True] * length, _first_logits(model, length))
        if not answers:
            continue
        top = max(answers.values())
        total = sum(math.exp(w - top) for w in answers.values())
        below, at = {}, 0.0
        for answer, weight in answers.items():
            below[answer], at = at, at + math.exp(weight - top) / total
        sampler = Sampler(
            AnyOrder(),
            TakeQuota(),
            constraint=Regex(pattern, mode),
            plan=Plan(length=length, tokens_per_step=per_step),
            draw=Draw(temperature=1.0),
        )
        for row in decode(sampler, model, [Prompt(ids=(), seed=50 * number + i, index=i) for i in range(50)]).rows:
            answer = tuple(row.trace["tokens"])
            found.append(below[answer] + rng.random() * math.exp(answers[answer] - top) / total)
    return sorted(found)


def _differs(values):
    """True if the values are not uniform, by a Kolmogorov-Smirnov test at .01."""
    n = len(values)
    gap = max(max((i + 1) / n - x, x - i / n) for i, x in enumerate(values))
    return gap > 1.628 / math.sqrt(n)


@pytest.mark.parametrize("per_step", [1, 4])
def test_draws_have_the_true_distribution_where_positions_are_independent(brute, per_step):
    assert not _differs(_p_values(brute, "exact", per_step))


def test_a_draw_under_the_mask_alone_is_found_out(brute):
    assert _differs(_p_values(brute, "mask", 1))


def test_a_draw_of_each_token_by_itself_is_found_out(brute, monkeypatch):
    """The planted sampler: allowed together, but each token is drawn as if the others were open."""
    settle = Language.settle

    def wrong(self, step, actions):
        return settle(Language(self.tables, self.on_host, self.what, "mask"), step, actions)

    monkeypatch.setattr(Language, "settle", wrong)
    assert _differs(_p_values(brute, "exact", 4))


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
