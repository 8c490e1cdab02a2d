"""What rows that stand at different places cost together: model calls, and columns computed beside columns needed."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

import mdmkit
from mdmkit import Observer, Plan, Reach, Sampler
from mdmkit.loop.calls import share_out
from mdmkit.testing import ByConfidence, TakeQuota, ToyBackbone

GOLDEN = Path(__file__).parent / "golden"
LENGTHS = json.loads(Path(__file__).with_name("answer_lengths.json").read_text())["lengths"]
PLAN = {"block": 8, "early_stop": False}
# Nine answer lengths; for SDAR the prompts have eight different remainders against its blocks of 8.
NINE = list(range(8, 41, 4))
CACHES = [("llada", cache) for cache in ("none", "prefix", "dual")] + [("sdar", cache) for cache in ("none", "block")]
_loaded = {}


def load(name):
    if name not in _loaded:
        options = {"block_length": 8} if name == "sdar" else {}
        _loaded[name] = mdmkit.load(str(GOLDEN / name), device="cpu", **options)
    return _loaded[name]


def prompts(first, grow):
    ids = [[5 + (7 * i + 3 * j) % 60 for j in range(first + grow * i)] for i in range(len(NINE))]
    return [{"prompt_ids": row, "length": length} for row, length in zip(ids, NINE, strict=True)]


def cost(name, asked, preset, **parts):
    """The decode, and the model calls of the row that takes most of them alone."""
    sampler, backbone = mdmkit.compose(preset, plan=PLAN, **parts), load(name)
    together = mdmkit.decode(sampler, backbone, asked)
    most = sorted(together.rows, key=lambda row: row.nfe)[-2:]
    alone = [mdmkit.decode(sampler, backbone, [asked[row.index] | {"seed": row.seed}]) for row in most]
    assert [row.tokens for row in most] == [one.tokens[0] for one in alone]
    return together, max(one.calls for one in alone)


@pytest.mark.parametrize(("name", "cache"), CACHES)
def test_rows_of_nine_lengths_take_the_calls_of_the_longest(name, cache):
    together, longest = cost(name, prompts(24, 0), "confidence", cache=cache)
    assert together.calls <= 1.1 * longest


OUT_OF_STEP = [(name, cache, how) for name, cache in CACHES for how in ("threshold", "info_gain")]
OUT_OF_STEP += [("llada", cache, "refreshed") for cache in ("prefix", "dual")]


@pytest.mark.parametrize(("name", "cache", "how"), OUT_OF_STEP)
def test_rows_out_of_step_take_at_most_two_calls_a_step(name, cache, how):
    # About three tokens a step; bypass at 0.8; everything afresh after three steps.
    preset, more = {
        "threshold": ("threshold", {"select": {"threshold": 0.12 if name == "llada" else 0.14}}),
        "info_gain": ("info_gain", {}),
        "refreshed": ("confidence", {"cache": {"name": cache, "refresh_every": 3}}),
    }[how]
    asked = prompts(16, 1) if name == "sdar" else prompts(24, 0)
    together, longest = cost(name, asked, preset, **{"cache": cache, **more})
    assert together.calls <= 2.0 * longest
    computed, needed = together.columns["computed"], together.columns["needed"]
    assert computed <= 1.25 * needed


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("name", "cache"), CACHES)
def test_other_prompts_cost_about_as_much(name, cache, seed):
    draw = random.Random(seed)
    asked = [one | {"prompt_ids": [draw.randrange(5, 65) for _ in one["prompt_ids"]]} for one in prompts(16, 1)]
    together, longest = cost(name, asked, "threshold", cache=cache, select={"threshold": 0.13})
    assert together.calls <= 2.0 * longest
    assert together.columns["computed"] <= 1.25 * together.columns["needed"]


# A sampler that compares has a second forward in its first step, and in each step if its commit rewrites: the belief
# of what was written, and then the look. Each forward is one call or two.
STEPS = [
    ("threshold", {}, 2, 2),
    ("info_gain", {}, 3, 2),
    ("info_gain", {"commit": "remdm"}, 3, 4),
    ("remdm", {}, 2, 2),
]


@pytest.mark.parametrize(("preset", "parts", "first", "later"), STEPS)
@pytest.mark.parametrize(("name", "cache"), CACHES)
def test_a_step_has_few_calls_whatever_the_rows_places(name, cache, preset, parts, first, later):
    engine = mdmkit.Engine(mdmkit.compose(preset, plan=PLAN, cache=cache, **parts), load(name), len(NINE))
    for prompt in mdmkit.read_prompts(prompts(16, 1), 0):
        engine.admit(prompt)
    calls = []
    while engine.busy:
        before = engine.calls
        assert all(ended.error is None for ended in engine.step())
        calls.append(engine.calls - before)
    assert calls[0] <= first
    assert max(calls[1:]) <= later


def widths(*sizes, keep=()):
    return [Reach(0, size, 0, None, 40, i in keep) for i, size in enumerate(sizes)]


def test_two_calls_are_cut_where_the_fewest_columns_are_computed():
    assert share_out(widths(8, 9, 8, 10), pads=True) == [[0, 1, 2, 3]]
    assert share_out(widths(8, 40, 8, 38), pads=True) == [[0, 1, 2, 3]]  # of one kind: one call, however ragged
    assert share_out(widths(8, 40, 8, 38, keep={0, 1, 2, 3}), pads=True) == [[0, 1, 2, 3]]
    assert share_out(widths(8, 40, 8, 38, keep={1}), pads=True) == [[0, 2], [1, 3]]
    assert share_out(widths(38, 40, 39, 38, keep={1}), pads=True) == [[0, 1, 2, 3]]  # two would save too little
    many = widths(*[80, 400] * 4)
    assert share_out(many, pads=True) == [[0, 2, 4, 6], [1, 3, 5, 7]]  # one would compute 1,280 columns for nothing


def test_the_rows_of_a_model_that_packs_share_one_call():
    for sizes, keep in (((10, 90, 20, 80), ()), ((5, 2048, 5, 60), {1})):
        assert share_out(widths(*sizes, keep=keep), pads=True, packs=True) == [[0, 1, 2, 3]]
    assert share_out(widths(10, 90, 20, 80, keep={1}), pads=True) == [[0, 2], [1, 3]]


def test_rows_side_by_side_share_calls_of_up_to_twice_the_columns_unless_they_are_long():
    packs = {"pads": True, "packs": True, "side_by_side": True}
    assert share_out(widths(10, 90, 20, 80, keep={1}), **packs) == [[0, 1, 2, 3]]
    assert share_out(widths(5, 90, 5, 60, keep={1}), **packs) == [[0, 2], [1, 3]]
    for sizes in ((300, 900), (64, 2048)):
        assert share_out(widths(*sizes), **packs) == [[0], [1]]
    assert share_out(widths(280, 300), **packs) == [[0, 1]]  # it adds few columns


def test_a_model_that_packs_computes_what_is_needed():
    class Packs(ToyBackbone):
        packs = True

    asked = [{"prompt": "ab", "length": 4}, {"prompt": "abc", "length": 7}]
    decoded = mdmkit.decode(Sampler(ByConfidence(), TakeQuota()), Packs(), asked)
    assert decoded.columns == {"needed": 4 * 6 + 7 * 10, "computed": 4 * 6 + 7 * 10}


def test_a_call_that_is_too_large_is_split_by_width():
    sizes = [1000, 900] * 40  # 1,000 columns of 65 rows are all that a call may hold
    shared = share_out(widths(*sizes), pads=True)
    assert [{sizes[i] for i in group} for group in shared] == [{900, 1000}, {1000}]
    assert sorted(i for group in shared for i in group) == list(range(80))
    assert [len(group) for group in share_out(widths(*[1000] * 70), pads=True)] == [65, 5]
    assert [len(group) for group in share_out(widths(*[1000] * 70), pads=True, branches=2)] == [32, 32, 6]


class Calls(Observer):
    """The longest row, in steps."""

    def __init__(self):
        self.steps = []

    def on_leave(self, id, row):
        self.steps.append(len({tick for tick in row.order if tick >= 0}))


@pytest.mark.parametrize("longest", [0, 12, 39])
def test_forty_answers_in_eight_slots_keep_the_slots_full(longest):
    calls = Calls()
    prompts = ["abc" * (1 + i * 7 % (longest + 1)) for i in range(len(LENGTHS))]  # how long they are does not matter
    asked = [{"prompt": prompt, "length": length} for prompt, length in zip(prompts, LENGTHS, strict=True)]
    sampler = Sampler(ByConfidence(), TakeQuota(), plan=Plan(early_stop=False))
    decoded = mdmkit.decode(sampler, ToyBackbone(), asked, batch=8, observers=[calls])
    assert len(calls.steps) == 40
    assert decoded.calls <= 1.05 * max(max(calls.steps), sum(calls.steps) / 8) + 1


@pytest.mark.parametrize("preset", ["confidence", "info_gain"])
@pytest.mark.parametrize("columns", [None, 20 * 8])
def test_a_slot_stands_idle_for_no_call_between_two_rows(preset, columns):
    """A lookahead needs no forward for a row's last step: the next row has its first forward in this call."""
    asked = [{"prompt": "abc", "length": 8, "seed": index} for index in range(40)]
    sampler = mdmkit.compose(preset, plan={"early_stop": False})
    alone = [mdmkit.decode(sampler, ToyBackbone(), [prompt]).rows[0] for prompt in asked]
    engine = mdmkit.Engine(sampler, ToyBackbone(), 8, columns)
    for prompt in mdmkit.read_prompts(asked, 0):
        engine.admit(prompt)
    rows = {each.id: each.row for each in engine.drain()}
    assert engine.calls == 5 * 8
    for index, row in enumerate(alone):
        assert (rows[index].tokens, rows[index].order, rows[index].nfe) == (row.tokens, row.order, row.nfe)


def test_a_longer_row_joins_after_the_step_that_frees_its_slot():
    """Within a step the rows' tensors cannot grow."""
    lookahead = mdmkit.compose("info_gain", plan={"early_stop": False})
    asked = [{"prompt": "abc", "length": length, "seed": length} for length in (3, 4, 9, 2, 12)]
    engine = mdmkit.Engine(lookahead, ToyBackbone(), 2)
    for prompt in mdmkit.read_prompts(asked, 0):
        engine.admit(prompt)
    rows = {each.id: each.row for each in engine.drain()}
    for index, prompt in enumerate(asked):
        assert rows[index].tokens == mdmkit.decode(lookahead, ToyBackbone(), [prompt]).tokens[0]


def test_the_counters_of_a_call_add_up():
    asked = [{"prompt": "ab", "length": 4}, {"prompt": "abc", "length": 7}]
    decoded = mdmkit.decode(Sampler(ByConfidence(), TakeQuota()), ToyBackbone(), asked)
    assert decoded.calls == 7
    assert [row.nfe for row in decoded.rows] == [4, 7]
    assert [row.row_tokens for row in decoded.rows] == [4 * 6, 7 * 10]
    assert decoded.columns == {"needed": 4 * 6 + 7 * 10, "computed": 4 * 10 + 7 * 10}


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_the_head_gets_hidden_states_that_lie_together(guidance):
    """On a CPU a head is up to four times slower on a slice."""

    class Strict(ToyBackbone):
        def project(self, hidden):
            assert hidden.is_contiguous()
            return super().project(hidden)

    sampler = mdmkit.compose("info_gain", plan={"block": 4}, guidance={"scale": guidance})
    asked = [{"prompt": "ab", "length": 9}, {"prompt": "abc", "length": 6}]
    assert mdmkit.decode(sampler, Strict(), asked).calls >= 9
