"""beam equals a beam search in plain Python, one state at a time, and with one beam the greedy choice."""

from dataclasses import dataclass

import pytest
import torch

import mdmkit
from mdmkit import MdmkitError, Plan, Sampler
from mdmkit.testing import ByConfidence, LeastEntropyLeft, SearchContract, Spread, TakeQuota, ToyBackbone
from mdmkit_search.beam import Beam

PROMPTS = (("ab", 7), ("c__d_a_", 0), ("abc", 9))


class TestBeam(SearchContract):
    component = Beam

    def sampler(self, search, plan):
        return Sampler(ByConfidence(), Spread(3), search=search, plan=plan)


class TestBeamsWithoutAlternatives(SearchContract):
    def make(self):
        return Beam(particles=3)


def beam_search(literal, entropy, nearby, state, beams, candidates, k, block):
    """(cost, tokens, order) of the best beam; every beam is (cost, tokens, belief, order).

    Beams start as one, equal states are one, and each state is looked at once.
    """
    start = [i for i, token in enumerate(state) if token == literal.mask]
    blocks = [[i for i in start if (i - start[0]) // block == j] for j in range((start[-1] - start[0]) // block + 1)]
    kept, tick = [(0.0, tuple(state), None, {})], 0
    for columns in blocks:
        # Entering a block looks at every beam again, copies included: that is what the loop pays.
        literal.rows += beams - len(kept)
        kept = [(c, s, literal.probabilities(list(s)), o) for c, s, _, o in kept]
        while any(literal.mask in [s[i] for i in columns] for _, s, _, _ in kept):
            found = {}
            for cost, tokens, belief, order in kept:
                open_ = [i for i in columns if tokens[i] == literal.mask]
                for places in nearby(belief, open_, min(k, len(open_)), candidates):
                    after, when = list(tokens), dict(order)
                    for i in places:
                        after[i], when[i] = belief[i].index(max(belief[i])), tick
                    spent = cost + sum(entropy(belief[i]) for i in places)
                    if tuple(after) not in found or spent < found[tuple(after)][0]:
                        found[tuple(after)] = (spent, tuple(after), when)
            rated = []
            for spent, after, when in found.values():
                left = [i for i in columns if after[i] == literal.mask]
                belief = literal.probabilities(list(after)) if left else None
                later = sum(entropy(belief[i]) for i in left) / len(left) if left else 0.0
                rated.append((spent + later, spent, after, belief, when))
            rated.sort(key=lambda r: r[0])
            kept = [(spent, after, belief, when) for _, spent, after, belief, when in rated[:beams]]
            tick += 1
    return min(kept, key=lambda b: b[0])


@pytest.mark.parametrize(("beams", "candidates"), [(1, 1), (1, 4), (2, 3), (3, 2), (4, 4)])
@pytest.mark.parametrize(("k", "block"), [(1, 99), (2, 99), (2, 4)])
def test_beam_equals_a_beam_search_in_plain_python(literal, entropy, proposals, beams, candidates, k, block):
    select, nearby = proposals
    plan = Plan(block=block, tokens_per_step=k)
    sampler = Sampler(ByConfidence(), select(candidates), search=Beam(particles=beams), plan=plan)
    rows = mdmkit.decode(sampler, literal.backbone, [{"prompt": text, "length": n} for text, n in PROMPTS]).rows
    for row, (text, n) in zip(rows, PROMPTS, strict=True):
        literal.rows = 0
        state = literal.encode(text, n)
        cost, tokens, _, order = beam_search(literal, entropy, nearby, state, beams, candidates, k, block)
        shown = range(len(state)) if n == 0 else range(len(text), len(state))
        assert row.tokens == [tokens[i] for i in shown]
        assert row.order == [order.get(i, -1) for i in shown]
        assert row.uncertainty == pytest.approx(cost, abs=1e-9)
        assert row.nfe == literal.rows


def test_more_beams_find_paths_of_less_uncertainty(literal, proposals):
    select, _ = proposals
    prompts = [{"prompt": "abcde"[:n], "length": 8} for n in range(1, 6)]
    costs = []
    for beams in (1, 8):
        sampler = Sampler(ByConfidence(), select(4), search=Beam(particles=beams))
        costs.append(sum(row.uncertainty for row in mdmkit.decode(sampler, literal.backbone, prompts).rows))
    assert costs[1] < costs[0]


@dataclass(frozen=True)
class LeastCostAndEntropy(LeastEntropyLeft):
    """Info-Gain's objective: minus the entropy spent and the mean entropy left."""

    def __call__(self, step, actions, look):
        spent = torch.where(actions.place, step.belief.entropy[:, None], 0.0).sum(-1)
        return super().__call__(step, actions, look) - spent


@pytest.mark.parametrize("plan", [Plan(), Plan(block=3, tokens_per_step=2), Plan(steps=3)])
def test_one_beam_is_the_greedy_choice_of_the_same_objective(literal, plan):
    prompts = [{"prompt": "ab", "length": 9, "seed": 3}, {"prompt": "c__d_a_", "seed": 4}]
    greedy = Sampler(ByConfidence(), Spread(4), LeastCostAndEntropy(), plan=plan)
    beam = Sampler(ByConfidence(), Spread(4), search=Beam(particles=1), plan=plan)
    theirs, ours = (mdmkit.decode(sampler, literal.backbone, prompts) for sampler in (greedy, beam))
    assert ours.tokens == theirs.tokens
    assert [row.order for row in ours.rows] == [row.order for row in theirs.rows]
    assert ours.nfe["rows"] < theirs.nfe["rows"], "equal alternatives of Spread are looked at once"


def test_one_beam_over_branch_is_info_gain(literal):
    """With the parts of mdmkit-info-gain: the same tokens and the same cost."""
    branch = pytest.importorskip("mdmkit_info_gain.branch")
    lookahead = pytest.importorskip("mdmkit_info_gain.lookahead")
    prompts = [{"prompt": "ab", "length": 9, "seed": 3}, {"prompt": "c__d_a_", "seed": 4}]
    for bypass in (None, 0.4):
        select = branch.Branch(candidates=6, bypass=bypass)
        greedy = Sampler(ByConfidence(), select, lookahead.InfoGain(), plan=Plan(block=5, tokens_per_step=2))
        beam = Sampler(ByConfidence(), select, search=Beam(particles=1), plan=Plan(block=5, tokens_per_step=2))
        theirs, ours = (mdmkit.decode(sampler, literal.backbone, prompts) for sampler in (greedy, beam))
        assert [(r.tokens, r.order, r.nfe) for r in ours.rows] == [(r.tokens, r.order, r.nfe) for r in theirs.rows]


def test_a_lookahead_beside_beams_is_refused():
    sampler = Sampler(ByConfidence(), Spread(4), LeastEntropyLeft(), search=Beam())
    with pytest.raises(MdmkitError, match="set lookahead to null"):
        mdmkit.decode(sampler, ToyBackbone(), ["abcd"] * 6)


def test_no_beam_is_refused():
    with pytest.raises(MdmkitError, match="particles=0"):
        Beam(particles=0)


def test_beams_without_alternatives_cost_no_more_than_one_after_the_start():
    """Greedy beams are copies: one of them is forwarded."""
    one, three = (
        mdmkit.decode(Sampler(ByConfidence(), TakeQuota(), search=Beam(particles=n)), ToyBackbone(), ["ab"]).rows[0]
        for n in (1, 3)
    )
    assert three.tokens == one.tokens
    assert three.nfe == one.nfe + 2
