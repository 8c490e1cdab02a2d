"""Who attends to whom, as one boolean mask over the columns that a forward reads."""

from __future__ import annotations

import torch
from torch import Tensor


def attention_mask(valid: Tensor, positions: Tensor, block: int | None, readable: Tensor | None = None) -> Tensor:
    """bool [M, 1, L, K]: which keys each of L queries attends to.

    Args:
        valid: bool [M, L]; a column that is not valid is attended to by nobody. What it attends to itself is read by
            nobody, and it attends to everything, since a softmax over nothing is no number.
        positions: int64 [M, L]; each query's column in its row.
        block: length of the blocks, counted from each row's first token, whose positions see one another and what is
            left of them; None: everybody sees everybody.
        readable: bool [M, K]; the row's columns 0 to K − 1 that are keys; None: the keys are the L columns themselves.
    """
    columns = positions
    if readable is not None:
        columns = torch.arange(readable.shape[1], device=valid.device).expand_as(readable)
    mask = (valid if readable is None else readable)[:, None]
    if block is not None:
        mask = mask & (columns[:, None] // block <= positions[:, :, None] // block)
    return (mask | ~valid[:, :, None])[:, None]
