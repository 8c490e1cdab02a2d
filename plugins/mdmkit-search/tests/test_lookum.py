"""lookum: the paths come from the pool, the verifier is its formula, and the draw is in proportion."""

from collections import Counter

import pytest
import torch

import mdmkit
from mdmkit import Draw, MdmkitError, Plan, Sampler
from mdmkit.testing import ByConfidence, LookaheadContract, SelectContract, ToyBackbone, make_step
from mdmkit_search.lookum import Paths, Verifier


class TestPaths(SelectContract):
    component = Paths


class TestPathsAboveAThreshold(SelectContract):
    def make(self):
        return Paths(paths=4, threshold=0.3)


class TestVerifier(LookaheadContract):
    component = Verifier


class TestConfidenceVerifier(LookaheadContract):
    def make(self):
        return Verifier(measure="confidence", temperature=0.0, scope="block")


def pool_of(select, step, scores, b):
    """The pool of one row."""
    best = sorted(step.open[b].nonzero()[:, 0].tolist(), key=lambda w: (-scores[b, w].item(), w))
    quota = int(step.quota[b])
    if select.threshold is None:
        return set(best[: max(quota, select.pool)])
    return {w for w in best if scores[b, w] >= select.threshold} | set(best[:quota])


@pytest.mark.parametrize("select", [Paths(paths=6), Paths(paths=6, pool=1), Paths(paths=6, threshold=0.25)])
def test_every_path_is_a_set_of_the_pool(select):
    sizes = set()
    for seed in range(6):
        step = make_step(seed)
        scores = step.confidence
        actions = select(step, scores)
        for b in range(step.rows):
            pool, quota = pool_of(select, step, scores, b), int(step.quota[b])
            sets = [frozenset(p.nonzero()[:, 0].tolist()) for p in actions.place[b][actions.live[b]]]
            assert all(len(s) == quota and s <= pool for s in sets)
            assert len(set(sets)) == len(sets)
            sizes.add(len(sets))
    assert len(sizes) > 1


def test_paths_are_drawn_uniformly_from_the_pool():
    """Two of the best three of five positions: each pair a third of the time."""
    sampler = Sampler(ByConfidence(), Paths(paths=1, pool=3), plan=Plan(length=5, tokens_per_step=2))
    rows = mdmkit.decode(sampler, ToyBackbone(), ["a"] * 1500, seed=1).rows
    counts = Counter(tuple(i for i, tick in enumerate(row.order) if tick == 0) for row in rows)
    assert len(counts) == 3
    assert [n / 1500 for n in counts.values()] == pytest.approx([1 / 3] * 3, abs=0.04)


def rewards(literal, state, places, entropy, measure):
    """The reward of filling each of `places` with its best token."""
    belief = literal.probabilities(state)
    out = []
    for i in places:
        after = list(state)
        after[i] = belief[i].index(max(belief[i]))
        ahead = literal.probabilities(after)
        each = [-entropy(ahead[j]) if measure == "entropy" else max(ahead[j]) for j in literal.masked(after)]
        out.append(sum(each) / len(each))
    return out


@pytest.mark.parametrize("measure", ["entropy", "confidence"])
def test_a_path_is_drawn_by_its_reward(literal, entropy, proposals, measure):
    select, nearby = proposals
    state = literal.encode("ab", 4)
    places = [p[0] for p in nearby(literal.probabilities(state), literal.masked(state), 1, 3)]
    worth = rewards(literal, state, places, entropy, measure)
    temperature = 0.1 if measure == "entropy" else 0.03
    sampler = Sampler(ByConfidence(), select(3), Verifier(measure, temperature), plan=Plan(length=4))
    rows = mdmkit.decode(sampler, literal.backbone, ["ab"] * 2000, seed=2).rows
    share = [sum(row.trace["choices"][0] == i for row in rows) / 2000 for i in range(3)]
    expected = (torch.tensor(worth) / temperature).softmax(0).tolist()
    assert max(expected) > 0.4
    assert share == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize("scope", ["sequence", "block"])
def test_without_temperature_the_best_state_is_taken(literal, entropy, proposals, scope):
    """NFE: a forward to begin with, and one for each rival; the scope tells blocks from the whole row."""
    select, nearby = proposals
    state, order, tick = literal.encode("ab", 6), {}, 0
    for block in ((2, 3, 4), (5, 6, 7)):
        belief = literal.probabilities(state)
        while open_ := [i for i in block if state[i] == literal.mask]:
            ways = []
            for places in nearby(belief, open_, 1, 3):
                after = list(state)
                after[places[0]] = belief[places[0]].index(max(belief[places[0]]))
                ahead = literal.probabilities(after) if len(open_) > 1 else belief
                left = [i for i in (block if scope == "block" else range(8)) if after[i] == literal.mask]
                reward = -sum(entropy(ahead[i]) for i in left) / max(1, len(left))
                ways.append((reward, -len(ways), after, ahead, places[0]))
            _, _, state, belief, place = max(ways)
            order[place], tick = tick, tick + 1
    forwards = literal.rows
    verifier = Verifier(temperature=0.0, scope=scope)
    sampler = Sampler(ByConfidence(), select(3), verifier, plan=Plan(length=6, block=3))
    (row,) = mdmkit.decode(sampler, literal.backbone, ["ab"]).rows
    assert row.tokens == state[2:]
    assert row.order == [order[i] for i in range(2, 8)]
    assert row.nfe == forwards


def test_tokens_are_drawn_for_each_path():
    step = make_step(3, temperature=1.5)
    actions = Paths(paths=8, pool=2)(step, step.confidence)
    assert any(len(set(actions.tokens[b, :, w].tolist())) > 1 for b, w in step.open.nonzero().tolist())
    sampler = Sampler(ByConfidence(), Paths(), Verifier(), plan=Plan(tokens_per_step=2), draw=Draw(temperature=0.7))
    decoded = mdmkit.decode(sampler, ToyBackbone(), [{"prompt": "ab", "length": 6}], seed=1)
    assert decoded.nfe == {"rows": 1 + 2 * 2, "calls": 3}, "the last step has nothing to compare"
    first, again, other = (mdmkit.decode(sampler, ToyBackbone(), ["ab", "cd"], seed=s).tokens for s in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (lambda: Paths(paths=0), "paths=0"),
        (lambda: Paths(pool=0), "pool=0"),
        (lambda: Paths(threshold=float("nan")), "threshold=nan"),
        (lambda: Verifier(measure="margin"), "measure='margin'.*entropy, confidence"),
        (lambda: Verifier(scope="row"), "scope='row'"),
        (lambda: Verifier(temperature=-0.1), "temperature=-0.1"),
    ],
)
def test_parameters_out_of_range_are_refused(part, words):
    with pytest.raises(MdmkitError, match=words):
        part()
