"""The Info-Gain authors' class for LLaDA (yks23/dllm, pipelines/info_gain; arXiv:2602.18176), with greedy tokens.

It decodes one row. Every candidate takes the argmax over all columns again. Entropies are those of whole canvases:
outside the columns that the model has computed, logits are zeros, and a mask there counts ln V. The gain is averaged
over every mask of the row. Candidates get copies of the keys. Under `prefix` the first look of a block reads keys that
are not cut yet, so its columns stand behind the row. Left out: its treatment of end tokens, and records for a display.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .dllm import schedule
from .model import Keys, Model


@torch.no_grad()
def sample(
    model: Model,
    prompt: Tensor,
    *,
    length: int,
    block: int,
    steps: int,
    cache: str = "none",
    candidates: int = 8,
    position_temperature: float = 0.1,
    threshold: float | None = None,
) -> Tensor:
    """Fill `length` masks behind the prompt [1, P]; return the row [1, P + length].

    Args:
        threshold: γ: if a position of the block is so certain, a step fills such positions and compares nothing.
    """
    x = torch.full((1, prompt.shape[1] + length), model.mask)
    x[:, : prompt.shape[1]] = prompt
    for low in range(prompt.shape[1], x.shape[1], block):
        high, ahead = low + block, None
        quota = schedule(x[:, low:high] == model.mask, -(-steps // (length // block)))
        keys, left, right = None if cache == "none" else model.keys(), 0, x.shape[1]
        for i in range(quota.shape[1]):
            is_open, due = torch.zeros_like(x, dtype=torch.bool), int(quota[0, i])
            is_open[:, low:high] = x[:, low:high] == model.mask
            if is_open.sum().item() == 0:
                break
            logits = padded(model(x[:, left:right], keys, left), x.shape[1], left) if ahead is None else ahead
            if i == 0 and keys is not None:
                keys = keys.grow(False) if cache == "prefix" else keys.put(low, high)
                left, right = low, x.shape[1] if cache == "prefix" else high
            if due >= int(is_open.sum()):
                x, ahead = torch.where(is_open, logits.argmax(-1), x), None
                continue
            sure = None if threshold is None else certain(logits, is_open, due, threshold)
            if sure is not None:
                x, ahead = torch.where(sure[0], sure[1], x), None
            else:
                states = propose(logits, x, is_open, due, candidates, position_temperature)
                start = left if i or cache != "prefix" else x.shape[1]
                x, ahead = look(model, logits, states, x, keys, (left, right, start))
            if i == 0 and cache == "prefix":
                keys = keys.before(low)
    return x


def certain(logits: Tensor, is_open: Tensor, due: int, threshold: float) -> tuple[Tensor, Tensor] | None:
    """Up to `due` open positions from the threshold up, bool [1, T], and all tokens; None if there are no such."""
    best, tokens = logits.float().softmax(-1).max(-1)
    sure = ((best >= threshold) & is_open)[0].nonzero()[:, 0]
    if not len(sure):
        return None
    chosen = torch.zeros_like(is_open)
    chosen[0, sure[best[0, sure].topk(min(due, len(sure))).indices]] = True
    return chosen, tokens


def propose(logits: Tensor, x: Tensor, is_open: Tensor, due: int, candidates: int, temperature: float) -> Tensor:
    """The next states of the distinct candidates, the greedy one first, int64 [N, T]."""
    chances = logits.float().softmax(-1)
    states, seen, valid = [], set(), is_open[0].nonzero()[:, 0]
    for candidate in range(candidates):
        tokens = torch.where(is_open, logits.argmax(-1), x)
        wants = chances.gather(-1, tokens[..., None])[0, valid, 0]
        if candidate:
            wants = wants / temperature - torch.log(-torch.log(torch.rand(len(valid)) + 1e-10) + 1e-10)
        place = valid[wants.topk(due).indices]
        if tuple(sorted(place.tolist())) not in seen:
            seen.add(tuple(sorted(place.tolist())))
            states.append(x.clone())
            states[-1][0, place] = tokens[0, place]
    return torch.cat(states)


def look(
    model: Model, logits: Tensor, states: Tensor, x: Tensor, keys: Keys | None, columns: tuple[int, int, int]
) -> tuple[Tensor, Tensor | None]:
    """The state of the highest value, [1, T], and its logits, [1, T, V]; one candidate is not looked at."""
    left, right, start = columns
    now = entropy(logits)
    if len(states) == 1:
        return states, None
    copies = None if keys is None else keys.repeated(len(states))
    ahead = padded(model(states[:, left:right], copies, start), x.shape[1], left)
    rest = states == model.mask
    later = torch.where(rest, entropy(ahead), 0.0).sum(-1) / (rest.sum(-1) + 1e-10)
    cost = torch.where(states != x, now, 0.0).sum(-1)
    best = int((-cost - later).argmax())
    return states[best : best + 1], ahead[best : best + 1]


def padded(logits: Tensor, length: int, left: int) -> Tensor:
    """Logits [N, length, V]: zeros in the columns that were not computed."""
    if logits.shape[1] == length:
        return logits
    whole = logits.new_zeros(len(logits), length, logits.shape[-1])
    whole[:, left : left + logits.shape[1]] = logits
    return whole


def entropy(logits: Tensor) -> Tensor:
    """In nats, [N, T]."""
    chances = logits.float().softmax(-1).clamp(min=1e-12)
    return -(chances * chances.log()).sum(-1)
