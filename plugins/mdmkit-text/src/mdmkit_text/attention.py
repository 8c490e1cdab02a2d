"""Who attends to whom, as one boolean mask over the columns that a forward reads."""

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
        valid: bool [M, L]; a column that is not valid is attended to by nobody. What it attends to itself is read by
            nobody, and it attends to everything, since a softmax over nothing is no number.
        positions: int64 [M, L]; each query's column in its row.
        block: length of the blocks, counted from each row's first token, whose positions see one another and what is
            left of them; None: everybody sees everybody.
        readable: bool [M, K]; the row's columns 0 to K − 1 that are keys; None: the keys are the L columns themselves.
        shadow: extra columns behind those of the row.
    """
    columns = positions
    if readable is not None:
        columns = torch.arange(readable.shape[1], device=valid.device).expand_as(readable)
    keys, queries = valid if readable is None else readable, positions
    if shadow is not None:
        queries, valid = torch.cat((positions, shadow.positions), 1), torch.cat((valid, shadow.live), 1)
    mask = keys[:, None].expand(-1, queries.shape[1], -1) if shadow is not None else keys[:, None]
    if block is not None:
        mask = mask & (columns[:, None] // block <= queries[:, :, None] // block)
    mask = mask | ~valid[:, :, None]
    return (mask if shadow is None else _with_shadows(mask, columns, shadow))[:, None]


def _with_shadows(mask: Tensor, columns: Tensor, shadow: Shadow) -> Tensor:
    """Add the shadows as keys, which only shadows see; no shadow sees the column that it stands for."""
    length = mask.shape[1] - shadow.live.shape[1]
    own, theirs = mask[:, :length], mask[:, length:] & shadow.others(columns)
    unseen = own.new_zeros(*own.shape[:2], shadow.live.shape[1])
    return torch.cat((torch.cat((own, unseen), 2), torch.cat((theirs, shadow.among()), 2)), 1)
