"""Every select decodes as its rule does when it is written out position by position."""

import math

import pytest

from mdmkit import MdmkitError
from mdmkit.testing import make_step
from mdmkit_heuristics.bounded import BlockRefinement, EntropyBound, Factor, Frechet, LowEntropy
from mdmkit_heuristics.credit import Credit, CreditThreshold
from mdmkit_heuristics.cycles import SlowFast
from mdmkit_heuristics.local import Dilated, LocalLeap, Spaced
from mdmkit_heuristics.scores import Confidence, Entropy, Margin
from mdmkit_heuristics.selects import TopK
from mdmkit_heuristics.stable import Klass


def entropy(p):
    return -sum(q * math.log(q) for q in p if q > 0)


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


@pytest.mark.parametrize("gamma", [0.0, 0.8, 3.0])
def test_entropy_bound(compare, gamma):
    def rule(m):
        ranked, chosen = m.top(99, by=[-h for h in m.h]), []
        for i in ranked:
            run = [m.h[k] for k in [*chosen, i]]
            if chosen and sum(run) - max(run) > gamma:
                break
            chosen.append(i)
        return chosen

    counts = compare(rule, Entropy(), EntropyBound(gamma))
    assert (min(counts) == 10) == (gamma == 0)


@pytest.mark.parametrize(("factor", "last"), [(0.9, False), (1.2, False), (1.2, True), (4.0, False)])
def test_factor(compare, factor, last):
    def rule(m):
        chosen = m.top(1)
        for n, i in enumerate(m.top(99)[1:], start=2):
            if (n + 1) * (1 - m.c[i]) > factor and not (last and n == len(m.open)):
                break
            chosen.append(i)
        return chosen

    assert len(set(compare(rule, Confidence(), Factor(factor, last)))) > 1


@pytest.mark.parametrize("margin", [-3.0, -1.0, 0.0, 0.25])
@pytest.mark.parametrize("by", ["confidence", "entropy"])
def test_frechet(compare, margin, by):
    """The largest n of all with L − U > margin, whatever ranks."""

    def rule(m):
        ranked = m.top(99, by=m.c if by == "confidence" else [-h for h in m.h])
        fine = [1]
        for n in range(2, len(ranked) + 1):
            c = [m.c[i] for i in ranked[:n]]
            lower, upper = sum(c) - (n - 1), 1 - min(c)
            if lower - upper > margin:
                fine.append(n)
        return ranked[: max(fine)]

    counts = compare(rule, {"confidence": Confidence(), "entropy": Entropy()}[by], Frechet(margin))
    assert min(counts) < 10


@pytest.mark.parametrize(("bound", "most"), [(0.9, None), (1.2, None), (1.6, 2)])
def test_low_entropy(compare, bound, most):
    def rule(m):
        low = [i for i in m.open if m.h[i] <= bound]
        return m.top(most or 99, among=low, by=[-h for h in m.h]) or m.top(1, by=[-h for h in m.h])

    assert min(compare(rule, Entropy(), LowEntropy(bound, most))) < 10


@pytest.mark.parametrize("threshold", [0.3, 0.6])
def test_block_refinement(compare, threshold):
    def rule(m):
        sure = [i for i in m.open if m.c[i] > threshold]
        return sure if len(sure) >= m.quota else m.top(m.quota)

    compare(rule, Confidence(), BlockRefinement(threshold))


def test_block_refinement_leaves_out_a_position_that_is_exactly_at_the_threshold():
    step = make_step(3)
    tried = 0
    for row in range(step.rows):
        ranked = step.confidence[row][step.open[row]].sort(descending=True).values.tolist()
        quota = int(step.quota[row])
        if len(ranked) > quota > 0:
            actions = BlockRefinement(ranked[quota])(step, step.confidence)
            assert int(actions.place[row, 0].sum()) == quota
            tried += 1
    assert tried


@pytest.mark.parametrize(("threshold", "divergence", "history"), [(0.3, 0.3, 1), (0.3, 0.5, 2), (0.1, 9.0, 3)])
def test_klass(compare, threshold, divergence, history):
    def rule(m):
        past = m.memory.setdefault("kl", [])
        past.append([kl(p, q) for p, q in zip(m.p, m.memory.get("p", []), strict=False)] or [math.inf] * m.size)
        m.memory["p"] = m.p
        calm = [
            i
            for i in m.open
            if len(past) > history and all(step[i] < divergence for step in past[-history:]) and m.c[i] > threshold
        ]
        return calm or m.top(m.quota)

    assert min(compare(rule, Confidence(), Klass(threshold, divergence, history), steps=(None,))) < 10


@pytest.mark.parametrize(("threshold", "relaxed", "radius"), [(0.5, 0.3, 1), (0.6, 0.1, 2)])
def test_local_leap(compare, threshold, relaxed, radius):
    def rule(m):
        anchors = [i for i in m.open if m.c[i] >= threshold]
        near = [i for i in m.open if m.c[i] >= relaxed and any(abs(i - a) <= radius for a in anchors)]
        return {*m.top(1), *anchors, *near}

    assert min(compare(rule, Confidence(), LocalLeap(threshold, relaxed, radius))) < 10


@pytest.mark.parametrize("base", [2, 3])
def test_dilated(compare, base):
    def rule(m):
        rounds = math.ceil(math.log(m.size, base)) if m.size > 1 else 1
        for t in range(1, rounds + 1):
            stride = max(1, m.size // base**t)
            if chosen := [i for i in m.open if i % stride == 0]:
                return chosen
        raise AssertionError("the last stride is 1")

    counts = compare(rule, Confidence(), Dilated(base), length=16, blocks=(None, 8))
    assert set(counts) == ({4, 6} if base == 2 else {2, 4})


@pytest.mark.parametrize(("gap", "threshold"), [(1, 0.0), (2, 0.0), (1, 0.4)])
def test_spaced(compare, gap, threshold):
    def rule(m):
        chosen = m.top(1)
        for i in m.top(99):
            if len(chosen) < m.quota and m.c[i] >= threshold and all(abs(i - k) > gap for k in chosen):
                chosen.append(i)
        return chosen

    compare(rule, Confidence(), Spaced(gap, threshold), steps=(None, 2, 4))


@pytest.mark.parametrize(("steps", "reach", "threshold"), [(2, 0.3, 0.6), (3, 0.5, 0.4), (6, 0.2, 0.9)])
def test_slow_fast(compare, steps, reach, threshold):
    def fill(m, region):
        sure = [i for i in region if m.c[i] >= threshold]
        return sure if len(sure) > 1 else m.top(1, among=region)

    def rule(m):
        state = m.memory.setdefault("cycle", {"start": 0, "end": m.size, "seen": [], "settled": False})
        inside = [i for i in m.open if state["start"] <= i < state["end"]]
        if len(state["seen"]) == steps and not inside:
            state.update(start=state["end"], seen=[], settled=False)
        ahead = [i for i in m.open if i >= state["start"]]
        if len(state["seen"]) == steps:
            return fill(m, inside)
        far = [i + 1 for i in ahead if m.c[i] >= reach]
        state["seen"].append(min(m.size, max(far, default=state["start"] + 1)))
        if len(state["seen"]) > 1 and not state["settled"]:
            a, b = state["seen"][-2:]
            state["settled"] = abs(a - b) < 2
            state["end"] = b if state["settled"] else (a + b) // 2
        return fill(m, ahead)

    compare(rule, Confidence(), SlowFast(steps, reach, threshold), steps=(None,), length=12)


def fused(m, weight=0.7, power=0.2, decay=0.8):
    """Distributions after credit, and the credit's update."""
    credit = m.memory.setdefault("credit", [[0.0] * len(m.p[0]) for _ in m.p])
    out = []
    for i, p in enumerate(m.p):
        credit[i] = [decay * e for e in credit[i]]
        if i in m.open:
            credit[i][m.best[i]] += m.c[i] ** power
        weights = [q * (1 + e) ** weight for q, e in zip(p, credit[i], strict=True)]
        out.append([w / sum(weights) for w in weights])
    return out


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_credit_as_a_select(compare, threshold):
    def rule(m):
        sure = fused(m)
        best = [max(range(len(p)), key=p.__getitem__) for p in sure]
        top = [max(p) for p in sure]
        chosen = {i for i in m.open if top[i] >= threshold} | set(m.top(1, by=top))
        return {i: best[i] for i in chosen}

    assert min(compare(rule, Confidence(), CreditThreshold(threshold))) < 10


def test_credit_as_a_score(compare):
    def rule(m):
        p = fused(m)
        return m.top(m.quota, by=[p[i][m.best[i]] for i in range(m.size)])

    compare(rule, Credit(), TopK())


@pytest.mark.parametrize("k", [2, 4])
def test_scores_over_the_best_tokens(compare, k):
    def among(p):
        best = sorted(p, reverse=True)[:k]
        return [q / sum(best) for q in best]

    rules = {
        Confidence(k): lambda p: among(p)[0],
        Entropy(k): lambda p: -entropy(among(p)),
        Margin(k): lambda p: among(p)[0] - among(p)[1],
    }
    for score, worth in rules.items():
        compare(lambda m, worth=worth: m.top(m.quota, by=[worth(p) for p in m.p]), score, TopK(), blocks=(None,))


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (lambda: Confidence(top_k=1), "top_k=1: it must be at least 2"),
        (lambda: EntropyBound(-1.0), "gamma=-1.0"),
        (lambda: Factor(math.inf), "factor=inf"),
        (lambda: Frechet(math.nan), "margin=nan: it must be a finite number"),
        (lambda: LowEntropy(-0.1), "entropy=-0.1"),
        (lambda: LowEntropy(most=0), "most=0"),
        (lambda: BlockRefinement(1.5), "threshold=1.5"),
        (lambda: Klass(threshold=-1), "threshold=-1"),
        (lambda: Klass(divergence=0.0), "divergence=0.0"),
        (lambda: Klass(history=0), "history=0"),
        (lambda: LocalLeap(0.5, 0.6), "relaxed is at most threshold"),
        (lambda: LocalLeap(radius=-1), "radius=-1"),
        (lambda: Dilated(1), "base=1"),
        (lambda: Spaced(0), "gap=0"),
        (lambda: Spaced(threshold=2.0), "threshold=2.0"),
        (lambda: SlowFast(1), "steps=1"),
        (lambda: SlowFast(reach=3.0), "reach=3.0"),
        (lambda: CreditThreshold(threshold=-0.5), "threshold=-0.5"),
        (lambda: Credit(decay=1.5), "decay=1.5: it must be a number from 0 to 1"),
    ],
)
def test_parameters_out_of_range_are_refused(part, words):
    with pytest.raises(MdmkitError, match=words):
        part()
