"""The positions of a row's block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from mdmkit import Step


def offset(step: Step) -> Tensor:
    """int64 [B, W]: each column's position in its row's block, from 0; no meaning outside `step.member`."""
    return step.position - step.position[:, :1]


def length(step: Step) -> Tensor:
    """int64 [B]: the columns of each row's block."""
    return step.member.sum(-1)


def editable(step: Step) -> Tensor:
    """bool [B, W]: the positions of the row's block that decoding fills, open or filled."""
    return step.member & step.window(step.canvas.editable)


def written_as(step: Step, ids: Iterable[int]) -> Tensor:
    """bool [B, W]: the token that would be written at the position is one of these."""
    found = torch.zeros_like(step.open)
    for token in ids:
        found = found | (step.tokens == token)
    return found


def near(marked: Tensor, radius: int) -> Tensor:
    """bool [B, W]: columns at most `radius` from a marked one, bool [B, W]; no column beyond the ends is marked."""
    wide = functional.max_pool1d(marked.float()[:, None], 2 * radius + 1, stride=1, padding=radius)
    return wide[:, 0] > 0
