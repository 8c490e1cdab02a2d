"""From logits to weights of the classes of tokens: the pass over the vocabulary.

Weights are natural logarithms in float64, as in `chain`. The pass takes some positions at a time, which stay in the
caches of a CPU: to put the logits of 131,072 tokens in order takes 0.08 ms there, and 20 times as long otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from mdmkit import ops
from mdmkit_constrain.tables import Tables

# Bytes of logits that a pass takes at a time on a CPU: few enough for its caches, and so many that the calls of torch
# for each class cost little beside the numbers.
CPU_BYTES = 8 << 20


@dataclass(frozen=True)
class OfClasses:
    """What is known of the K classes at n positions: each field float64 [n, K].

    Attributes:
        sums: the logarithm of the sum of the weights of a class's tokens.
        best: the largest logit of the class.
        mean: the mean logit of the class, by weight; arbitrary if no token of it may be chosen.
    """

    sums: Tensor
    best: Tensor
    mean: Tensor


def of_classes(tables: Tables, logits: Tensor, rows: Tensor | None = None) -> OfClasses:
    """Read logits [n, V] class by class; `rows` int64 [n']: of these rows only."""
    if rows is not None and ops.readable(rows) and torch.equal(rows, torch.arange(len(logits))):
        rows = None
    every = logits if rows is None else rows
    chunks = every.tensor_split(ops.chunks_of(logits, len(every), CPU_BYTES))
    # One buffer for all chunks: the allocator gives large tensors back to the system, and their pages cost more than
    # the numbers.
    kind = logits.dtype if logits.dtype == torch.float64 else torch.float32
    buffer = logits.new_empty(2 * len(chunks[0]) * len(tables.members), dtype=kind)
    pairs = [_of_chunk(tables, chunk if rows is None else logits[chunk], buffer) for chunk in chunks]
    return OfClasses(*(torch.cat(column) for column in zip(*pairs, strict=True)))


def best_tokens(tables: Tables, logits: Tensor, rows: Tensor, chosen: Tensor) -> Tensor:
    """The best token of one class, int64 [n], in each of some rows, int64 [n], of logits: int64 [n].

    The first of equal tokens is the best.
    """
    if not len(rows):
        return torch.zeros_like(chosen)
    if ops.readable(logits):
        return torch.stack([_best_token(tables, logits[row], k) for row, k in zip(rows, chosen.tolist(), strict=True)])
    size = ops.at_a_time(logits)
    parts = zip(rows.split(size), chosen.split(size), strict=True)
    return torch.cat([logits[at].masked_fill_(tables.class_of != k[:, None], -torch.inf).argmax(1) for at, k in parts])


def _best_token(tables: Tables, logits: Tensor, k: int) -> Tensor:
    """int64 []: the best token of class k, of logits [V]; of a class that has no token, or of none (K), token 0."""
    own = tables.members[tables.bounds[k] : tables.bounds[k + 1]] if k < tables.classes else tables.members[:0]
    return own[logits[own].argmax()] if len(own) else torch.zeros_like(tables.class_of[0])


def _of_chunk(tables: Tables, logits: Tensor, buffer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The fields of `OfClasses` for some logits [n, V]; `buffer` has room for 2·n·M numbers, of M tokens of classes."""
    n, several = len(logits), list(_several(tables))
    both = buffer[: 2 * n * len(tables.members)].view(2 * n, len(tables.members))
    ordered, weight = both[:n], both[n:]
    if logits.dtype == ordered.dtype:
        torch.index_select(logits, 1, tables.members, out=ordered)
    else:
        ordered.copy_(logits.index_select(1, tables.members))
    single = ordered.index_select(1, tables.firsts).double().masked_fill(tables.count == 0, -torch.inf)
    best = single.clone()
    for k, start, stop in several:
        best[:, k] = ordered[:, start:stop].amax(1)
    if not several:
        return single, best, single
    sums, mean = single, best.clone()
    if not ops.readable(ordered):
        for k, start, stop in several:
            sums[:, k], mean[:, k] = _sum_and_mean(ordered[:, start:stop])
        return sums, best, mean
    kind = torch.finfo(ordered.dtype)
    top = best.amax(1, keepdim=True).to(ordered.dtype)
    top = top.masked_fill(top == -torch.inf, 0.0)
    # exp is up to 30 times as slow where its result is almost 0.
    torch.exp(ordered.sub_(top).clamp_(min=math.log(1.05 * kind.tiny)), out=weight)
    ordered.mul_(weight)
    totals = torch.stack([both[:, start:stop].sum(1) for _, start, stop in several], 1).double()
    product, total = totals[:n], totals[n:]
    index = [k for k, _, _ in several]
    sums[:, index], mean[:, index] = total.log() + top, product / total + top
    # Beside the largest weight of the row all tokens of a class may be too small for this.
    small = total < kind.tiny / kind.eps * ordered.shape[1]
    for i in small.any(0).nonzero()[:, 0].tolist():
        k, start, stop = several[i]
        own = _sum_and_mean(logits[:, tables.members[start:stop]])
        sums[:, k], mean[:, k] = (torch.where(small[:, i], x, y[:, k]) for x, y in zip(own, (sums, mean), strict=True))
    return sums, best, mean


def _sum_and_mean(own: Tensor) -> tuple[Tensor, Tensor]:
    """Of logits [n, m]: the logarithm of the sum of their weights, and their mean by weight, float64 [n]."""
    own = own.double()  # the entropy is a small difference of large numbers if all logits are far below 0
    total = own.logsumexp(1, keepdim=True)
    weight = (own - total).exp()
    return total[:, 0], torch.where(weight > 0, weight * own, 0.0).sum(1)


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


def of_tokens(tables: Tables, values: Tensor, tokens: Tensor) -> Tensor:
    """Values of the classes [m, K] of one token each, int64 [m]: [m]; −inf for a token that leads nowhere."""
    return functional.pad(values, (0, 1), value=-torch.inf).gather(1, tables.class_of[tokens][:, None])[:, 0]


def stats(tables: Tables, logits: Tensor, own: OfClasses, values: Tensor) -> ops.Stats:
    """Statistics of logits [n, V] to which the value of each token's class is added: values float64 [n, K].

    No pass over the vocabulary is needed: with the probability P of a class, H = lse − Σ P · (mean + value).
    """
    weight = own.sums + values
    lse = weight.logsumexp(1, keepdim=True)
    share = (weight - lse).exp()
    mean = torch.where(share == 0, 0.0, share * (own.mean + values)).sum(1)
    top, chosen = (own.best + values).max(1)
    argmax = best_tokens(tables, logits, torch.arange(len(logits), device=logits.device), chosen)
    kind = logits.dtype if logits.dtype == torch.float64 else torch.float32
    found = lse[:, 0]
    return ops.Stats(top.to(kind), argmax, found.to(kind), (found - mean).clamp_min(0.0).to(kind))
