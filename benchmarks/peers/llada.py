"""LLaDA's `generate` (ML-GSAI/LLaDA, generate.py; arXiv:2502.09992), with `low_confidence` at temperature 0.

It runs model, head and softmax over all columns in every step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .model import Model


@torch.no_grad()
def generate(model: Model, prompt: Tensor, *, length: int, block: int, steps: int) -> Tensor:
    """Fill `length` masks behind each prompt [B, P] in `steps` steps; return the rows [B, P + length]."""
    x = torch.full((len(prompt), prompt.shape[1] + length), model.mask)
    x[:, : prompt.shape[1]] = prompt
    per_block = steps // (length // block)
    for low in range(prompt.shape[1], x.shape[1], block):
        high = low + block
        quota = split(x[:, low:high] == model.mask, per_block)
        for i in range(per_block):
            is_open = x == model.mask
            logits = model(x)
            tokens = logits.argmax(-1)
            certain = logits.softmax(-1).gather(-1, tokens[..., None])[..., 0]
            certain[:, high:] = -torch.inf
            tokens = torch.where(is_open, tokens, x)
            certain = torch.where(is_open, certain, -torch.inf)
            chosen = torch.zeros_like(is_open)
            for row in range(len(x)):
                chosen[row, certain[row].topk(int(quota[row, i])).indices] = True
            x[chosen] = tokens[chosen]
    return x


def split(is_open: Tensor, steps: int) -> Tensor:
    """How many of the positions bool [B, L] each step fills, int64 [B, steps]: the larger numbers first."""
    count = is_open.sum(1, keepdim=True)
    quota = (count // steps).expand(-1, steps).clone()
    for row in range(len(count)):
        quota[row, : int(count[row] % steps)] += 1
    return quota
