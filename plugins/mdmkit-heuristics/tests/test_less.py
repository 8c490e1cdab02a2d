"""LESS decodes as its rule does when it is written out; what it remembers belongs to positions that stay open."""

import math
from dataclasses import replace

import pytest
import torch

import mdmkit
from mdmkit import Belief, MdmkitError, Plan, Sampler
from mdmkit.testing import ToyBackbone, make_moment
from mdmkit_heuristics.persistent import Less
from mdmkit_heuristics.scores import Confidence


def coarse(p, k):
    """The k most probable tokens and their probabilities, and all other tokens as one."""
    best = sorted(range(len(p)), key=lambda v: (-p[v], v))[:k]
    return {v: p[v] for v in best} | {"other": max(0.0, 1 - sum(p[v] for v in best))}


def jensen_shannon(p, q):
    total = 0.0
    for v in {*p, *q}:
        a, b = p.get(v, 0.0), q.get(v, 0.0)
        total += sum(x * math.log(2 * x / (a + b)) for x in (a, b) if x > 0) / 2
    return total


@pytest.mark.parametrize(
    ("threshold", "divergence", "history", "top_k"),
    [(0.3, 0.1, 1, 2), (0.3, 0.04, 2, 8), (0.2, 9.0, 3, 3), (0.2, 0.02, 1, 1), (0.3, 0.1, 1, 50)],
)
def test_less(compare, threshold, divergence, history, top_k):
    def rule(m):
        past = m.memory.setdefault("past", [])
        past.append((m.best, [coarse(p, top_k) for p in m.p]))
        calm = [
            i
            for i in m.open
            if len(past) > history
            and len({best[i] for best, _ in past[-history - 1 :]}) == 1
            and jensen_shannon(past[-1][1][i], past[-2][1][i]) <= divergence
            and m.c[i] >= threshold
        ]
        return calm or m.top(m.quota)

    assert min(compare(rule, Confidence(), Less(threshold, divergence, history, top_k))) < 10


@pytest.mark.parametrize("switched", ["threshold", "divergence", "history"])
def test_each_of_the_three_conditions_holds_positions_back(switched):
    """Without it a decode takes fewer forwards."""
    strict = Less(threshold=0.45, divergence=0.05, history=2)
    loose = replace(
        strict,
        **{"threshold": {"threshold": 0.0}, "divergence": {"divergence": 9.0}, "history": {"history": 1}}[switched],
    )
    plan = Plan(length=24)
    prompts = ["ab", "c", "abcde", "fed", "aaa", "bcb"]
    forwards = [
        sum(row.nfe for row in mdmkit.decode(Sampler(Confidence(), each, plan=plan), ToyBackbone(), prompts).rows)
        for each in (strict, loose)
    ]
    assert forwards[1] < forwards[0]


def states(*distributions):
    """Steps of one row of three positions, sharing a memory; at each, positions have the given distributions."""
    step = make_moment(0).rows([0]).step()
    for p, open_ in distributions:
        logits = torch.zeros(1, step.width, 4, dtype=torch.float64)
        logits[0, :3] = torch.tensor(p, dtype=torch.float64).log()
        flags = torch.tensor([[i < 3 and bool(open_[i]) for i in range(step.width)]])
        yield replace(step, open=flags, quota=torch.ones(1, dtype=torch.long), belief=Belief(logits))


A, B, SURE = [0.8, 0.1, 0.06, 0.04], [0.1, 0.8, 0.06, 0.04], [0.97, 0.01, 0.01, 0.01]
DOUBT = [0.4, 0.3, 0.2, 0.1]


def chosen(select, steps):
    return [select(step, step.confidence).place[0, 0].nonzero()[:, 0].tolist() for step in steps]


def test_positions_are_filled_once_their_token_has_stayed_for_the_history():
    """Two steps before must agree, so the rule can fill in the third step; until then the best is filled."""
    steps = states(*[([A, A, SURE], [1, 1, 1])] * 3)
    assert chosen(Less(), steps) == [[2], [2], [0, 1, 2]]


def test_a_position_whose_token_changed_begins_anew():
    steps = states(
        ([A, A, DOUBT], [1, 1, 1]),
        ([A, B, DOUBT], [1, 1, 1]),
        ([A, A, DOUBT], [1, 1, 1]),
        ([A, A, DOUBT], [0, 1, 1]),
        ([A, A, DOUBT], [0, 1, 1]),
    )
    assert chosen(Less(), steps) == [[0], [0], [0], [1], [1]]


def test_a_position_that_was_reopened_begins_anew():
    steps = states(
        ([A, A, SURE], [1, 1, 1]),
        ([A, A, SURE], [1, 1, 1]),
        ([A, A, SURE], [0, 1, 1]),
        *[([A, A, SURE], [1, 1, 1])] * 3,
    )
    assert chosen(Less(), steps) == [[2], [2], [1, 2], [1, 2], [1, 2], [0, 1, 2]]


def test_a_distribution_that_moves_below_its_best_token_is_not_stable():
    """JSD of (0.8, 0.1, 0.06, 0.04) and (0.8, 0.02, 0.02, 0.16) is 0.039 nats; told apart at one token it is 0."""
    moved = [0.8, 0.02, 0.02, 0.16]
    near = jensen_shannon(coarse(A, 8), coarse(moved, 8))
    assert near == pytest.approx(0.0391, abs=1e-4)
    for bound, top_k, filled in ((near + 1e-6, 8, [0, 1]), (near - 1e-6, 8, [1]), (1e-6, 1, [0, 1])):
        steps = states(*[([A, A, DOUBT], [1, 1, 1])] * 2, ([moved, A, DOUBT], [1, 1, 1]))
        assert chosen(Less(divergence=bound, top_k=top_k), steps)[-1] == filled


def test_a_block_shorter_than_the_history_takes_one_step_a_position():
    row = mdmkit.decode(Sampler(Confidence(), Less(threshold=0.0), plan=Plan(length=2)), ToyBackbone(), ["ab"]).rows[0]
    assert row.nfe == 2


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (lambda: Less(threshold=-0.1), "threshold=-0.1"),
        (lambda: Less(divergence=math.inf), "divergence=inf"),
        (lambda: Less(history=0), "history=0"),
        (lambda: Less(top_k=0), "top_k=0"),
    ],
)
def test_parameters_out_of_range_are_refused(part, words):
    with pytest.raises(MdmkitError, match=words):
        part()
