"""Random patterns under random settings: every text matches, and what is refused is impossible."""

import random
import re

import pytest

from mdmkit import MdmkitError, Prompt, compose, decode
from mdmkit_constrain.regex import Regex

SAMPLERS = ("confidence", "threshold", "info_gain", "margin", "left_to_right", "entropy_bound", "beam", "best_of_n")
DRAWS = (
    {},
    {"temperature": 1.0},
    {"temperature": 0.7, "top_p": 0.5},
    {"temperature": 1.5, "top_k": 1},
    {"temperature": 1.0, "repetition_penalty": 1.5, "penalty": {1: 3.0}},
    {"temperature": 1.0, "temperature_end": 0.0},
)


def _settings(rng):
    plan = {"length": rng.randint(2, 5)}
    if rng.random() < 0.5:
        plan["block"] = rng.randint(1, 3)
    if rng.random() < 0.6:
        plan["tokens_per_step"] = rng.randint(1, 4)
    rule = {"name": "regex", "mode": rng.choice(["exact", "mask"])}
    return {"sampler": rng.choice(SAMPLERS), "plan": plan, "draw": rng.choice(DRAWS), "constraint": rule}


def _impossible(brute, model, pattern, prompt, length):
    canvas = brute.canvas_of(model, [prompt], length)
    ((start, stop),) = canvas.answers
    tokens, open_ = canvas.tokens[0, start:stop].tolist(), canvas.open[0, start:stop].tolist()
    flat = {(t, i): 0.0 for t in range(stop - start) for i in range(model.vocab)}
    return not brute.completions(model, pattern, tokens, open_, flat, bool(canvas.infill[0]))


def test_every_text_matches(brute):
    rng, decoded, together = random.Random(0), 0, 0
    for number in range(70):
        pattern, given = brute.random_pattern(rng), _settings(rng)
        model = brute.Small(seed=number, ends=number % 2 == 0, independent=number % 5 == 0)
        given["constraint"]["pattern"] = pattern
        sampler = compose(given.pop("sampler"), **given)
        rows = [(), (1, 2), (6, 6, 6), (6, 1, 6), (2, 6, 5, 6, 6)]
        fits = [row for row in rows if not _impossible(brute, model, pattern, row, sampler.plan.length)]
        for row in [row for row in rows if row not in fits]:
            with pytest.raises(MdmkitError, match=r"keep|breaks"):
                decode(sampler, model, [Prompt(ids=row)])
        prompts = [Prompt(ids=row, seed=rng.randrange(1 << 30), index=i) for i, row in enumerate(fits)]
        for prompt, row in zip(prompts, decode(sampler, model, prompts).rows, strict=True):
            canvas = brute.canvas_of(model, [prompt.ids], sampler.plan.length)
            ((start, stop),) = canvas.answers
            text = model.text(row.trace["tokens"][start:stop], bool(canvas.infill[0]))
            assert re.fullmatch(pattern, text, re.ASCII), (pattern, text, given)
            decoded += 1
            together += row.nfe < canvas.open.sum()
    assert decoded > 130 and together > 30


def test_patterns_over_characters_of_several_tokens(brute):
    """Tokens that hold parts of characters."""
    model = brute.Pieces()
    for pattern, length in {
        "[é-ü]+": 4, "😀|é{2}": 4, "[^é]{2}": 6, "a.b": 4, "\\w+é\\d*": 5, "(😀a?)+": 6, "[^a]+": 5, "\\W{2,}": 8,
    }.items():  # fmt: skip
        for name in ("confidence", "threshold", "info_gain"):
            sampler = compose(
                name,
                constraint={"name": "regex", "pattern": pattern},
                plan={"length": length, "tokens_per_step": 2},
                draw={"temperature": 1.0},
            )
            for row in decode(sampler, model, [Prompt(ids=(), seed=i, index=i) for i in range(5)]).rows:
                assert re.fullmatch(pattern, row.text, re.ASCII), (pattern, row.text)


def test_the_pattern_is_that_of_the_answer_only(brute):
    model = brute.Small()
    sampler = compose("confidence", constraint={"name": "regex", "pattern": "c+"}, plan={"length": 3})
    (row,) = decode(sampler, model, [Prompt(ids=(1, 2, 1))]).rows
    assert row.text == "ccc" and row.trace["tokens"][:3] == [1, 2, 1]


def test_a_row_of_a_model_with_blocks_is_completed_freely(brute):
    """The positions that complete the model's last block are no part of the answer."""
    model = brute.Small(block=4)
    sampler = compose("confidence", constraint={"name": "regex", "pattern": "a{2}b{3}"}, plan={"length": 5})
    (row,) = decode(sampler, model, [Prompt(ids=(1,))]).rows
    assert row.text == "aabbb"


def test_a_text_shorter_than_the_row_is_followed_by_end_tokens(brute):
    model = brute.Small(ends=True)
    sampler = compose(
        "confidence", constraint={"name": "choices", "of": ["ab", "a"]}, plan={"length": 6, "early_stop": False}
    )
    (row,) = decode(sampler, model, [Prompt(ids=())]).rows
    tokens = row.trace["tokens"]
    assert row.text in ("ab", "a")
    assert tokens.count(brute.END) >= 4 and set(tokens[tokens.index(brute.END) :]) == {brute.END}


@pytest.mark.parametrize("mode", ["exact", "mask"])
def test_the_whole_answer_in_one_step(brute, mode):
    model, pattern = brute.Small(), "(ab|ba|c){1,3}a?b*"
    rule = Regex(pattern, mode)
    sampler = compose("confidence", constraint=rule, plan={"length": 6, "steps": 1}, draw={"temperature": 1.0})
    for row in decode(sampler, model, [Prompt(ids=(), seed=i, index=i) for i in range(40)]).rows:
        assert row.nfe == 1 and re.fullmatch(pattern, row.text)
