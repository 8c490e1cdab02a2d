"""The shortest greedy loop: every step runs model and head over all columns, and fills the most certain open one."""

from __future__ import annotations

import torch
from torch import Tensor

from .model import Model


@torch.no_grad()
def generate(model: Model, prompt: Tensor, *, length: int, block: int) -> Tensor:
    """Fill `length` masks behind each prompt [B, P], block by block; return the rows [B, P + length]."""
    rows = torch.arange(len(prompt))
    x = torch.nn.functional.pad(prompt, (0, length), value=model.mask)
    for low in range(prompt.shape[1], x.shape[1], block):
        for _ in range(block):
            certain, tokens = model(x).softmax(-1).max(-1)
            certain = certain.masked_fill(x != model.mask, -1)[:, low : low + block]
            best = low + certain.argmax(-1)
            x[rows, best] = tokens[rows, best]
    return x
