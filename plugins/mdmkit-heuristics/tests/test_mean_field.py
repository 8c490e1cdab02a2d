"""Mean-field decoding decodes as its rule does when it is written out, and needs no memory for all pairs at once."""

import math
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mdmkit import Belief, MdmkitError, ops
from mdmkit.testing import make_moment, make_step
from mdmkit_heuristics.mean_field import MeanField
from mdmkit_heuristics.scores import Confidence


def jensen_shannon(p, q):
    return sum(x * math.log(2 * x / (a + b)) for a, b in zip(p, q, strict=True) for x in (a, b) if x > 0) / 2


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def certainties(p, rounds):
    """q of positions with the distributions p, one by one."""
    top = [sorted(one, reverse=True) for one in p]
    c = [math.log(one[0]) - math.log(one[1]) for one in top]
    pairs = {
        (i, j): 1 - jensen_shannon(p[i], p[j]) / math.log(2) for i in range(len(p)) for j in range(len(p)) if i != j
    }
    most = max(pairs.values(), default=0) or 1
    q = [sigmoid(x) for x in c]
    for _ in range(rounds):
        q = [sigmoid(c[i] - sum(pairs[i, j] / most * q[j] for j in range(len(p)) if i != j)) for i in range(len(p))]
    return q


@pytest.mark.parametrize(("threshold", "rounds"), [(0.5, 0), (0.5, 1), (0.3, 2), (0.45, 2), (0.2, 5)])
def test_mean_field(compare, threshold, rounds):
    def rule(m):
        q = dict(zip(m.open, certainties([m.p[i] for i in m.open], rounds), strict=True))
        return [i for i in m.open if q[i] >= threshold] or [max(m.open, key=lambda i: (q[i], -i))]

    assert min(compare(rule, Confidence(), MeanField(threshold, rounds))) < 10


def moment(p, dtype=torch.float64):
    """One row of which the first positions are open and have the distributions p."""
    step = make_moment(0).rows([0]).step()
    rest = [[1 / len(p[0])] * len(p[0])] * (step.width - len(p))
    flags = torch.arange(step.width)[None] < len(p)
    return replace(step, open=flags, belief=Belief(torch.tensor([*p, *rest], dtype=dtype).log()[None]))


def filled(select, step):
    return select(step, step.confidence).place[0, 0].nonzero()[:, 0].tolist()


X, Y, Z = [0.96, 0.02, 0.01, 0.01], [0.02, 0.96, 0.01, 0.01], [0.01, 0.01, 0.96, 0.02]


def test_positions_with_equal_distributions_inhibit_one_another_and_different_ones_do_not():
    """c = ln 48: alone q = 0.98. Beside one equal position c falls by about 1, beside three by about 3."""
    assert filled(MeanField(0.9), moment([X])) == [0]
    assert filled(MeanField(0.9), moment([X, X])) == [0, 1]
    assert filled(MeanField(0.9), moment([X, X, X, X])) == [0]  # none is above the threshold
    assert filled(MeanField(0.9, rounds=0), moment([X, X, X, X])) == [0, 1, 2, 3]
    # The largest D is 1, that of the two equal ones, so the scaling changes nothing for the others.
    assert filled(MeanField(0.9), moment([X, X, Y, Z])) == [0, 1, 2, 3]


def test_the_largest_similarity_of_a_row_counts_as_one_however_small():
    """D of X and Y is 0.18; scaled, they inhibit each other as equal positions do."""
    far = certainties([X, Y], 2)
    assert far == pytest.approx(certainties([X, X], 2))
    between = (far[0] + sigmoid(math.log(48))) / 2
    assert filled(MeanField(far[0] - 1e-6), moment([X, Y])) == [0, 1]
    assert filled(MeanField(between), moment([X, Y])) == [0]


def test_distributions_without_a_common_token_do_not_inhibit_one_another():
    p = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    assert filled(MeanField(1.0), moment(p)) == [0, 1, 2]


def test_a_token_that_was_drawn_and_is_not_the_best_is_less_sure_than_a_tie():
    """Its lead over the best other token is negative, so q < 1/2 even without the others."""
    step = make_step(1, temperature=2.0)
    odd = step.open & (step.tokens != step.belief.argmax)
    assert odd.any()
    place = MeanField(0.5, rounds=0)(step, step.confidence).place[:, 0]
    several = place.sum(1, keepdim=True) > 1  # one alone may be there because it is the best
    assert not (place & odd & several).any()


def test_the_memory_does_not_grow_with_the_pairs():
    """The largest tensor is that of the probabilities [B, W, V]; all pairs would take 17 times as much."""
    rows, width, vocab = 2, 35, 4096

    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                Largest.numel = max(Largest.numel, out.numel())
            return out

    logits = torch.randn(rows, width, vocab, generator=torch.Generator().manual_seed(0))
    step = make_moment(0).rows([0, 3]).padded(width).wider(width - 7).step()
    step = replace(step, open=torch.ones(rows, width, dtype=torch.bool), belief=Belief(logits))
    with Largest():
        actions = MeanField()(step, torch.zeros(rows, width))
    assert actions.place.any()
    assert rows * width * vocab <= Largest.numel <= max(rows * width * vocab, ops.CPU_CHUNK_BYTES // 4)


@pytest.mark.parametrize("size", [1, 60, 10**9])
def test_parts_of_any_size_give_the_same(monkeypatch, size):
    step = make_step(4)
    expected = MeanField(0.3)(step, step.confidence)
    monkeypatch.setattr(ops, "CPU_CHUNK_BYTES", size)
    assert torch.equal(MeanField(0.3)(make_step(4), step.confidence).place, expected.place)


@pytest.mark.parametrize(
    ("part", "words"),
    [(lambda: MeanField(threshold=1.5), "threshold=1.5"), (lambda: MeanField(rounds=-1), "rounds=-1")],
)
def test_parameters_out_of_range_are_refused(part, words):
    with pytest.raises(MdmkitError, match=words):
        part()
