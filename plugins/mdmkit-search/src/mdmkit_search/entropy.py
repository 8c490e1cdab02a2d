"""Denoising entropy: of a state, of next states, and of a path (arXiv:2512.21336).

h_DE(z) is the mean Shannon entropy of the open positions of z, in nats, and 0 if none is open. H_DE of a path is the
mean of h_DE over its states. With blocks both read only the row's block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from mdmkit import Actions, Belief, Look, Step

# The kept values of each particle: the sum of h_DE over its path, and the number of its states.
SUM, COUNT = "denoising_entropy.sum", "denoising_entropy.count"


def mean_over(values: Tensor, where: Tensor) -> Tensor:
    """Average over the marked entries of the last dimension, float64; 0 if none is marked."""
    return torch.where(where, values.double(), 0.0).sum(-1) / where.sum(-1).clamp_min(1)


def entropy_of(belief: Belief) -> Tensor:
    return belief.entropy


def entropy_ahead(step: Step, actions: Actions, look: Look | None) -> Tensor:
    """h_DE of every live alternative's next state, float64 [B, N]; 0 if it fills the block."""
    rest = step.open[:, None] & ~actions.place
    if look is None:
        return torch.zeros(rest.shape[:2], dtype=torch.float64, device=rest.device)
    return mean_over(look(entropy_of), rest)


def extend_paths(step: Step, parents: Tensor) -> None:
    """Add the current states to the particles' paths, then copy the paths by `parents`, int64 [B·P]."""
    total, count = (step.recall(name, fill=0.0, dtype=torch.float64) for name in (SUM, COUNT))
    step.keep(SUM, (total + mean_over(step.belief.entropy, step.open))[parents])
    step.keep(COUNT, (count + step.open.any(1))[parents])


def path_entropy(kept: Mapping[str, Tensor], rows: int, device: torch.device) -> Tensor:
    """H_DE of every particle's path, float64 [rows]; 0 if nothing was open."""
    if SUM not in kept:
        return torch.zeros(rows, dtype=torch.float64, device=device)
    return kept[SUM] / kept[COUNT].clamp_min(1)
