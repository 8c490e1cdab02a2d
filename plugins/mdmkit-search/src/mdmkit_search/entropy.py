"""Denoising entropy: of a state, of the states that come next, and along a path (arXiv:2512.21336).

h_DE(z) is the mean Shannon entropy of the open positions of z, in nats, 0 where none is left; H_DE of a path is the
mean of h_DE over the states that it went through. With blocks both read the active block alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from mdmkit import Actions, Belief, Look, Step

# What is kept of each particle: h_DE summed over its path, and how many states that were.
SUM, COUNT = "denoising_entropy.sum", "denoising_entropy.count"


def mean_over(values: Tensor, where: Tensor) -> Tensor:
    """Average over the last dimension where asked, float64; 0 over nothing. Values elsewhere may be anything."""
    return torch.where(where, values.double(), 0.0).sum(-1) / where.sum(-1).clamp_min(1)


def entropy_of(belief: Belief) -> Tensor:
    return belief.entropy


def entropy_ahead(step: Step, actions: Actions, look: Look | None) -> Tensor:
    """h_DE of every live alternative's next state, float64 [B, N]; those that fill the block leave 0."""
    rest = step.open[:, None] & ~actions.place
    if look is None:
        return torch.zeros(rest.shape[:2], dtype=torch.float64, device=rest.device)
    return mean_over(look(entropy_of), rest)


def extend_paths(step: Step, parents: Tensor) -> None:
    """Count the current states into the particles' paths, and let them follow int64 [B·P] `parents`."""
    total, count = (step.recall(name, fill=0.0, dtype=torch.float64) for name in (SUM, COUNT))
    step.keep(SUM, (total + mean_over(step.belief.entropy, step.open))[parents])
    step.keep(COUNT, (count + step.open.any(1))[parents])


def path_entropy(kept: Mapping[str, Tensor], rows: int, device: torch.device) -> Tensor:
    """H_DE of every particle's path, float64 [rows]; zeros where nothing was open."""
    if SUM not in kept:
        return torch.zeros(rows, dtype=torch.float64, device=device)
    return kept[SUM] / kept[COUNT].clamp_min(1)
