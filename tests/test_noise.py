"""Random numbers depend on their counters only, and are uniform and independent."""

import math

import pytest
import torch

from mdmkit import noise

M = (1 << 64) - 1


def splitmix64_by_the_book(x: int) -> int:
    """splitmix64 in Python's own integers, as Steele, Lea & Flood print it."""
    x = (x + 0x9E3779B97F4A7C15) & M
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & M
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & M
    return x ^ (x >> 31)


def test_splitmix64_is_the_published_function():
    values = [0, 1, 2, 12345, (1 << 63) - 1, -1, -(1 << 63)]
    ours = noise.splitmix64(torch.tensor(values)).tolist()
    assert [v & M for v in ours] == [splitmix64_by_the_book(v & M) for v in values]


def draw(seeds, ticks, stream="s", n=3, positions=None):
    positions = torch.arange(4)[None].expand(len(seeds), -1) if positions is None else positions
    return noise.uniform(torch.tensor(seeds), torch.tensor(ticks), stream, n, positions)


def test_a_row_draws_the_same_alone_in_a_batch_and_at_any_padding():
    batch = draw([7, 8, 9], [0, 4, 2])
    alone = draw([8], [4])
    assert torch.equal(batch[1:2], alone)
    shifted = draw([8], [4], positions=torch.tensor([[0, 0, 1, 2, 3]]))
    assert torch.equal(shifted[..., 1:], alone)


def test_more_alternatives_leave_the_first_ones_as_they_were():
    assert torch.equal(draw([3], [1], n=8)[:, :3], draw([3], [1], n=3))


def test_every_counter_matters():
    base = draw([3], [1])
    others = [
        draw([4], [1]),
        draw([3], [2]),
        draw([3], [1], stream="t"),
        draw([3], [1], positions=torch.arange(4, 8)[None]),
    ]
    assert all(not (other == base).any() for other in others)


def test_numbers_are_uniform_inside_the_open_interval():
    u = noise.uniform(torch.arange(200), torch.zeros(200, dtype=torch.long), "u", 5, torch.arange(100).expand(200, -1))
    assert u.dtype == torch.float64
    assert 0 < u.min() < 1e-4 and 1 - 1e-4 < u.max() < 1
    counts = torch.histc(u.flatten(), bins=100, min=0, max=1)
    chi2 = ((counts - 1000) ** 2 / 1000).sum()
    assert 60 < chi2 < 150  # 99 degrees of freedom: outside with probability below 1e-3
    flat = u.flatten(1) - 0.5
    neighbours = (flat[:, 1:] * flat[:, :-1]).mean() * 12
    assert abs(neighbours) < 0.015


def test_row_seeds_differ_by_row_and_run_and_fit_in_json():
    seeds = {noise.row_seed(seed, index) for seed in range(30) for index in range(30)}
    assert len(seeds) == 900
    assert max(seeds) < 1 << 53


def test_gumbel_noise_has_its_distribution():
    """P(g <= x) = exp(-exp(-x)): large values are common, very small ones are not."""
    u = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    g = noise.gumbel(u)
    for x in (-1.0, 0.0, 2.0):
        assert float((g <= x).double().mean()) == pytest.approx(math.exp(-math.exp(-x)), abs=2e-5)
    assert float(g.mean()) == pytest.approx(0.57722, abs=1e-4)
