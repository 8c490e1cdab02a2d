"""Fast-dLLM v1's three loops for LLaDA (NVlabs/Fast-dLLM, llada/generate.py; arXiv:2505.22618), at temperature 0.

They decode one row. The softmax is in float64, over all columns that the model has computed. Under `prefix` every step
but a block's first takes the argmax twice. A loop with a cache computes a block once more if its first step filled it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .llada import split
from .model import Model


@torch.no_grad()
def generate(
    model: Model,
    prompt: Tensor,
    *,
    length: int,
    block: int,
    steps: int,
    cache: str = "none",
    threshold: float | None = None,
) -> Tensor:
    """Fill `length` masks behind the prompt [1, P]; return the row [1, P + length].

    Args:
        cache: `none`; `prefix`: a block's first step stores the keys to its left; `dual`: those on both sides.
        threshold: a step fills all positions at least so certain, and at least one; None: `steps` decide.
    """
    x = torch.full((1, prompt.shape[1] + length), model.mask)
    x[:, : prompt.shape[1]] = prompt
    for low in range(prompt.shape[1], x.shape[1], block):
        high = low + block
        quota = split(x[:, low:high] == model.mask, steps // (length // block))
        keys = None if cache == "none" else model.keys()
        left, right, i = 0, x.shape[1], 0
        while True:
            is_open = x[:, left:right] == model.mask
            is_open[:, high - left :] = False
            logits = model(x[:, left:right], keys, left)
            if cache == "prefix" and i:
                logits.argmax(-1)
            due = None if threshold is not None else quota[:, i]
            tokens, chosen = choose(logits, x[:, left:right], is_open, due, threshold)
            x[:, left:right][chosen] = tokens[chosen]
            i += 1
            if i == 1 and cache == "prefix":
                keys, left = keys.before(low), low
            elif i == 1 and cache == "dual":
                keys, left, right = keys.put(low, high), low, high
            # A loop with a cache does not ask after a block's first step.
            if (i > 1 or cache == "none") and (x[:, low:high] == model.mask).sum() == 0:
                break
    return x


def choose(
    logits: Tensor, x: Tensor, is_open: Tensor, quota: Tensor | None, threshold: float | None
) -> tuple[Tensor, Tensor]:
    """The tokens of all columns, and which of them a step writes: int64 and bool [B, L]."""
    tokens = logits.argmax(-1)
    certain = logits.to(torch.float64).softmax(-1).gather(-1, tokens[..., None])[..., 0]
    tokens = torch.where(is_open, tokens, x)
    certain = torch.where(is_open, certain, -torch.inf)
    chosen = torch.zeros_like(is_open)
    quota = is_open.sum(1) if quota is None else quota
    for row in range(len(x)):
        order = certain[row].topk(int(quota[row])).indices
        chosen[row, order] = True
        if threshold is not None:
            for place in order[1:]:
                if certain[row, place] < threshold:
                    chosen[row, place] = False
    return tokens, chosen
