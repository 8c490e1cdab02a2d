"""The best particle, with ties that rounding cannot turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# Two paths with the same tokens add up the same numbers in different orders. Their sums then differ by less than this,
# relative to the least, and by different amounts in different batches.
MARGIN = 4e-6


def first_least(values: Tensor) -> Tensor:
    """Return the first of the least values [B, P], up to `MARGIN`: int64 [B]."""
    least = values.amin(1, keepdim=True)
    return (values <= least + MARGIN * (1 + least.abs())).long().argmax(1)
