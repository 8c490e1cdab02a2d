"""The loop keeps the laws: no mask survives, rows are independent, forwards are counted, beliefs are carried."""

import itertools
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

import mdmkit
from mdmkit import ops
from mdmkit.errors import MdmkitError
from mdmkit.loop.observe import Observer
from mdmkit.loop.sampler import Sampler
from mdmkit.model.backbone import Output
from mdmkit.settings.draw import Draw, Guidance
from mdmkit.settings.plan import Plan
from mdmkit.stage.actions import Actions
from mdmkit.stage.write import Write
from mdmkit.testing import ToyBackbone
from mdmkit.testing.reference import ByConfidence, LeastEntropyLeft, Spread, TakeQuota

GREEDY = Sampler(ByConfidence(), TakeQuota())
AHEAD = Sampler(ByConfidence(), Spread(4), LeastEntropyLeft())
RAGGED = [{"prompt": "abcdefg"[: 1 + i % 7], "length": 1 + (5 * i) % 11, "seed": 1000 + i} for i in range(14)] + [
    {"prompt": p, "seed": 2000 + i} for i, p in enumerate(("a__b", "___", "ab_c__d____e", "_", "abcd__f", "a_b_c_d"))
]


def run(sampler, prompts, **options):
    return mdmkit.decode(sampler, ToyBackbone(), prompts, **options)


@pytest.mark.parametrize("sampler", [GREEDY, AHEAD], ids=["greedy", "lookahead"])
def test_no_mask_survives_any_length_block_and_steps(sampler):
    for length, block, steps in itertools.product((1, 2, 7, 8, 13), (None, 1, 3, 8, 50), (None, 1, 2, 5, 13, 40)):
        decoded = run(replace(sampler, plan=Plan(length=length, block=block, steps=steps)), ["ab", "c"])
        for row in decoded.rows:
            assert len(row.tokens) == length
            assert ToyBackbone().mask_id not in row.tokens
            assert min(row.order) == 0


@pytest.mark.parametrize("length", [1, 4, 9])
@pytest.mark.parametrize("block", [None, 1, 3, 4])
def test_greedy_decoding_of_l_steps_costs_exactly_l_row_forwards(length, block):
    decoded = run(replace(GREEDY, plan=Plan(length=length, block=block)), ["ab", "abc", ""])
    assert [row.nfe for row in decoded.rows] == [length] * 3
    assert decoded.calls == length


def test_steps_longer_than_the_length_cost_no_more():
    assert run(replace(GREEDY, plan=Plan(length=5, steps=50)), ["a"]).nfe == {"rows": 5, "calls": 5}


@pytest.mark.parametrize("base", [GREEDY, AHEAD], ids=["greedy", "lookahead"])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("plan", [Plan(), Plan(block=4), Plan(block=3, tokens_per_step=2)])
def test_a_row_decodes_the_same_alone_together_shuffled_and_in_batches(base, temperature, plan):
    sampler = replace(base, plan=plan, draw=Draw(temperature=temperature))
    together = run(sampler, RAGGED)
    shuffle = torch.randperm(len(RAGGED), generator=torch.Generator().manual_seed(1)).tolist()
    shuffled = run(sampler, [RAGGED[i] for i in shuffle])
    threes = run(sampler, RAGGED, batch=3)
    for i, row in enumerate(together.rows):
        others = [run(sampler, [RAGGED[i]]).rows[0], shuffled.rows[shuffle.index(i)], threes.rows[i]]
        for other in others:
            assert other.tokens == row.tokens
            assert other.order == row.order
            assert other.nfe == row.nfe
            assert other.uncertainty == pytest.approx(row.uncertainty, abs=1e-4)


def test_the_same_seed_repeats_and_another_differs():
    sampler = replace(AHEAD, plan=Plan(length=12), draw=Draw(temperature=1.0))
    once, twice, other = (run(sampler, ["ab", "ab"], seed=s) for s in (1, 1, 2))
    assert once.tokens == twice.tokens
    assert once.tokens != other.tokens
    assert once.tokens[0] != once.tokens[1]  # equal prompts, each with a stream of its own
    assert run(replace(sampler, seed=1), ["ab", "ab"]).tokens == once.tokens


def test_tokens_per_step_is_the_least_that_a_step_fills_also_if_an_earlier_one_filled_more():
    quotas = []

    @dataclass(frozen=True)
    class Eager:
        """Fills four positions in the first step."""

        def __call__(self, step, scores):
            quotas.append(int(step.quota))
            count = torch.where(step.tick == 0, 4, step.quota)
            return Actions.single(ops.top(scores, step.open, count), step.tokens)

    row = run(Sampler(ByConfidence(), Eager(), plan=Plan(length=9, tokens_per_step=2)), ["ab"]).rows[0]
    assert quotas == [2, 2, 2, 1]
    assert row.nfe == 4


def test_masks_in_the_prompt_are_filled_and_the_rest_is_kept():
    row = run(GREEDY, ["a__b_c"]).rows[0]
    assert row.stopped == "filled" and len(row.text) == 6 and "_" not in row.text
    assert (row.text[0], row.text[3], row.text[5]) == ("a", "b", "c")
    assert [t < 0 for t in row.order] == [True, False, False, True, False, True]


def test_a_mask_id_kept_in_a_prompt_on_purpose_is_never_touched():
    decoded = run(replace(GREEDY, plan=Plan(length=3)), [{"prompt": "a__b", "infill": False}])
    row = decoded.rows[0]
    mask = ToyBackbone().mask_id
    assert row.prompt_ids == [1, mask, mask, 2]
    assert len(row.tokens) == 3 and mask not in row.tokens
    assert row.trace["tokens"][:4] == [1, mask, mask, 2]


def test_a_prompt_with_nothing_open_costs_nothing():
    decoded = run(GREEDY, [{"prompt": "abc", "length": 0}, {"prompt": "abc", "length": 2}])
    assert [(row.tokens == [], row.nfe) for row in decoded.rows] == [(True, 0), (False, 2)]
    assert run(GREEDY, []).rows == []


def test_blocks_are_filled_left_to_right():
    order = run(replace(GREEDY, plan=Plan(length=9, block=3)), ["ab"]).rows[0].order
    assert [sorted(order[i : i + 3]) for i in (0, 3, 6)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_uncertainty_is_the_entropy_of_every_committed_token():
    backbone = ToyBackbone(dtype=torch.float64)
    row = mdmkit.decode(replace(GREEDY, plan=Plan(length=6, tokens_per_step=2)), backbone, ["ab"]).rows[0]
    tokens = torch.tensor([[1, 2] + [backbone.mask_id] * 6])
    total = 0.0
    for tick in range(3):
        out = backbone.forward(tokens, tokens >= 0, None, positions=torch.arange(8)[None])
        logits = backbone.project(out.hidden)[0]
        logits[:, [backbone.mask_id, *backbone.forbidden]] = -torch.inf
        p = logits.softmax(-1)
        entropy = -(p * p.clamp_min(1e-300).log()).sum(-1)
        for i, (when, token) in enumerate(zip(row.order, row.tokens, strict=True)):
            if when == tick:
                total += float(entropy[2 + i])
                assert row.trace["entropy"][2 + i] == pytest.approx(float(entropy[2 + i]), abs=1e-5)
                assert row.trace["confidence"][2 + i] == pytest.approx(float(p[2 + i, token]), abs=1e-5)
                tokens[0, 2 + i] = token
    assert row.uncertainty == pytest.approx(total, abs=1e-9)


class Restless(Write):
    """Writes; in the second step it also takes back what it has just written, and edits an older token."""

    rewrites: ClassVar[bool] = True

    def __call__(self, step, actions, choice):
        canvas = super().__call__(step, actions, choice)
        now = step.active & (step.tick == 1)
        back = step.spread(actions.take(choice)[0] & now[:, None])
        old = step.spread(~step.open & step.member & now[:, None])
        return canvas.filled(old, torch.full_like(canvas.tokens, 3)).reopened(back)


def test_uncertainty_counts_what_actions_wrote_and_not_what_a_commit_changed_besides():
    expected = torch.zeros(2, dtype=torch.float64)
    edits, places = [], []

    class Sums(Observer):
        def on_step(self, step, actions, choice):
            place, _ = actions.take(choice)
            expected.add_((step.belief.entropy.double() * place).sum(1) * step.active)
            edits.append(bool((~step.open & step.member).any()))
            places.append(int(place[0].sum()))

    plan = Plan(length=6, tokens_per_step=2)
    decoded = run(replace(GREEDY, plan=plan, commit=Restless()), ["ab", "dc"], observers=[Sums()])
    assert edits[1] and sum(places) > 6  # a token stood there to edit, and positions were written twice
    assert [row.uncertainty for row in decoded.rows] == pytest.approx(expected.tolist(), abs=1e-9)


@pytest.mark.parametrize("base", [GREEDY, AHEAD], ids=["greedy", "lookahead"])
def test_guidance_mixes_both_logits_and_counts_two_rows(base):
    """Against a backbone that does the same inside one forward, by the formula."""

    class Guided(ToyBackbone):
        def forward(self, tokens, valid, conditioning, *, positions, cache=None):
            # The toy's prompts here are the two tokens that every row begins with.
            without = tokens.masked_fill((positions < 2) & valid, self.mask_id)
            halves = [super(Guided, self).forward(t, valid, None, positions=positions) for t in (tokens, without)]
            return Output(torch.cat([half.hidden for half in halves], -1))

        def project(self, hidden):
            guided, free = (super(Guided, self).project(half) for half in hidden.chunk(2, -1))
            return free + 2.5 * (guided - free)

    plan = Plan(length=9, block=4, tokens_per_step=2)
    prompts = [{"prompt": "ab", "length": n, "seed": n} for n in (5, 9)]
    ours = mdmkit.decode(replace(base, plan=plan, guidance=Guidance(2.5)), ToyBackbone(dtype=torch.float64), prompts)
    theirs = mdmkit.decode(replace(base, plan=plan), Guided(dtype=torch.float64), prompts)
    plain = mdmkit.decode(replace(base, plan=plan), ToyBackbone(dtype=torch.float64), prompts)
    assert ours.tokens == theirs.tokens
    assert [r.uncertainty for r in ours.rows] == pytest.approx([r.uncertainty for r in theirs.rows], abs=1e-9)
    assert [row.nfe for row in ours.rows] == [2 * row.nfe for row in theirs.rows]
    assert ours.calls == theirs.calls
    assert ours.tokens != plain.tokens


def test_guidance_of_one_is_off():
    assert run(replace(GREEDY, guidance=Guidance(1.0)), ["ab"]).nfe["rows"] == 8
    with pytest.raises(MdmkitError, match=r"guidance\.scale=nan"):
        Guidance(float("nan"))


def test_suppressed_and_penalised_tokens():
    free = run(replace(GREEDY, plan=Plan(length=8)), ["ab"]).rows[0].tokens
    barred = tuple(set(free))
    assert not set(barred) & set(
        run(replace(GREEDY, plan=Plan(length=8), draw=Draw(suppress=barred)), ["ab"]).tokens[0]
    )
    penalty = dict.fromkeys(barred, 1e4)
    assert not set(barred) & set(
        run(replace(GREEDY, plan=Plan(length=8), draw=Draw(penalty=penalty)), ["ab"]).tokens[0]
    )


def test_penalties_reach_lookahead_logits_too():
    beliefs = []

    class Spy(LeastEntropyLeft):
        def __call__(self, step, actions, look):
            look(lambda belief: beliefs.append(belief.logits) or belief.entropy)
            return super().__call__(step, actions, look)

    run(replace(AHEAD, lookahead=Spy(), draw=Draw(suppress=(3,))), ["ab"])
    assert beliefs and all((logits[..., 3] == -torch.inf).all() for logits in beliefs)


@dataclass(frozen=True)
class Erase(Write):
    """Writes, and in the first three ticks takes the row's first written token back."""

    rewrites = True

    def __call__(self, step, actions, choice):
        canvas = super().__call__(step, actions, choice)
        written = canvas.editable & ~canvas.open
        return canvas.reopened(written & (written.long().cumsum(1) == 1) & (step.tick[:, None] < 3))


@pytest.mark.parametrize("base", [GREEDY, AHEAD], ids=["greedy", "lookahead"])
def test_a_commit_may_take_tokens_back(base):
    decoded = run(replace(base, commit=Erase(), plan=Plan(length=6, block=3)), ["ab", "abcd"])
    for row in decoded.rows:
        assert ToyBackbone().mask_id not in row.tokens
        assert len(row.trace["choices"]) == 7  # six tokens, three taken back, the deficit made good within each block


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (lambda step: torch.full(step.open.shape, torch.nan), r"score Odd gave scores that are not numbers .* row 0"),
        (lambda step: step.confidence[:, :1], r"score Odd returned float32 \[1, 1\].*shape \[1, 8\]"),
        (lambda step: step.tokens, r"score Odd returned int64 \[1, 8\]"),
        (lambda step: None, r"score Odd returned None"),
    ],
)
def test_a_score_that_is_none_is_named(result, words):
    class Odd:
        def __call__(self, step):
            return result(step)

    with pytest.raises(MdmkitError, match=words):
        run(Sampler(Odd(), TakeQuota()), ["ab"])


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (lambda live: torch.full(live.shape, torch.nan), "lookahead Odd gave values that are not numbers"),
        (lambda live: torch.zeros(len(live), 1), r"lookahead Odd returned float32 \[1, 1\].*shape \[1, 4\]"),
    ],
)
def test_a_lookahead_that_values_nothing_is_named(result, words):
    class Odd:
        def __call__(self, step, actions, look):
            return result(actions.live)

    with pytest.raises(MdmkitError, match=words):
        run(replace(AHEAD, lookahead=Odd()), ["ab"])


def test_what_a_lookahead_says_of_a_lone_alternative_means_nothing():
    @dataclass(frozen=True)
    class EveryOtherRow(Spread):
        def __call__(self, step, scores):
            actions = super().__call__(step, scores)
            lone = (step.canvas.seed % 2 == 0)[:, None] & (torch.arange(self.candidates) > 0)
            return replace(actions, live=actions.live & ~lone)

    unasked = []

    class Picky(LeastEntropyLeft):
        def __call__(self, step, actions, look):
            lone = actions.live.sum(1, keepdim=True) == 1
            unasked.append(int(lone.sum()))
            return super().__call__(step, actions, look).masked_fill(lone, torch.nan)

    plain = run(replace(AHEAD, select=EveryOtherRow(4)), RAGGED)
    picky = run(replace(AHEAD, select=EveryOtherRow(4), lookahead=Picky()), RAGGED)
    assert sum(unasked) > 0
    assert picky.tokens == plain.tokens
    assert [row.trace["values"] for row in picky.rows] == [row.trace["values"] for row in plain.rows]


def test_a_commit_that_never_lets_go_is_stopped():
    @dataclass(frozen=True)
    class Forever(Erase):
        def __call__(self, step, actions, choice):
            return step.canvas

    with pytest.raises(MdmkitError, match=r"Forever still leaves positions open after .* in row 0"):
        run(replace(GREEDY, commit=Forever()), ["ab"])


def test_a_commit_that_lets_go_of_one_row_only_fails_for_the_other():
    @dataclass(frozen=True)
    class Stuck(Erase):
        def __call__(self, step, actions, choice):
            canvas = Write()(step, actions, choice)
            return canvas.reopened(canvas.editable & (canvas.lengths == 9)[:, None])

    engine = mdmkit.Engine(replace(GREEDY, commit=Stuck()), ToyBackbone(), 2)
    for text in ("a", "ab"):
        engine.admit(mdmkit.Prompt(text=text, index=len(text)))
    failed, row = sorted(engine.drain(), key=lambda each: each.id)
    assert "Stuck still leaves positions open" in str(failed.error)
    assert row.error is None and len(row.row.tokens) == 8


def test_a_select_that_fills_nothing_is_stopped():
    @dataclass(frozen=True)
    class Lazy:
        def __call__(self, step, scores):
            return Actions.single(step.open & False, step.tokens)

    with pytest.raises(MdmkitError, match=r"Lazy filled no position.* at tick 0 in row 0"):
        run(Sampler(ByConfidence(), Lazy()), ["ab"])


def test_a_select_that_skips_one_row_is_stopped_whatever_its_neighbours_do():
    @dataclass(frozen=True)
    class Skips:
        def __call__(self, step, scores):
            place = step.open & (step.tick[:, None] + torch.arange(step.rows)[:, None] != 1)
            return Actions.single(place, step.tokens)

    with pytest.raises(MdmkitError, match=r"Skips filled no position.* at tick 0 in row 1"):
        run(Sampler(ByConfidence(), Skips()), ["ab", "cd"])


def test_a_commit_that_reopens_a_finished_block_is_stopped():
    @dataclass(frozen=True)
    class Reopens(Write):
        rewrites = True

        def __call__(self, step, actions, choice):
            canvas = super().__call__(step, actions, choice)
            first = canvas.editable & (canvas.editable.long().cumsum(1) == 1) & (step.tick[:, None] == 5)
            return canvas.reopened(first)

    with pytest.raises(MdmkitError, match=r"Reopens changed a position outside the row's own block.* at tick 5"):
        run(replace(GREEDY, commit=Reopens(), plan=Plan(length=8, block=4)), ["ab"])


def test_more_alternatives_than_one_need_a_lookahead():
    with pytest.raises(MdmkitError, match="'Spread' proposes 4 alternatives but no lookahead"):
        Sampler(ByConfidence(), Spread(4))


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        ({"temperature": -1.0}, "draw.temperature=-1.0"),
        ({"temperature": float("nan")}, "draw.temperature=nan"),
        ({"temperature": float("inf")}, "draw.temperature=inf"),
        ({"top_p": 0.0}, "draw.top_p=0.0"),
        ({"top_p": 5.0}, "draw.top_p=5.0"),
        ({"top_k": 0}, "draw.top_k=0"),
        ({"penalty": {3: float("-inf")}}, "draw.penalty"),
    ],
)
def test_a_draw_that_makes_no_sense_is_refused(draw, words):
    with pytest.raises(MdmkitError, match=words):
        Draw(**draw)


@pytest.mark.parametrize("draw", [{"suppress": (99,)}, {"suppress": (-1,)}, {"penalty": {13: 1.0}}])
def test_ids_that_the_model_has_not_are_refused(draw):
    with pytest.raises(MdmkitError, match="the model's ids go from 0 to 12"):
        run(replace(GREEDY, draw=Draw(**draw)), ["ab"])


def test_suppressing_everything_is_refused():
    with pytest.raises(MdmkitError, match="leaves no token"):
        run(replace(GREEDY, draw=Draw(suppress=tuple(range(13)))), ["ab"])


@pytest.mark.parametrize("temperature", [1e-310, 1e-30, 0.01, 1.0, 1e30])
def test_no_temperature_draws_a_forbidden_token(temperature):
    decoded = run(replace(AHEAD, draw=Draw(temperature=temperature), plan=Plan(length=12)), ["ab", "c"])
    assert not {0, 11, 12} & {token for row in decoded.tokens for token in row}


def test_greedy_tokens_do_not_depend_on_the_seed():
    first, second = (run(replace(GREEDY, plan=Plan(length=9)), ["ab", "c"], seed=s) for s in (1, 2))
    assert first.tokens == second.tokens


def test_lookahead_runs_on_infills_too():
    for prompt in ("a____b", "______"):
        assert run(AHEAD, [prompt]).nfe["rows"] > prompt.count("_")


def test_a_cache_that_the_backbone_has_not_is_refused(monkeypatch):
    from mdmkit.model import cache

    monkeypatch.setitem(cache.CACHES, "prefix", cache.Cache)
    with pytest.raises(MdmkitError, match="cache=prefix, but backbone 'ToyBackbone' offers for this model: none"):
        run(replace(GREEDY, cache="prefix"), ["ab"])


def test_garbage_on_padding_reaches_nothing():
    class Dirty(ToyBackbone):
        def forward(self, tokens, valid, conditioning, *, positions, cache=None):
            out = super().forward(tokens, valid, conditioning, positions=positions)
            return Output(out.hidden.masked_fill(~valid[..., None], float("nan")))

    clean, dirty = (mdmkit.decode(AHEAD, backbone, RAGGED) for backbone in (ToyBackbone(), Dirty()))
    assert dirty.tokens == clean.tokens
    assert [row.uncertainty for row in dirty.rows] == [row.uncertainty for row in clean.rows]


def test_logits_that_are_not_numbers_name_tick_and_row():
    class Broken(ToyBackbone):
        def project(self, hidden):
            return super().project(hidden) * float("nan")

    with pytest.raises(MdmkitError, match=r"NaN.* tick 0 in row 0"):
        mdmkit.decode(GREEDY, Broken(), ["ab"])


def test_large_batches_of_states_are_split(monkeypatch):
    from mdmkit.loop import calls
    from mdmkit.stage import look

    whole = run(AHEAD, RAGGED)
    monkeypatch.setattr(calls, "FORWARD_TOKENS", 40)
    monkeypatch.setattr(look, "LOOK_BYTES", 600)
    parts = run(AHEAD, RAGGED)
    assert parts.tokens == whole.tokens and parts.nfe["rows"] == whole.nfe["rows"]
    assert parts.calls > whole.calls


def test_observers_hear_every_step_and_change_nothing():
    open_, rows = {}, {}

    class Listener(Observer):
        def on_admit(self, id, prompt, canvas):
            open_[id] = int(canvas.open.sum())
            rows[id] = prompt.index

        def on_step(self, step, actions, choice):
            for id_, written in zip(step.ids, actions.take(choice)[0].sum(1).tolist(), strict=True):
                open_[id_] -= written

        def on_leave(self, id, row):
            assert open_.pop(id) == 0
            assert row.index == rows[id]

    watched = run(AHEAD, RAGGED, observers=[Listener()])
    assert watched.tokens == run(AHEAD, RAGGED).tokens
    assert sorted(rows.values()) == list(range(len(RAGGED))) and not open_


@dataclass(frozen=True)
class CountUp:
    """Writes, and raises every written token of the block by one a step until it is `top`."""

    top: int = 6
    lingers: int = 3
    rewrites: ClassVar[bool] = True

    def __call__(self, step, actions, choice):
        place, tokens = actions.take(choice)
        held = step.window(step.canvas.tokens)
        own = step.member & step.window(step.canvas.editable) & ~step.open & step.active[:, None]
        rises = own & (held < self.top)
        written = torch.where(place, torch.ones_like(tokens), held + 1)
        return step.canvas.filled(step.spread(place | rises), step.put(step.canvas.tokens, written))


@pytest.mark.parametrize(("lingers", "tokens"), [(0, {1, 2}), (2, {3, 4}), (9, {6})])
def test_a_commit_may_go_on_in_a_full_block_until_it_changes_nothing(lingers, tokens):
    backbone = ToyBackbone(dtype=torch.float64)
    sampler = Sampler(ByConfidence(), TakeQuota(), commit=CountUp(lingers=lingers), plan=Plan(length=4, block=2))
    together = mdmkit.decode(sampler, backbone, ["ab", "dc_", "abc"]).rows
    row = together[0]
    # A full block holds 1 and 2; both rise as long as steps last, and the one that changes nothing ends it.
    assert {*row.tokens[:2]} == {*row.tokens[2:]} == tokens
    assert row.nfe == 2 * (2 + min(lingers, 6))
    assert max(row.order) == row.nfe - 1 - (lingers > 5)
    for prompt, found in zip(["ab", "dc_", "abc"], together, strict=True):
        alone = mdmkit.decode(sampler, backbone, [prompt]).rows[0]
        assert (alone.tokens, alone.nfe, alone.order) == (found.tokens, found.nfe, found.order)
