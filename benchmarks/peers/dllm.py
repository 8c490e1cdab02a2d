"""dllm's two samplers for LLaDA, at temperature 0 (ZHZisZZ/dllm).

core/samplers/mdlm.py has no cache. pipelines/fastdllm/llada/sampler.py has `prefix` and `dual`; there all prompts of a
batch have one length. How many positions each step fills is computed number by number, with a noise schedule. With a
cache all columns are sorted by confidence, and every step makes a new canvas.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .model import Model


@torch.no_grad()
def sample(model: Model, prompts: Tensor, *, length: int, block: int, steps: int, cache: str = "none") -> Tensor:
    """Fill `length` masks behind each prompt [B, P] in `steps` steps; return the rows [B, P + length]."""
    x = torch.full((len(prompts), prompts.shape[1] + length), model.mask)
    x[:, : prompts.shape[1]] = prompts
    for low in range(prompts.shape[1], x.shape[1], block):
        quota = schedule(x[:, low : low + block] == model.mask, -(-steps // (length // block)))
        x = (_whole if cache == "none" else _cached)(model, x, low, low + block, quota, cache)
    return x


def _whole(model: Model, x: Tensor, low: int, high: int, quota: Tensor, cache: str) -> Tensor:
    for i in range(quota.shape[1]):
        is_open = x == model.mask
        logits = model(x)
        tokens = logits.argmax(-1)
        certain = logits.softmax(-1).gather(-1, tokens[..., None])[..., 0]
        for row in range(len(x)):
            certain[row, high:] = -torch.inf
        tokens = torch.where(is_open, tokens, x)
        certain = torch.where(is_open, certain, -torch.inf)
        chosen = torch.zeros_like(is_open)
        for row in range(len(x)):
            chosen[row, certain[row].topk(int(quota[row, i])).indices] = True
        x[chosen] = tokens[chosen]
    return x


def _cached(model: Model, x: Tensor, low: int, high: int, quota: Tensor, cache: str) -> Tensor:
    keys, left, right = model.keys(), 0, x.shape[1]
    for i in range(quota.shape[1]):
        part = x[:, left:right]
        is_open = part == model.mask
        is_open[:, : low - left] = False
        is_open[:, high - left :] = False
        if is_open.sum() == 0:
            break
        tokens, chosen = _choose(model(part, keys, left), part, is_open, quota[:, i])
        part = torch.where(chosen, tokens, part)
        x = torch.cat((x[:, :left], part, x[:, right:]), 1) if i else part
        if i == 0:
            left, right = low, x.shape[1] if cache == "prefix" else high
            keys = keys.before(low) if cache == "prefix" else keys.put(low, high)
    return x


def _choose(logits: Tensor, x: Tensor, is_open: Tensor, quota: Tensor) -> tuple[Tensor, Tensor]:
    tokens = logits.argmax(-1)
    certain = logits.to(torch.float32).softmax(-1).gather(-1, tokens[..., None])[..., 0]
    tokens = torch.where(is_open, tokens, x)
    certain = torch.where(is_open, certain, torch.finfo(certain.dtype).min)
    order = certain.sort(1, descending=True).indices
    first = torch.arange(x.shape[1]).expand_as(x) < quota[:, None]
    return tokens, torch.zeros_like(x, dtype=torch.int8).scatter(1, order, first.to(torch.int8)).bool() & is_open


def schedule(is_open: Tensor, steps: int) -> Tensor:
    """How many of the positions bool [B, L] each step fills, int64 [B, S]; steps that fill none are left out."""
    left, quota = is_open.sum(1), torch.zeros(len(is_open), steps, dtype=torch.int64)
    for row in range(len(left)):
        for i in range(steps):
            s, t = (steps - 1 - i) / steps, (steps - i) / steps
            share = 1 - ((1 - _alpha(torch.tensor(s))) / (1 - _alpha(torch.tensor(t)))).item()
            quota[row, i] = torch.minimum(torch.round(left[row].double() * share).long(), left[row])
            left[row] -= quota[row, i]
            if left[row].item() == 0:
                break
    return torch.nn.utils.rnn.pad_sequence([each[each > 0] for each in quota], batch_first=True)


def _alpha(time: Tensor) -> Tensor:
    """The share of tokens that are not masked at a time."""
    if not torch.all((time >= 0) & (time <= 1)):
        raise ValueError(f"{time} is not between 0 and 1")
    return 1 - time
