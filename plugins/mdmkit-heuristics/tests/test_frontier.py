"""The key `frontier`: a select does with the leftmost open positions what it does with all of them without the key."""

import math
from dataclasses import replace

import pytest
import torch

import mdmkit
from mdmkit import MdmkitError, Plan, Sampler
from mdmkit.testing import ToyBackbone, make_moment
from mdmkit_heuristics.bounded import BlockRefinement, EntropyBound, Factor, Frechet, LowEntropy
from mdmkit_heuristics.credit import CreditThreshold
from mdmkit_heuristics.mean_field import MeanField
from mdmkit_heuristics.persistent import Less
from mdmkit_heuristics.scores import Confidence
from mdmkit_heuristics.selects import Threshold, TopK
from mdmkit_heuristics.stable import Klass

SELECTS = {
    "top_k": TopK(),
    "top_k-noisy": TopK(temperature=0.5),
    "threshold": Threshold(0.3),
    "factor": Factor(1.2),
    "factor-last": Factor(2.0, last=True),
    "frechet": Frechet(-1.0),
    "entropy_bound": EntropyBound(3.0),
    "low_entropy": LowEntropy(1.6, most=2),
    "block_refinement": BlockRefinement(0.2),
    "klass": Klass(0.1, 5.0, 1),
    "less": Less(0.1, 5.0, 1),
    "mean_field": MeanField(0.3),
    "credit": CreditThreshold(0.3),
}


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def first(step, width):
    """The first open positions of each row, one by one."""
    open_ = torch.zeros_like(step.open)
    for row, flags in enumerate(step.open.tolist()):
        open_[row, [i for i, flag in enumerate(flags) if flag][:width]] = True
    return open_


@pytest.mark.parametrize("width", [1, 2, 3, 100, None])
def test_the_leftmost_open_positions(width):
    step = make_moment(1).step()
    assert torch.equal(step.leftmost(width), first(step, width))
    assert torch.equal(step.leftmost(width), step.open) == (width in (100, None))


@pytest.mark.parametrize("name", SELECTS)
@pytest.mark.parametrize("width", [1, 3])
def test_a_select_with_a_frontier_is_the_select_at_the_leftmost_positions(name, width):
    changed = 0
    for seed in range(4):
        moment = make_moment(seed)
        step = moment.step()
        gated = replace(SELECTS[name], frontier=width)(step, moment.where(moment.scores))
        alone = make_moment(seed).step()
        alone = replace(alone, open=first(alone, width))
        expected = SELECTS[name](alone, moment.where(moment.scores))
        assert torch.equal(gated.place, expected.place)
        assert torch.equal(gated.live, expected.live)
        assert torch.equal(gated.tokens[gated.place], expected.tokens[expected.place])
        free = SELECTS[name](make_moment(seed).step(), moment.where(moment.scores))
        changed += not torch.equal(gated.place, free.place)
    assert changed


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("steps", [None, 4])
def test_top_k_in_a_frontier_decodes_as_its_rule(compare, width, steps):
    def rule(m):
        return m.top(m.quota, among=m.open[:width])

    counts = compare(rule, Confidence(), TopK(frontier=width), steps=(steps,))
    assert min(counts) == (10 if steps is None or width == 1 else 5 if width == 2 else 4)


@pytest.mark.parametrize("width", [2, 5])
def test_threshold_in_a_frontier_decodes_as_its_rule(compare, width):
    def rule(m):
        lead = m.open[:width]
        return {*m.top(1, among=lead), *[i for i in lead if m.c[i] >= 0.3]}

    assert min(compare(rule, Confidence(), Threshold(0.3, frontier=width))) < 10


@pytest.mark.parametrize("history", [1, 2])
def test_klass_in_a_frontier_remembers_the_positions_behind_it(compare, history):
    """A position that comes into the frontier has been stable since it was first read, not since it came in."""

    def rule(m):
        past = m.memory.setdefault("past", [])
        past.append(m.p)
        lead, calm = m.open[:2], []
        for i in lead:
            kls = [kl(past[-k][i], past[-k - 1][i]) for k in range(1, history + 1) if len(past) > k]
            if len(kls) == history and max(kls) < 0.5 and m.c[i] > 0.3:
                calm.append(i)
        return calm or m.top(m.quota, among=lead)

    assert min(compare(rule, Confidence(), Klass(0.3, 0.5, history, frontier=2), steps=(None,))) < 10


@pytest.mark.parametrize("name", SELECTS)
def test_a_frontier_of_one_is_left_to_right_whatever_ranks(name):
    sampler = Sampler(Confidence(), replace(SELECTS[name], frontier=1), plan=Plan(length=7))
    assert mdmkit.decode(sampler, ToyBackbone(), ["ab"]).rows[0].order == list(range(7))


@pytest.mark.parametrize("name", SELECTS)
def test_a_frontier_of_none_is_refused(name):
    with pytest.raises(MdmkitError, match=r"frontier=0: it is a number of positions, at least 1; null"):
        replace(SELECTS[name], frontier=0)


def test_the_preset_is_confidence_among_the_four_leftmost():
    sampler = mdmkit.compose("frontier", plan={"length": 9})
    rows = mdmkit.decode(sampler, ToyBackbone(), ["ab", "c"]).rows
    for row in rows:
        for step in range(9):
            still = [i for i in range(9) if row.order[i] >= step]
            assert row.order.index(step) in still[:4]
    assert any(row.order != list(range(9)) for row in rows)
