"""Which tokens of a text are masked in each forward of an estimate, and what their log-probabilities count.

A masked diffusion model bounds log p(x) from below by E_l[n/l · Σ log p(x_i | the others)] over l ~ U{1, …, n} and l
random masked positions (arXiv:2406.04329; arXiv:2502.09992, eq. 6). Three things make the estimate of this mean more
exact. Numbers of masks are stratified. Each masking has a partner that masks what the first leaves (antithetic). The
maskings with few masks stand side by side, so that every token is masked about as often as the others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Independent estimates, from whose spread the error of their mean is known.
REPLICATES = 8


@dataclass(frozen=True)
class Maskings:
    """M forwards of a text of n tokens.

    Attributes:
        hidden: bool [M, n]; the masked tokens.
        weight: float64 [M, n]; what the log-probability of each token counts, 0 where it is not masked or only waits.
        replicate: int64 [M]; the independent estimate that a forward belongs to. In each of them the weighted sum of
            log-probabilities is an estimate of the whole.
        drawn: True if they were drawn at random.
    """

    hidden: Tensor
    weight: Tensor
    replicate: Tensor
    drawn: bool = False

    @property
    def replicates(self) -> int:
        return int(self.replicate[-1]) + 1


def bound(n: int, samples: int, generator: torch.Generator) -> Maskings:
    """The bound: all 2ⁿ − 1 maskings if there are at most `samples`, else about as many drawn ones."""
    if 2**n - 1 <= samples:
        return _every(n)
    pairs = max(1, samples // 2)
    replicates = max(1, min(REPLICATES, pairs // 2))
    strata = pairs // replicates
    shift = torch.rand(replicates, 1, generator=generator, dtype=torch.float64)
    # Each replicate has `strata` numbers in (0, 1/2), evenly spread, and their partners in (1/2, 1).
    low = (torch.arange(strata) + shift) / (2 * strata)
    few = (1 + (low * n).long()).clamp_max(n)
    # A replicate has one random order of the tokens, and each of its maskings begins where the one before has ended.
    order = torch.rand(replicates, n, generator=generator).argsort(1)
    rank = (order[:, None] - (few.cumsum(1) - few)[..., None]) % n
    few = few[..., None]
    hidden = torch.stack((rank < few, rank >= few - 1), 2).flatten(0, 2)
    weight = hidden * (n / hidden.sum(1, keepdim=True).double() / (2 * strata))
    return Maskings(hidden, weight, torch.arange(replicates).repeat_interleave(2 * strata), drawn=True)


def by_order(order: Sequence[int]) -> Maskings:
    """The tokens one after the other, those of the same number together: exact for this way of writing them."""
    at = torch.tensor(list(order))
    ticks = at.unique()
    now = at == ticks[:, None]
    return Maskings(at >= ticks[:, None], now.double(), torch.zeros(len(ticks), dtype=torch.long))


def _every(n: int) -> Maskings:
    sets = [each for size in range(1, n + 1) for each in itertools.combinations(range(n), size)]
    hidden = torch.zeros(len(sets), n, dtype=torch.bool)
    for row, each in enumerate(sets):
        hidden[row, list(each)] = True
    sizes = hidden.sum(1).tolist()
    share = torch.tensor([1 / (size * math.comb(n, size)) for size in sizes], dtype=torch.float64)
    return Maskings(hidden, hidden * share[:, None], torch.zeros(len(sets), dtype=torch.long))
