"""Sums over all ways through the automaton: forward, backward, and for one position between them.

A row's answer has L positions. A token at each leads the automaton from one state to the next. So texts are ways along
arrows, and the weight of a way is the product of the weights of its classes. All numbers are natural logarithms, in
float64: the only class that the rule allows may have a probability that is too small for floating point. With `best`,
maxima replace sums.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mdmkit_constrain.tables import Arrows, Tables

# Numbers that one step of a sum may hold at a time: rows × arrows.
CHUNK = 1 << 22


def class_weights(tables: Tables, logits: Tensor, best: bool) -> Tensor:
    """The logarithm of the sum, or the largest, of the weights of each class: logits [..., V] -> float64 [..., K]."""
    ordered = logits.index_select(-1, tables.members)
    out = logits.new_full((*logits.shape[:-1], tables.classes), -torch.inf, dtype=torch.float64)
    for k, (start, stop) in enumerate(zip(tables.bounds, tables.bounds[1:], strict=False)):
        if stop - start == 1:
            out[..., k] = ordered[..., start]
        elif stop > start:
            part = ordered[..., start:stop]
            part = part if part.dtype == torch.float64 else part.float()
            out[..., k] = part.amax(-1) if best else part.logsumexp(-1)
    return out


def flat_weights(tables: Tables, best: bool) -> Tensor:
    """Weights of the classes where nothing is known about a position, float64 [K]: every token is alike."""
    count = tables.count
    return torch.where(count > 0, 0.0, -torch.inf).to(count) if best else count.log()


def one_class(tables: Tables, chosen: Tensor) -> Tensor:
    """Weights where a token is written: 0 for its class, int64 [...], and −inf for all others: float64 [..., K]."""
    every = torch.arange(tables.classes, device=chosen.device)
    hit = chosen[..., None] == every
    return torch.zeros_like(hit, dtype=torch.float64).masked_fill(~hit, -torch.inf)


def forward(tables: Tables, weights: Tensor, member: Tensor, best: bool) -> Tensor:
    """Weights of all beginnings: float64 [m, L + 1, Q], by the state in which they end before each position.

    Args:
        weights: [m, L, K].
        member: bool [m, L]; at other positions nothing happens.
    """
    start = weights.new_full((len(weights), tables.states), -torch.inf)
    start[:, 0] = 0.0
    out = [start]
    for t in range(weights.shape[1]):
        out.append(torch.where(member[:, t, None], advance(tables, out[-1], weights[:, t], best), out[-1]))
    return torch.stack(out, 1)


def backward(tables: Tables, weights: Tensor, member: Tensor, final: Tensor, best: bool) -> Tensor:
    """Weights of all endings: float64 [m, L + 1, Q], by the state in which they begin; `final` bool [m, Q]."""
    out = [torch.zeros_like(final, dtype=torch.float64).masked_fill(~final, -torch.inf)]
    for t in reversed(range(weights.shape[1])):
        before = _gathered(tables.back, out[-1], weights[:, t], best)
        out.append(torch.where(member[:, t, None], before, out[-1]))
    return torch.stack(out[::-1], 1)


def advance(tables: Tables, state: Tensor, weights: Tensor, best: bool) -> Tensor:
    """One position further: states [m, Q] and weights [m, K] -> [m, Q]."""
    return _gathered(tables.ahead, state, weights, best)


def between(tables: Tables, before: Tensor, after: Tensor, best: bool) -> Tensor:
    """Weights of everything around one position, by the class that stands there: [m, Q] and [m, Q] -> [m, K]."""
    size = max(1, CHUNK // max(1, len(tables.around.index)))
    parts = zip(before.split(size), after.split(size), strict=True)
    return torch.cat([_gathered(tables.around, x, y, best) for x, y in parts])


def _gathered(arrows: Arrows, first: Tensor, second: Tensor, best: bool) -> Tensor:
    """Sum, or take the largest of, the arrows of each index: weights of both other ends, [m, …], -> [m, size].

    The rows stand side by side in memory, and the arrows of an index one behind another. So the sums are always made in
    the same order, and cost little.
    """
    ways = first.T.contiguous().index_select(0, arrows.first)
    ways = ways.add_(second.T.contiguous().index_select(0, arrows.second))
    top = _segments(ways, "max", arrows, -torch.inf)
    if best:
        return top.T
    level = top.masked_fill(top == -torch.inf, 0.0)
    total = _segments(ways.sub_(level.index_select(0, arrows.index)).exp_(), "sum", arrows, 0.0)
    return total.log_().add_(level).T


def _segments(ways: Tensor, what: str, arrows: Arrows, initial: float) -> Tensor:
    # `unsafe`: the offsets are right, and to check them would wait for the device.
    return torch.segment_reduce(ways, what, offsets=arrows.offsets, axis=0, initial=initial, unsafe=True)


def per_token(tables: Tables, values: Tensor) -> Tensor:
    """Values of the classes [..., K] for each token, [..., V]; −inf for a token that leads nowhere."""
    return functional.pad(values, (0, 1), value=-torch.inf).index_select(-1, tables.class_of)
