"""The largest entries of large rows equal torch's own, whatever stands in them."""

import pytest
import torch

from mdmkit import ops
from mdmkit.largest import FROM, PART, largest, second

# Whole parts; a last part of one column; one that is a column short.
WIDTHS = [PART * 40, PART * 40 + 1, PART * 41 - 1]


def rows(width: int, kind: str) -> torch.Tensor:
    z = torch.randn(FROM // width + 2, width, generator=torch.Generator().manual_seed(width))
    if kind == "ties":  # of several equal entries the first one wins, also across parts
        z = z.round()
    if kind == "forbidden":
        z[:, : width - 3] = -torch.inf
    if kind == "nothing":
        z[1] = -torch.inf
    if kind == "nan":
        z[0, width - 1], z[1, 5] = torch.nan, torch.nan
    if kind == "last":
        z[:, -1] = 99.0
    if kind == "double":
        z = z.double()
    if kind == "half":
        z = z.bfloat16()
    return z


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", ["plain", "ties", "forbidden", "nothing", "nan", "last", "double", "half"])
def test_it_is_the_maximum_and_its_index(width, kind):
    z = rows(width, kind)
    top, index = largest(z)
    wanted = z.max(-1)
    torch.testing.assert_close(top, wanted.values, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(index, wanted.indices)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", ["plain", "ties", "forbidden", "nothing", "last", "double", "half"])
def test_the_second_one_is_the_largest_but_one(width, kind):
    z = rows(width, kind)
    assert torch.equal(second(z), z.topk(2, dim=-1).values[:, 1])


def test_statistics_of_large_chunks_equal_those_of_small_ones(monkeypatch):
    """Large chunks are computed in memory that is kept, and searched in parts; small ones are not."""
    z = torch.randn(8, PART * 80 + 7, generator=torch.Generator().manual_seed(0))
    z[:, 3] = -torch.inf
    kept = [ops.stats(z), ops.stats(z.flip(0))]
    monkeypatch.setattr(ops, "SCRATCH_FROM", 1 << 40)
    monkeypatch.setattr("mdmkit.largest.FROM", 1 << 40)
    for got, logits in zip(kept, (z, z.flip(0)), strict=True):
        plain = ops.stats(logits)
        assert all(torch.equal(getattr(got, name), getattr(plain, name)) for name in ops.Stats.__dataclass_fields__)
