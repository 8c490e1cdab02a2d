"""The plan leaves no mask behind and reproduces LLaDA's split."""

import itertools
import json
import re

import numpy as np
import pytest

from mdmkit import compose, decode
from mdmkit.errors import MdmkitError
from mdmkit.settings.draw import Draw, Guidance
from mdmkit.settings.plan import SCHEDULES, Plan
from mdmkit.testing import ToyBackbone


def counts(masks, targets):
    return [a - b for a, b in zip([masks, *targets], targets, strict=False)]


def test_linear_split_puts_the_larger_steps_first():
    assert counts(10, Plan(steps=4).targets([10])[0]) == [3, 3, 2, 2]
    assert [counts(8, t) for t in Plan(steps=16).targets([8, 8, 8, 8])] == [[2, 2, 2, 2]] * 4


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_block_ends_empty_in_at_least_one_step(schedule):
    for masks, steps in itertools.product(([1], [7], [5, 5, 2], [0, 3, 0, 9], [1] * 9), (None, 1, 2, 3, 7, 50)):
        plan = Plan(steps=steps, schedule=schedule)
        for m, targets in zip(masks, plan.targets(list(masks)), strict=True):
            assert (targets == []) == (m == 0)
            assert m == 0 or targets[-1] == 0
            assert targets == sorted(targets, reverse=True)


def test_steps_are_shared_out_in_proportion_and_add_up():
    shares = [len(t) for t in Plan(steps=12).targets([8, 8, 4, 4])]
    assert shares == [4, 4, 2, 2]


def test_front_heavy_rows_keep_a_step_for_every_later_block():
    assert [len(t) for t in Plan(steps=3).targets([10, 1, 1])] == [1, 1, 1]
    assert [len(t) for t in Plan(steps=5).targets([10, 0, 1, 1])] == [3, 0, 1, 1]
    assert [len(t) for t in Plan(steps=1).targets([4, 4])] == [1, 1]  # no fewer than the blocks that hold masks


def test_tokens_per_step_is_exact():
    assert Plan(tokens_per_step=3).targets([7, 3]) == [[4, 1, 0], [0]]


def test_cosine_starts_with_few_tokens():
    sizes = counts(100, Plan(steps=10, schedule="cosine").targets([100])[0])
    assert sizes[0] == 2 and sizes[-1] == 15 and sum(sizes) == 100


def test_arccos_leaves_most_to_the_last_steps():
    """2/π · arccos of the share of the steps is left."""
    assert Plan(steps=10, schedule="arccos").targets([100])[0] == [93, 87, 80, 73, 66, 59, 50, 40, 28, 0]


def test_dream_floors_and_skips_the_steps_that_fill_nothing():
    """16 masks in 16 steps: the first floors to 0, and the last takes the two that are left."""
    assert counts(16, Plan(steps=16, schedule="dream").targets([16])[0]) == [1] * 14 + [2]
    assert counts(16, Plan(steps=8, schedule="dream").targets([16])[0]) == [1, 2, 2, 2, 2, 2, 2, 3]


def test_dwell_stays_at_a_tenth_left():
    targets = Plan(steps=20, schedule="dwell").targets([100])[0]
    assert targets == [90, 80, 70, 60, 50, 40, 30, 20, *[10] * 11, 0]


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"steps": 0}, "plan.steps=0"),
        ({"block": -1}, "plan.block=-1"),
        ({"steps": 4, "tokens_per_step": 2}, "say the same thing twice"),
        ({"tokens_per_step": 2, "schedule": "cosine"}, "schedule=cosine has no effect"),
        ({"length": 10**9}, "plan.length=1000000000: it must be a whole number from 1 to"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(plan, words):
    with pytest.raises(MdmkitError, match=words):
        Plan(**plan)


WHOLE = [(Plan, name) for name in ("length", "block", "steps", "tokens_per_step", "room")] + [(Draw, "top_k")]
REAL = [
    *((Draw, name) for name in ("temperature", "temperature_end", "top_p", "end_penalty", "repetition_penalty")),
    (Guidance, "scale"),
]


@pytest.mark.parametrize("value", [2.5, 2.0, True, "2", [2]])
@pytest.mark.parametrize(("settings", "name"), WHOLE)
def test_what_is_no_whole_number_is_refused(settings, name, value):
    words = rf"^{settings.__name__.lower()}\.{name}={re.escape(repr(value))}: it must be a whole number[^.]*\.$"
    with pytest.raises(MdmkitError, match=words):
        settings(**{name: value})


@pytest.mark.parametrize("value", [True, "0.5", [0.5], float("nan"), float("inf")])
@pytest.mark.parametrize(("settings", "name"), REAL)
def test_what_is_no_finite_number_is_refused(settings, name, value):
    words = rf"^{settings.__name__.lower()}\.{name}={re.escape(repr(value))}: it must be a (finite )?number[^.]*\.$"
    with pytest.raises(MdmkitError, match=words):
        settings(**{name: value})


@pytest.mark.parametrize(
    ("settings", "given", "words"),
    [
        (Plan, {"early_stop": 1}, "plan.early_stop=1: it must be true or false."),
        (Plan, {"early_stop": "no"}, "plan.early_stop='no': it must be true or false."),
        (Plan, {"schedule": ["cosine"]}, "plan.schedule=['cosine']: it must be a name, one of linear, cosine,"),
        (Plan, {"schedule": None}, "plan.schedule=None: it must be a name"),
        (Guidance, {"ramp": 1}, "guidance.ramp=1: it must be true or false."),
        (Draw, {"suppress": 5}, "draw.suppress=5: it must be a list of token ids"),
        (Draw, {"suppress": (True,)}, "draw.suppress=(True,): it must be a list of token ids"),
        (Draw, {"suppress": "5"}, "draw.suppress='5': it must be a list of token ids"),
        (Draw, {"penalty": [5]}, "draw.penalty=[5]: it must map token ids to amounts, as in {5: 1.0}."),
        (Draw, {"penalty": {"5": 1.0}}, "draw.penalty={'5': 1.0}: it must map token ids to amounts"),
        (Draw, {"penalty": {5: True}}, "draw.penalty={5: True}: every amount must be a finite number"),
        (Draw, {"penalty": {5: "1"}}, "draw.penalty={5: '1'}: every amount must be a finite number"),
    ],
)
def test_a_setting_of_the_wrong_kind_is_refused(settings, given, words):
    with pytest.raises(MdmkitError, match=f"^{re.escape(words)}"):
        settings(**given)


def test_numbers_of_numpy_are_numbers():
    plan = Plan(length=np.int64(8), steps=np.int32(4))
    assert (plan.length, plan.steps) == (8, 4) and type(plan.length) is int
    draw = Draw(temperature=np.float32(0.5), top_k=np.int64(3), suppress=np.array([1, 2]))
    assert (draw.temperature, draw.top_k, list(draw.suppress)) == (0.5, 3, [1, 2]) and type(draw.top_k) is int
    assert Guidance(np.float64(2.0)).scale == 2.0
    for strange in (np.bool_(True), np.float64(8.0), np.array([8])):
        with pytest.raises(MdmkitError, match=r"plan\.length="):
            Plan(length=strange)


def test_compose_takes_them_too():
    sampler = compose("confidence", plan={"length": np.int64(8)}, draw={"temperature": np.float64(0.5)})
    assert (sampler.plan.length, sampler.draw.temperature) == (8, 0.5)
    json.dumps(sampler.config)


def test_seeds_of_numpy_are_seeds():
    asked = [{"prompt_ids": [1, 2], "seed": np.int64(3), "length": np.int64(4)}]
    rows = decode(compose("confidence"), ToyBackbone(), asked, seed=np.int64(5)).rows
    assert (rows[0].seed, len(rows[0].tokens)) == (3, 4) and type(rows[0].seed) is int
