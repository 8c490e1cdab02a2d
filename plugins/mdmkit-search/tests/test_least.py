"""The answer among particles that are as good as one another does not turn on rounding."""

from __future__ import annotations

import torch

from mdmkit_search.least import first_least


def test_of_equal_values_the_first_wins_whatever_rounding_did_to_them():
    exact = torch.tensor([[3.0, 2.0, 2.0, 5.0], [0.0, 0.0, 1.0, 0.0], [4.0, 3.9, 3.8, 7.0]])
    for sign in (-1, 1):
        noisy = exact + sign * 2e-6 * torch.tensor([0.0, 1.0, 0.0, -1.0])
        assert first_least(noisy).tolist() == [1, 0, 2]


def test_values_that_differ_are_told_apart():
    assert first_least(torch.tensor([[1.0, 0.999], [200.0, 199.9]])).tolist() == [1, 1]
    assert first_least(torch.tensor([[torch.inf, torch.inf], [torch.inf, 1.0]])).tolist() == [0, 1]
