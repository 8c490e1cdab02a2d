"""Who attends to whom, as one boolean mask over the columns that a forward reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mdmkit import Reach


def keys(columns: Tensor, reach: Reach | None) -> Tensor:
    """Of values [M, T] for every column, those of the keys in their order: frozen left, window, frozen right."""
    if reach is None:
        return columns
    return torch.cat([columns[:, part] for part in (reach.left, reach.columns, reach.right)], 1)


def attention_mask(valid: Tensor, block: int | None, reach: Reach | None = None) -> Tensor:
    """bool [M, 1, L, S]: which keys each of L queries attends to.

    Args:
        valid: bool [M, T]; padding, on the left, is attended to by nobody. What padding itself attends to is read by
            nobody, and it attends to everything, since a softmax over nothing is no number.
        block: length of the blocks, counted from each row's first token, whose positions see one another and what is
            left of them; None: everybody sees everybody.
        reach: the columns of the forward; None: all.
    """
    window = slice(None) if reach is None else reach.columns
    mask = keys(valid, reach)[:, None] | ~valid[:, window, None]
    if block is not None:
        index = (valid.long().cumsum(1) - 1).clamp_min(0) // block
        behind = keys(index, reach)[:, None] > index[:, window, None]
        mask = mask & ~(behind & valid[:, window, None])
    else:
        mask = mask.expand(-1, valid[:, window].shape[1], -1)
    return mask[:, None]
