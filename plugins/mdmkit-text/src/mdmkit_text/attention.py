"""The attention mask: which column attends to which, bool, over the columns that a forward reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mdmkit import Shadow


def attention_mask(
    valid: Tensor, positions: Tensor, block: int | None, readable: Tensor | None = None, shadow: Shadow | None = None
) -> Tensor:
    """bool [M, 1, L, K]: which keys each of L queries attends to; [M, 1, L + E, K + E] with E shadow columns.

    Args:
        valid: bool [M, L]; no column attends to one that is not valid. Such a column attends to everything, because a
            softmax over nothing is NaN; its own result is never read.
        positions: int64 [M, L]; each query's column in its row.
        block: length of the attention blocks, counted from each row's first token. A position attends to its block and
            to all before it. None: every position attends to every other.
        readable: bool [M, K]; the row's columns 0 to K − 1 that are keys; None: the keys are the L columns themselves.
        shadow: extra columns after those of the row.
    """
    columns = positions
    if readable is not None:
        columns = torch.arange(readable.shape[1], device=valid.device).expand_as(readable)
    keys = (valid if readable is None else readable)[:, None]

    def seen(live: Tensor, queries: Tensor) -> Tensor:
        mask = keys if block is None else keys & (columns[:, None] // block <= queries[:, :, None] // block)
        return mask | ~live[:, :, None]

    mask = seen(valid, positions)
    if shadow is not None:
        mask = shadow.mask(mask, seen(shadow.live, shadow.positions), columns)
    return mask[:, None]
