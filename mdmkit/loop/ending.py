"""Early stop: a generated row is finished once an end token stands with nothing open before it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mdmkit.canvas.canvas import Canvas


def finished(canvas: Canvas, ends: Sequence[int]) -> Tensor:
    """bool [B]: the rows whose text is final. An infill has no end: what follows its masks was given."""
    some = torch.tensor(sorted(ends), dtype=canvas.tokens.dtype, device=canvas.tokens.device)
    ended = torch.isin(canvas.tokens, some) & canvas.editable
    return (ended & (canvas.masked.cumsum(1) == 0)).any(1) & ~canvas.infill


def close(canvas: Canvas, done: Tensor, ends: Sequence[int]) -> Canvas:
    """Put an end token into every mask that a finished row, bool [B], leaves behind: these are never decoded."""
    left = canvas.masked & done[:, None]
    return canvas.with_tokens(canvas.tokens.masked_fill(left, min(ends))) if len(ends) else canvas
