"""What a rule makes of beliefs, beside every answer of small rows."""

import random
from dataclasses import replace

import pytest
import torch

from mdmkit import Prompt, Window, compose, decode
from mdmkit_constrain.choices import Choices
from mdmkit_constrain.regex import Regex
from mdmkit_constrain.ways import Ways

PATTERNS = ("(ab|ba|c){1,3}a?b*", "a*b", "(a|b)*c(a|b)*", "[^c]*", "(aa|bb|cc)*.?", "(ab)*|c+")
# Rows of ids: 6 is a gap; the text between gaps stands among them.
ROWS = ((6, 6, 6, 6), (6, 6, 2, 6), (1, 6, 6, 5), (6, 3, 6, 6, 6), (4, 6, 1, 6, 2, 6))


def _cases(brute, ends, count, seed=0):
    """Small rows of a model, the answers that brute force finds, and the constraint of each."""
    rng, model, found = random.Random(seed), brute.Small(ends=ends), 0
    torch.manual_seed(seed)
    never = brute.never_of(model)
    while found < count:
        pattern = rng.choice([*PATTERNS, brute.random_pattern(rng)])
        if rng.random() < 0.5:
            canvas = brute.canvas_of(model, [()], length=rng.randint(1, 5))
        else:
            row = rng.choice(ROWS)
            canvas = brute.canvas_of(model, [row])
        ((start, stop),) = canvas.answers
        logits = 2 * torch.randn(1, stop - start, model.vocab, dtype=torch.float64)
        logits[..., never] = -torch.inf
        tokens, open_ = canvas.tokens[0, start:stop].tolist(), canvas.open[0, start:stop].tolist()
        answers = brute.completions(model, pattern, tokens, open_, logits[0], bool(canvas.infill[0]))
        if answers:
            found += 1
            yield model, pattern, canvas, logits, answers, open_


@pytest.mark.parametrize("ends", [False, True])
def test_each_open_position_gets_its_distribution_under_belief_and_rule(brute, ends):
    for model, pattern, canvas, logits, answers, open_ in _cases(brute, ends, 60):
        asked = Regex(pattern).prepare(model, brute.never_of(model))
        states = brute.states_of(canvas)
        shaped = brute.shaped(asked, logits, states)[0]
        wanted = brute.marginals(answers, len(open_))
        for t, is_open in enumerate(open_):
            if is_open:
                torch.testing.assert_close(shaped[t].softmax(-1), wanted[t], rtol=1e-9, atol=1e-12, msg=pattern)


@pytest.mark.parametrize("ends", [False, True])
def test_mask_allows_the_tokens_with_a_completion_and_no_others(brute, ends):
    for model, pattern, canvas, logits, answers, open_ in _cases(brute, ends, 60, seed=1):
        asked = Regex(pattern, mode="mask").prepare(model, brute.never_of(model))
        states = brute.states_of(canvas)
        shaped = brute.shaped(asked, logits, states)[0]
        possible = brute.marginals(dict.fromkeys(answers, 0.0), len(open_)) > 0
        for t, is_open in enumerate(open_):
            if is_open:
                assert torch.equal(shaped[t], logits[0, t].masked_fill(~possible[t], -torch.inf)), pattern


def test_positions_outside_of_the_window_count_as_uniform(brute):
    rng = random.Random(2)
    for model, pattern, canvas, logits, _, open_ in _cases(brute, True, 40, seed=2):
        ((start, stop),) = canvas.answers
        first = rng.randrange(start, stop)
        last = rng.randint(first + 1, stop)
        asked = Regex(pattern).prepare(model, brute.never_of(model))
        states = brute.states_of(canvas, [(first, last)])
        known = logits[:, first - start : last - start]
        shaped = brute.shaped(asked, known, states)[0]
        flat = torch.zeros_like(logits[0])
        flat[first - start : last - start] = known[0]
        tokens = canvas.tokens[0, start:stop].tolist()
        answers = brute.completions(model, pattern, tokens, open_, flat, bool(canvas.infill[0]))
        wanted = brute.marginals(answers, len(open_))
        for t in range(first - start, last - start):
            if open_[t]:
                got = shaped[t - (first - start)].softmax(-1)
                torch.testing.assert_close(got, wanted[t], rtol=1e-9, atol=1e-12, msg=pattern)


def test_a_probability_beyond_floating_point_is_not_lost(brute):
    """All that the rule allows has a weight of e^−100000 beside what it forbids."""
    model = brute.Small()
    canvas = brute.canvas_of(model, [()], length=3)
    asked = Choices(("abc", "bac")).prepare(model, brute.never_of(model))
    logits = torch.full((1, 3, 8), -1e5, dtype=torch.float64)
    logits[..., brute.never_of(model)] = -torch.inf
    logits[0, 1] = 0.0
    logits[0, 0, 5] = 0.0
    logits[0, 0, 2] += 1.0  # `bac` is e times as probable as `abc`
    states = brute.states_of(canvas)
    first = brute.shaped(asked, logits, states)[0, 0].softmax(-1)
    torch.testing.assert_close(first[2], torch.tensor(1 / (1 + torch.e**-1), dtype=torch.float64))
    torch.testing.assert_close(first[1] + first[2], torch.tensor(1.0, dtype=torch.float64))


def _ways(language, states, best, behind):
    return Ways(
        language.tables, states.answer, states.window, states.tokens, states.open, states.infill, best, best, behind
    )


@pytest.mark.parametrize("best", [False, True])
def test_sums_over_the_window_are_those_over_the_whole_answer(brute, best):
    """Rows of different lengths, with and without text before the window."""
    rng, model, compared = random.Random(3), brute.Small(ends=True), 0
    torch.manual_seed(3)
    for _ in range(40):
        language = Regex(rng.choice(["(ab|ba)*a?b*", "a*b", ".*", "(aa|bb)*.?", "b(a|b)*"])).prepare(
            model, brute.never_of(model)
        )
        rows = [(), (1, 2), (6, 6, 6, 6), (3,)]
        canvas = brute.canvas_of(model, rows, length=5)
        first = rng.randint(0, 3)
        window = [(max(0, start + first - 1), min(stop, start + first + 2)) for start, stop in canvas.answers]
        tokens, open_ = canvas.tokens.clone(), canvas.open.clone()
        for row, (low, _) in enumerate(window):  # the text of earlier blocks
            for column in range(low):
                if open_[row, column]:
                    tokens[row, column], open_[row, column] = rng.choice((1, 2, 3)), False
        states = brute.states_of(canvas.changed(tokens=tokens, open=open_), window)
        states = replace(states, answer=Window.of(canvas.answers, torch.device("cpu")))
        left = max(0, max(low - start for (low, _), (start, _) in zip(window, canvas.answers, strict=True)))
        ways = _ways(language, states, best, left)
        known = torch.randn(len(rows), ways.window.width, language.tables.classes, dtype=torch.float64)
        known = torch.zeros_like(known) if best else known
        _, inside = ways.places()
        short, whole = ways._in_windows(known, left), ways._in_answers(known)
        for name in ("weights", "before", "after"):
            torch.testing.assert_close(
                getattr(short, name)[inside], getattr(whole, name)[inside], rtol=1e-12, atol=1e-12
            )
        compared += int(left > 0)
    assert compared > 10


def test_the_loop_says_which_rows_are_summed_over_the_window_only(brute, monkeypatch):
    """Rows of masks only, also in a batch and under a search; never one that held text between its masks."""
    seen, sums = [], Ways.sums
    monkeypatch.setattr(Ways, "sums", lambda self, known: seen.append(self.behind) or sums(self, known))
    sampler = compose("info_gain", constraint={"name": "regex", "pattern": ".*"}, plan={"length": 6, "block": 2})
    decode(sampler, brute.Small(), [Prompt(ids=(1, 2)), Prompt(ids=(), seed=1, index=1)])
    assert {0, 2, 4} <= set(seen) and None not in seen
    seen.clear()
    decode(sampler, brute.Small(), [Prompt(ids=(6, 1, 6)), Prompt(ids=(1,), seed=1, index=1)])
    assert None in seen
