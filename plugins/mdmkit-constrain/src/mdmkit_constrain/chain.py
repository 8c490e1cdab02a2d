"""Sums over all ways through the automaton: forward, backward, and for one position between them.

A row's answer has L positions. A token at each leads the automaton from one state to the next. So texts are ways along
arrows, and the weight of a way is the product of the weights of its classes. Classes that lead from one state to
another are summed up first: such a group is one arrow. All numbers are natural logarithms, in float64: the only class
that the rule allows may have a probability that is too small for floating point. With `best`, maxima replace sums.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mdmkit_constrain.tables import Arrows, Tables

# Numbers that one step of a sum may hold at a time: rows × arrows.
CHUNK = 1 << 22


def in_groups(tables: Tables, weights: Tensor, best: bool) -> Tensor:
    """Weights of the groups, from those of the classes: [..., K] -> [..., G]."""
    return _gathered(tables.in_groups, weights.flatten(0, -2), None, best).unflatten(0, weights.shape[:-1])


def forward(tables: Tables, weights: Tensor, member: Tensor, first: Tensor, best: bool) -> Tensor:
    """Weights of all beginnings: float64 [m, L + 1, Q], by the state in which they end before each position.

    Args:
        weights: [m, L, G]; those of the groups.
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
    """One position further: states [m, Q] and weights [m, G] -> [m, Q]."""
    return _gathered(tables.ahead, state, weights, best)


def withdraw(tables: Tables, state: Tensor, weights: Tensor, best: bool) -> Tensor:
    """One position back: endings by state [m, Q] and weights [m, G] -> [m, Q]."""
    return _gathered(tables.back, state, weights, best)


def between(tables: Tables, before: Tensor, after: Tensor, best: bool) -> Tensor:
    """Weights of everything around one position, by the class that stands there: [m, Q] and [m, Q] -> [m, K]."""
    size = max(1, CHUNK // max(1, len(tables.around.index)))
    parts = zip(before.split(size), after.split(size), strict=True)
    groups = torch.cat([_gathered(tables.around, x, y, best) for x, y in parts])
    return _gathered(tables.of_classes, groups, None, best)


def _gathered(arrows: Arrows, first: Tensor, second: Tensor | None, best: bool) -> Tensor:
    """Sum, or take the largest of, the arrows of each index: weights of both other ends, [m, …], -> [m, size].

    The rows stand side by side in memory, and the arrows of an index one behind another. So the sums are always made in
    the same order, and cost little.
    """
    ways = first.T.contiguous().index_select(0, arrows.first)
    if second is not None and arrows.second is not None:
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
