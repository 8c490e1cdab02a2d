"""Sums over all ways through the automaton: forward, backward, and for one position between them.

A row's answer has L positions. A token at each leads the automaton from one state to the next. So texts are ways along
arrows, and the weight of a way is the product of the weights of its classes. All numbers are natural logarithms, in
float64: the only class that the rule allows may have a probability that is too small for floating point. With `best`,
maxima replace sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from mdmkit_constrain.tables import Arrows, Tables

# Numbers that one step of a sum may hold at a time: rows × arrows.
CHUNK = 1 << 22


def class_weights(tables: Tables, logits: Tensor) -> Tensor:
    """The logarithm of the sum of the weights of each class: logits [..., V] -> float64 [..., K]."""
    ordered, out = _ordered(tables, logits)
    for k, start, stop in _several(tables):
        part = ordered[..., start:stop]
        out[..., k] = (part if part.dtype == torch.float64 else part.float()).logsumexp(-1)
    return out


def class_best(tables: Tables, logits: Tensor) -> tuple[Tensor, Tensor]:
    """The largest logit of each class, and its token: logits [..., V] -> float64 and int64 [..., K]."""
    ordered, out = _ordered(tables, logits)
    token = tables.members[tables.firsts].expand_as(out).contiguous()
    for k, start, stop in _several(tables):
        out[..., k], index = ordered[..., start:stop].max(-1)
        token[..., k] = tables.members[start:stop][index]
    return out, token


def _ordered(tables: Tables, logits: Tensor) -> tuple[Tensor, Tensor]:
    """The logits of the tokens, class by class; and those of the classes that have one token only, float64 [..., K]."""
    ordered = logits.index_select(-1, tables.members)
    single = ordered.index_select(-1, tables.firsts).double()
    return ordered, single.masked_fill(tables.count == 0, -torch.inf)


def _several(tables: Tables) -> Iterator[tuple[int, int, int]]:
    """Each class with two or more tokens, and where they are among the members."""
    for k, (start, stop) in enumerate(pairwise(tables.bounds)):
        if stop - start > 1:
            yield k, start, stop


def flat_weights(tables: Tables, best: bool) -> Tensor:
    """Weights of the classes where nothing is known about a position, float64 [K]: every token is alike."""
    count = tables.count
    return torch.where(count > 0, 0.0, -torch.inf).to(count) if best else count.log()


def one_class(tables: Tables, chosen: Tensor) -> Tensor:
    """Weights where a token is written: 0 for its class, int64 [...], and −inf for all others: float64 [..., K]."""
    every = torch.arange(tables.classes, device=chosen.device)
    hit = chosen[..., None] == every
    return torch.zeros_like(hit, dtype=torch.float64).masked_fill(~hit, -torch.inf)


def forward(tables: Tables, weights: Tensor, member: Tensor, first: Tensor, best: bool) -> Tensor:
    """Weights of all beginnings: float64 [m, L + 1, Q], by the state in which they end before each position.

    Args:
        weights: [m, L, K].
        member: bool [m, L]; at other positions nothing happens.
        first: [m, Q]; the weights before the first position.
    """
    out = [first]
    for t in range(weights.shape[1]):
        out.append(torch.where(member[:, t, None], advance(tables, out[-1], weights[:, t], best), out[-1]))
    return torch.stack(out, 1)


def backward(tables: Tables, weights: Tensor, member: Tensor, last: Tensor, best: bool) -> Tensor:
    """Weights of all endings: float64 [m, L + 1, Q], by the state in which they begin; `last` [m, Q]."""
    out = [last]
    for t in reversed(range(weights.shape[1])):
        before = withdraw(tables, out[-1], weights[:, t], best)
        out.append(torch.where(member[:, t, None], before, out[-1]))
    return torch.stack(out[::-1], 1)


def advance(tables: Tables, state: Tensor, weights: Tensor, best: bool) -> Tensor:
    """One position further: states [m, Q] and weights [m, K] -> [m, Q]."""
    return _gathered(tables.ahead, state, weights, best)


def withdraw(tables: Tables, state: Tensor, weights: Tensor, best: bool) -> Tensor:
    """One position back: endings by state [m, Q] and weights [m, K] -> [m, Q]."""
    return _gathered(tables.back, state, weights, best)


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


def of_tokens(tables: Tables, values: Tensor, tokens: Tensor) -> Tensor:
    """Values of the classes [m, K] of one token each, int64 [m]: [m]; −inf for a token that leads nowhere."""
    return functional.pad(values, (0, 1), value=-torch.inf).gather(1, tables.class_of[tokens][:, None])[:, 0]


def per_token(tables: Tables, values: Tensor) -> Tensor:
    """Values of the classes [..., K] for each token, [..., V]; −inf for a token that leads nowhere."""
    return functional.pad(values, (0, 1), value=-torch.inf).index_select(-1, tables.class_of)
