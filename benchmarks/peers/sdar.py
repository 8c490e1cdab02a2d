"""SDAR's `generate` (JetAstra/SDAR, generate.py; arXiv:2510.06303), `low_confidence_static`, with greedy tokens.

It decodes one row. Blocks lie on a grid that the row's first token starts. Keys of full blocks are stored, by one more
call for each block. The published loop draws tokens from the softmax; here the most probable one is taken instead.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .llada import split
from .model import Model


@torch.no_grad()
def generate(model: Model, prompt: Tensor, *, length: int, block: int, steps: int) -> Tensor:
    """Fill at least `length` masks behind the prompt [1, P], up to a whole block; `steps` is that of each block."""
    blocks = -(-(prompt.shape[1] + length) // block)
    x = torch.full((1, blocks * block), model.mask)
    x[:, : prompt.shape[1]] = prompt
    known = prompt.shape[1] // block * block
    keys = model.keys()
    if known:
        grid = torch.arange(known) // block
        model(x[:, :known], keys, 0, (grid[:, None] >= grid)[None, None])
    quota = split(torch.ones(1, block, dtype=torch.bool), steps)[0]
    for low in range(known, x.shape[1], block):
        own = x[:, low : low + block].clone()
        for i in range(steps + 1):
            is_open = own == model.mask
            full = bool(is_open.sum() == 0)
            logits = model(own, keys.grow(full), low)
            if full:
                break
            chances = logits.softmax(-1)
            tokens = chances.argmax(-1)
            certain = torch.where(is_open, chances.gather(-1, tokens[..., None])[..., 0], -torch.inf)
            chosen = torch.zeros_like(is_open)
            chosen[0, certain[0].topk(int(quota[i])).indices] = True
            own[chosen] = tokens[chosen]
        x[:, low : low + block] = own
    return x
