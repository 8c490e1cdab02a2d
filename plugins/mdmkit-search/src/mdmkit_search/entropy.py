"""Denoising entropy: of a state, of the states that come next, and along a path (arXiv:2512.21336).

h_DE(z) is the mean Shannon entropy of the masked positions of z, in nats, 0 where none is left; H_DE of a path is the
mean of h_DE over the states that it went through. With blocks both read the active block alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Actions, Belief, Look, Step

# In `step.memory`: h_DE summed over a particle's path, and how many states that were.
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
    """Count the current states into the paths of `step.memory`, and let them follow int64 [B·P] `parents`."""
    open_ = step.open.any(1)
    nothing = torch.zeros(len(open_), dtype=torch.float64, device=open_.device)
    total = step.memory.get(SUM, nothing) + mean_over(step.belief.entropy, step.open)
    step.memory[SUM] = total[parents]
    step.memory[COUNT] = (step.memory.get(COUNT, nothing) + open_)[parents]


def path_entropy(memory: dict[str, Any], rows: int, device: torch.device) -> Tensor:
    """H_DE of every particle's path, float64 [rows]; zeros where nothing was masked."""
    if SUM not in memory:
        return torch.zeros(rows, dtype=torch.float64, device=device)
    return memory[SUM] / memory[COUNT].clamp_min(1)
