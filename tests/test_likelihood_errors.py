"""Standard errors of likelihoods: how often the interval holds the truth, and how far estimates are from it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import mdmkit
from mdmkit.likelihood import maskings
from mdmkit.likelihood.divided import Divided
from mdmkit.likelihood.forwards import Forwards, Part
from mdmkit.noise import row_seed
from mdmkit.testing import ToyBackbone


@pytest.fixture(scope="module")
def bigram() -> Any:
    return mdmkit.load("zoo:bigram", device="cpu")


def truth(model: Any, found: mdmkit.Likelihood) -> float:
    both = torch.tensor([[*found.prompt_ids, *found.ids]])
    return float(model.chain.log_likelihood(both) - model.chain.log_likelihood(torch.tensor([found.prompt_ids])))


def cases(bigram: Any, count: int, **how: Any) -> tuple[float, float]:
    """The share of texts whose true log-likelihood is in its interval, and Kendall's tau of their order."""
    texts = bigram.chain.sample(torch.full((1, 14), bigram.mask_id), count)[0].tolist()
    inside, told, true = 0, [], []
    for case, ids in enumerate(texts):
        (found,) = mdmkit.score(bigram, ids[:4], [ids[4:]], seed=row_seed(1, case), **how)
        low, high = found.interval
        exact = truth(bigram, found)
        inside += low - 1e-4 <= exact <= high + 1e-4
        told.append(found.value)
        true.append(exact)
    order = torch.sign(torch.tensor(told)[:, None] - torch.tensor(told))
    agree = order * torch.sign(torch.tensor(true)[:, None] - torch.tensor(true))
    return inside / count, float(agree.sum() / (count * (count - 1)))


def test_the_interval_holds_the_truth_in_95_percent_of_cases(bigram: Any) -> None:
    """In an exact model every order gives the joint, so the mean over maskings is the truth, not less."""
    share, tau = cases(bigram, 30, samples=32)
    assert 0.86 <= share <= 1 and tau > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("samples", [32, 128])
def test_the_interval_holds_the_truth_in_95_percent_of_500_cases(bigram: Any, samples: int) -> None:
    share, tau = cases(bigram, 500, samples=samples)
    print(f"samples={samples}: inside {share:.1%}, Kendall's tau {tau:.3f}")
    assert 0.90 <= share <= 0.98 and tau > 0.7


def test_intervals_of_a_model_that_is_not_exact_hold_its_bound() -> None:
    """The bound by all maskings of 7 tokens, and by drawn ones."""
    model, inside = ToyBackbone(), 0
    for case in range(60):
        ids = torch.randint(2, model.mask_id, (9,), generator=torch.Generator().manual_seed(case)).tolist()
        (exact,) = mdmkit.score(model, ids[:2], [ids[2:]], samples=127)
        assert exact.error == 0 and exact.replicates == 1
        (found,) = mdmkit.score(model, ids[:2], [ids[2:]], samples=40, seed=case)
        assert found.error > 0 and found.replicates == 8
        inside += found.interval[0] <= exact.value <= found.interval[1]
    assert 52 <= inside <= 60


def test_maskings_drawn_together_err_less_than_independent_ones() -> None:
    model, ids = ToyBackbone(), [5, 3, 7, 2, 6, 4, 3, 2, 5, 7]
    forwards = Forwards(model, [Divided(tuple(ids), 0, 10)], 64)

    def spread(independent: bool) -> float:
        values = []
        for seed in range(100):
            generator = torch.Generator().manual_seed(seed)
            own = maskings.bound(10, 128, generator)
            if independent:
                few = torch.randint(1, 11, (128, 1), generator=generator)
                hidden = torch.rand(128, 10, generator=generator).argsort(1).argsort(1) < few
                own = maskings.Maskings(hidden, hidden * (10 / few.double() / 128), torch.zeros(128).long(), drawn=True)
            values.append(float(forwards.sums([Part(0, 0, 10, own)])[0].mean()))
        return float(torch.tensor(values).std())

    assert spread(False) < 0.8 * spread(True)
