"""What selects do with states made by hand: nothing open, one position, equal positions, known probabilities."""

from dataclasses import replace

import pytest
import torch

from mdmkit import Belief
from mdmkit.testing import make_moment
from mdmkit_heuristics.adablock import AdaBlock
from mdmkit_heuristics.bounded import Factor, Frechet
from mdmkit_heuristics.daedal import DaedalFill
from mdmkit_heuristics.dawn import Dawn
from mdmkit_heuristics.mean_field import MeanField
from mdmkit_heuristics.persistent import Less
from mdmkit_heuristics.selects import TopK
from mdmkit_heuristics.wino import WinoFill

SELECTS = {
    "frechet": Frechet(),
    "frechet-wide": Frechet(-1.0),
    "top_k-frontier": TopK(frontier=2),
    "less": Less(),
    "mean_field": MeanField(),
    "wino": WinoFill(),
    "dawn": Dawn(),
    "adablock": AdaBlock(),
    "daedal": DaedalFill(),
}
VOCAB = 4


def moment(p, open_=None, quota=1):
    """One row of which every position has the distribution `p` gives, [W, 4]; a list of flags says what is open."""
    one = make_moment(0).rows([0]).step()
    width = one.width
    p = torch.tensor([*p, *[[1 / VOCAB] * VOCAB] * (width - len(p))], dtype=torch.float64)
    flags = torch.tensor([[i < len(open_ or ()) and bool(open_[i]) for i in range(width)]])
    return replace(one, open=flags, quota=torch.tensor([quota]).minimum(flags.sum(1)), belief=Belief(p.log()[None]))


def peaked(c):
    return [c, *[(1 - c) / (VOCAB - 1)] * (VOCAB - 1)]


def filled(select, step):
    actions = select(step, step.confidence)
    assert actions.live[0, 0] == bool(step.open.any())
    return actions.place[0, 0].nonzero()[:, 0].tolist()


@pytest.mark.parametrize("select", SELECTS.values(), ids=SELECTS)
def test_nothing_open_fills_nothing(select):
    assert filled(select, moment([peaked(0.99)] * 4, [0, 0, 0, 0])) == []


@pytest.mark.parametrize("c", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("select", SELECTS.values(), ids=SELECTS)
def test_one_open_position_is_filled_however_doubtful(select, c):
    assert filled(select, moment([peaked(c)] * 4, [0, 0, 1, 0])) == [2]


@pytest.mark.parametrize("select", SELECTS.values(), ids=SELECTS)
def test_of_equal_doubtful_positions_the_first_is_filled(select):
    assert filled(select, moment([peaked(0.25)] * 4, [0, 1, 1, 1])) == [1]


def test_frechet_fills_six_positions_of_confidence_nine_tenths_at_margin_a_quarter():
    """7 · 0.1 < 1 − 0.25 ≤ 8 · 0.1: the same number as `factor` with 0.75."""
    step = moment([peaked(0.9)] * 7, [1] * 7)
    assert filled(Frechet(0.25), step) == filled(Factor(0.75), step) == list(range(6))


def test_frechet_fills_more_than_factor_if_confidences_differ():
    """Factor asks (n + 1) · 0.2 ≤ 0.75, so n ≤ 2; Σ (1 − c) + max (1 − c) = 0.4 allows all three."""
    step = moment([peaked(1.0), peaked(1.0), peaked(0.8)], [1] * 3)
    assert filled(Factor(0.75), step) == [0, 1]
    assert filled(Frechet(0.25), step) == [0, 1, 2]


def test_frechet_at_a_margin_of_one_or_more_fills_one_position():
    step = moment([peaked(1.0)] * 3, [1] * 3)
    assert filled(Frechet(1.0), step) == filled(Frechet(7.0), step) == [0]
