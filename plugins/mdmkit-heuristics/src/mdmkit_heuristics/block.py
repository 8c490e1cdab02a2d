"""Where a row stands in its block, and what a stage remembers of it from step to step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Step


def offset(step: Step) -> Tensor:
    """int64 [B, W]: each column's place in its row's block, from 0; meaningless outside `step.member`."""
    return step.member.long().cumsum(-1) - 1


def length(step: Step) -> Tensor:
    """int64 [B]: the columns of each row's block."""
    return step.member.sum(-1)


def editable(step: Step) -> Tensor:
    """bool [B, W]: the positions of the row's block that decoding fills, open or filled."""
    return step.member & step.canvas.editable[:, step.span]


def entered(step: Step, name: str) -> Tensor:
    """bool [B]: whether the row is in another block than at the last call of this name; true at the first."""
    start = torch.where(step.member, step.position, torch.iinfo(torch.int64).max).amin(-1)
    before = step.memory.get(name)
    step.memory[name] = start
    return torch.ones_like(start, dtype=torch.bool) if before is None else start != before


def near(marked: Tensor, radius: int) -> Tensor:
    """bool [B, W]: columns at most `radius` from a marked one, bool [B, W]."""
    wide = functional.max_pool1d(marked.float()[:, None], 2 * radius + 1, stride=1, padding=radius)
    return wide[:, 0] > 0
