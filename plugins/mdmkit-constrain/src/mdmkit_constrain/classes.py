"""From logits to weights of the classes of tokens, and back: the passes over the vocabulary.

Weights are natural logarithms in float64, as in `chain`. A pass takes some positions at a time, which stay in the
caches of a CPU: to put the logits of 131,072 tokens in order takes 0.08 ms there, and 20 times as long otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from mdmkit import ops
from mdmkit_constrain.tables import Tables

# Bytes of logits that a pass takes at a time on a CPU: few enough for its caches, and so many that the calls of torch
# for each class cost little beside the numbers.
CPU_BYTES = 8 << 20


def class_weights(tables: Tables, logits: Tensor, rows: Tensor | None = None) -> Tensor:
    """The logarithm of the sum of the weights of each class: logits [n, V] -> float64 [n, K].

    `rows` int64 [n']: of these rows only, [n', K].
    """
    return _passes(tables, _sums, logits, rows)


def class_best(tables: Tables, logits: Tensor, rows: Tensor | None = None) -> Tensor:
    """The largest logit of each class: logits [n, V] -> float64 [n, K]; `rows` as for `class_weights`."""
    return _passes(tables, _maxima, logits, rows)


def class_both(tables: Tables, logits: Tensor) -> tuple[Tensor, Tensor]:
    """`class_weights` and `class_best` in one pass."""
    sums, best = _passes(tables, _both, logits, None).chunk(2, 1)
    return sums, best


def best_tokens(tables: Tables, logits: Tensor, rows: Tensor, chosen: Tensor) -> Tensor:
    """The best token of one class, int64 [n], in each of some rows, int64 [n], of logits: int64 [n].

    The first of equal tokens is the best.
    """
    if ops.readable(logits):
        return torch.stack([_best_token(tables, logits[row], k) for row, k in zip(rows, chosen.tolist(), strict=True)])
    parts = zip(rows.split(_at_a_time(logits)), chosen.split(_at_a_time(logits)), strict=True)
    return torch.cat([logits[at].masked_fill_(tables.class_of != k[:, None], -torch.inf).argmax(1) for at, k in parts])


def _best_token(tables: Tables, logits: Tensor, k: int) -> Tensor:
    """int64 []: the best token of class k, of logits [V]; of a class that has no token, or of none (K), token 0."""
    own = tables.members[tables.bounds[k] : tables.bounds[k + 1]] if k < tables.classes else tables.members[:0]
    return own[logits[own].argmax()] if len(own) else torch.zeros_like(tables.class_of[0])


# A pass over some logits [n, V], those of the tokens of its classes, class by class, [n, M], and weights [n, K] of the
# classes with one token, to which it adds the others. It may write into the last two.
Pass = Callable[["Tables", Tensor, Tensor, Tensor], Tensor]


def _passes(tables: Tables, function: Pass, logits: Tensor, rows: Tensor | None) -> Tensor:
    if rows is not None and ops.readable(rows) and torch.equal(rows, torch.arange(len(logits))):
        rows = None
    every = logits if rows is None else rows
    # No chunk of a single row: that one would be summed up by several threads, in another order.
    chunks = every.tensor_split(max(1, min(-(-len(every) // _at_a_time(logits)), len(every) // 2)))
    # One buffer for all chunks: the allocator gives large tensors back to the system, and their pages cost more than
    # the numbers.
    buffer, out = logits.new_empty(len(chunks[0]), len(tables.members)), []
    for chunk in chunks:
        some = chunk if rows is None else logits[chunk]
        ordered = torch.index_select(some, 1, tables.members, out=buffer[: len(some)])
        ordered = ordered if ordered.dtype == torch.float64 else ordered.float()
        single = ordered.index_select(1, tables.firsts).double().masked_fill(tables.count == 0, -torch.inf)
        out.append(function(tables, some, ordered, single))
    return torch.cat(out)


def _at_a_time(logits: Tensor) -> int:
    """How many rows of logits [n, V] a pass takes at a time."""
    size = CPU_BYTES if logits.device.type == "cpu" else ops.CHUNK_BYTES
    return max(2, size // (4 * max(1, logits.shape[1])))


def _both(tables: Tables, logits: Tensor, ordered: Tensor, out: Tensor) -> Tensor:
    best = _maxima(tables, logits, ordered, out.clone())
    return torch.cat((_sums(tables, logits, ordered, out), best), 1)


def _sums(tables: Tables, logits: Tensor, ordered: Tensor, out: Tensor) -> Tensor:
    several = list(_several(tables))
    if not ops.readable(ordered):
        for k, start, stop in several:
            out[:, k] = ordered[:, start:stop].logsumexp(1)
        return out
    if not several:
        return out
    top = ordered.amax(1, keepdim=True)
    top = top.masked_fill(top == -torch.inf, 0.0)
    # exp is up to 30 times as slow where its result is almost 0.
    kind = torch.finfo(ordered.dtype)
    weight = ordered.sub_(top).clamp_(min=math.log(1.05 * kind.tiny)).exp_()
    sums = torch.stack([weight[:, start:stop].sum(1) for _, start, stop in several], 1)
    out[:, [k for k, _, _ in several]] = sums.double().log_() + top.double()
    # Beside the largest weight of the row all tokens of a class may be too small for this.
    small = sums < kind.tiny / kind.eps * ordered.shape[1]
    for i in small.any(0).nonzero()[:, 0].tolist():
        k, start, stop = several[i]
        own = logits[:, tables.members[start:stop]]
        out[:, k] = torch.where(small[:, i], own.to(ordered.dtype).logsumexp(1).double(), out[:, k])
    return out


def _maxima(tables: Tables, logits: Tensor, ordered: Tensor, out: Tensor) -> Tensor:
    for k, start, stop in _several(tables):
        out[:, k] = ordered[:, start:stop].amax(1)
    return out


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


def shifted(tables: Tables, logits: Tensor, values: Tensor) -> Tensor:
    """Add to each logit the value of its token's class: logits [n, V] and values [n, K + 1] -> [n, V]."""
    values, out = values.to(logits.dtype), torch.empty_like(logits)
    size = _at_a_time(logits)
    for into, x, own in zip(out.split(size), logits.split(size), values.split(size), strict=True):
        torch.index_select(own, 1, tables.class_of, out=into).add_(x)
    return out
