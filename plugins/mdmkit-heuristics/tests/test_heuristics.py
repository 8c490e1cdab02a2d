"""The plain scores and selects equal a naive loop over rows written from their formulas; every preset decodes."""

import math

import pytest
import torch

import mdmkit
from mdmkit import Draw, MdmkitError, Plan, Sampler
from mdmkit.testing import ToyBackbone, make_step
from mdmkit_heuristics.plugin import mdmkit_sampler
from mdmkit_heuristics.scores import Confidence, Entropy, LeftToRight, Margin, Random
from mdmkit_heuristics.selects import Threshold, TopK


def formulas(step):
    """Per score, the naive value of every open position: {(row, column): value}."""
    out = {"confidence": {}, "entropy": {}, "margin": {}, "left_to_right": {}}
    for b, w in step.open.nonzero().tolist():
        p = sorted(step.belief.logits[b, w].double().softmax(-1).tolist(), reverse=True)
        out["confidence"][b, w] = p[0]
        out["entropy"][b, w] = sum(q * math.log(q) for q in p if q > 0)
        out["margin"][b, w] = p[0] - p[1]
        column = int(step.position[b, w])
        assert step.canvas.valid[b, : column + 1].all()  # a row begins at column 0
        out["left_to_right"][b, w] = -float(column)
    return out


@pytest.mark.parametrize(
    ("name", "score"),
    [("confidence", Confidence()), ("entropy", Entropy()), ("margin", Margin()), ("left_to_right", LeftToRight())],
)
def test_scores_equal_their_formulas(name, score):
    step = make_step(3)
    got, expected = score(step), formulas(step)[name]
    assert len(expected) > 10
    for (b, w), value in expected.items():
        assert got[b, w].item() == pytest.approx(value, abs=1e-6)


def test_confidence_follows_the_drawn_token():
    step = make_step(4, temperature=1.0)
    got = Confidence()(step)
    for b, w in step.open.nonzero().tolist():
        p = step.belief.logits[b, w].double().softmax(-1)
        assert got[b, w].item() == pytest.approx(float(p[step.tokens[b, w]]), abs=1e-6)
    assert (step.tokens != step.belief.argmax)[step.open].any()


def test_top_k_equals_a_loop_over_rows():
    step = make_step(5)
    scores = torch.randn(step.open.shape, generator=torch.Generator().manual_seed(0))
    actions = TopK()(step, scores)
    for b in range(step.rows):
        columns = step.open[b].nonzero()[:, 0].tolist()
        best = sorted(columns, key=lambda w: (-scores[b, w].item(), w))[: int(step.quota[b])]
        assert actions.place[b, 0].nonzero()[:, 0].tolist() == sorted(best)
        assert actions.live[b].tolist() == [bool(best)]


def test_threshold_equals_a_loop_over_rows():
    step = make_step(6)
    scores = Margin()(step)
    for threshold in (0.0, 0.2, 0.5, 1.0):
        actions = Threshold(threshold)(step, scores)
        for b in range(step.rows):
            columns = step.open[b].nonzero()[:, 0].tolist()
            chosen = {w for w in columns if step.confidence[b, w] >= threshold}
            chosen |= set(sorted(columns, key=lambda w: (-scores[b, w].item(), w))[:1])
            assert set(actions.place[b, 0].nonzero()[:, 0].tolist()) == chosen


def test_noisy_top_k_draws_positions_in_proportion():
    """With one position a step, position i comes first with probability softmax(score / temperature)_i."""
    sampler = Sampler(LeftToRight(), TopK(temperature=2.0), plan=Plan(length=3))
    rows = mdmkit.decode(sampler, ToyBackbone(), ["a"] * 4000, seed=1).rows
    share = [sum(row.order[i] == 0 for row in rows) / 4000 for i in range(3)]
    expected = (torch.tensor([0.0, -1.0, -2.0]) / 2.0).softmax(0).tolist()
    assert share == pytest.approx(expected, abs=0.03)


def test_random_order_is_uniform():
    rows = mdmkit.decode(Sampler(Random(), TopK(), plan=Plan(length=4)), ToyBackbone(), ["a"] * 4000, seed=2).rows
    share = [sum(row.order[i] == 0 for row in rows) / 4000 for i in range(4)]
    assert share == pytest.approx([0.25] * 4, abs=0.03)


def test_left_to_right_is_left_to_right():
    assert mdmkit.decode(Sampler(LeftToRight(), TopK(), plan=Plan(length=6)), ToyBackbone(), ["ab"]).rows[
        0
    ].order == list(range(6))


def test_threshold_zero_fills_everything_in_one_step():
    decoded = mdmkit.decode(Sampler(Confidence(), Threshold(0.0), plan=Plan(length=6)), ToyBackbone(), ["ab"])
    assert decoded.nfe == {"rows": 1, "calls": 1}


@pytest.mark.parametrize("name", [component.name for component in mdmkit_sampler()])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_every_preset_fills_masks_anywhere(name, temperature, toy_table):
    own = {
        "pc": {"score": {"table": toy_table}},
        "adablock": {"select": {"delimiters": [3, 4]}},
        "daedal": {"commit": {"end": 1}, "plan": {"room": 5}},
    }
    given = {"plan": {"block": 3, "steps": 4}, "draw": {"temperature": temperature}} | own.get(name, {})
    sampler = mdmkit.compose(name, **given)
    decoded = mdmkit.decode(sampler, ToyBackbone(), ["a__b___c_", "___", {"prompt": "ab", "length": 7}])
    assert all(ToyBackbone().mask_id not in row.tokens for row in decoded.rows)
    assert isinstance(sampler.draw, Draw)


@pytest.mark.parametrize(
    ("part", "words"), [(lambda: TopK(temperature=-1), "temperature=-1"), (lambda: Threshold(1.2), "threshold=1.2")]
)
def test_parameters_out_of_range_are_refused(part, words):
    with pytest.raises(MdmkitError, match=words):
        part()
