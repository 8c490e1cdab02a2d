"""From logits to weights of the classes of tokens, and back: the passes over the vocabulary.

Weights are natural logarithms in float64, as in `chain`. A pass takes some positions at a time, which stay in the
caches of a CPU: to put the logits of 131,072 tokens in order takes 0.08 ms there, and 20 times as long otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from mdmkit import ops
from mdmkit_constrain.tables import Tables


def class_weights(tables: Tables, logits: Tensor, rows: Tensor | None = None) -> Tensor:
    """The logarithm of the sum of the weights of each class: logits [n, V] -> float64 [n, K].

    `rows` int64 [n']: of these rows only, [n', K].
    """
    return _passes(partial(_sums, tables), logits, rows)


def class_best(tables: Tables, logits: Tensor, rows: Tensor | None = None) -> Tensor:
    """The largest logit of each class: logits [n, V] -> float64 [n, K]; `rows` as for `class_weights`."""
    return _passes(partial(_maxima, tables), logits, rows)


def best_tokens(tables: Tables, logits: Tensor, rows: Tensor, chosen: Tensor) -> Tensor:
    """The best token of one class, int64 [n], in each of some rows, int64 [n], of logits: int64 [n].

    The first of equal tokens is the best.
    """
    parts = zip(rows.split(_at_a_time(logits)), chosen.split(_at_a_time(logits)), strict=True)
    return torch.cat([logits[at].masked_fill_(tables.class_of != k[:, None], -torch.inf).argmax(1) for at, k in parts])


def _passes(function: Callable[[Tensor], Tensor], logits: Tensor, rows: Tensor | None) -> Tensor:
    every = logits if rows is None else rows
    # No chunk of a single row: that one would be summed up by several threads, in another order.
    count = max(1, min(-(-len(every) // _at_a_time(logits)), len(every) // 2))
    return torch.cat([function(some if rows is None else logits[some]) for some in every.tensor_split(count)])


def _at_a_time(logits: Tensor) -> int:
    """How many rows of logits [n, V] a pass takes at a time."""
    size = ops.CPU_CHUNK_BYTES if logits.device.type == "cpu" else ops.CHUNK_BYTES
    return max(2, size // (4 * max(1, logits.shape[1])))


def _sums(tables: Tables, logits: Tensor) -> Tensor:
    ordered, out = _ordered(tables, logits)
    if not ops.readable(ordered):
        for k, start, stop in _several(tables):
            out[:, k] = ordered[:, start:stop].logsumexp(-1)
        return out
    top = ordered.amax(-1, keepdim=True)
    top = top.masked_fill(top == -torch.inf, 0.0)
    weight = (ordered - top).exp_()
    several = list(_several(tables))
    if several:
        sums = torch.stack([weight[:, start:stop].sum(-1) for _, start, stop in several], 1)
        index = torch.tensor([k for k, _, _ in several])
        out[:, index] = sums.double().log_() + top.double()
        # Beside the largest weight of the row all tokens of a class may be too small for this.
        kind = torch.finfo(ordered.dtype)
        small = sums < kind.tiny / kind.eps * ordered.shape[1]
        for i in small.any(0).nonzero()[:, 0].tolist():
            k, start, stop = several[i]
            out[:, k] = torch.where(small[:, i], ordered[:, start:stop].logsumexp(-1).double(), out[:, k])
    return out


def _maxima(tables: Tables, logits: Tensor) -> Tensor:
    ordered, out = _ordered(tables, logits)
    for k, start, stop in _several(tables):
        out[:, k] = ordered[:, start:stop].amax(-1)
    return out


def _ordered(tables: Tables, logits: Tensor) -> tuple[Tensor, Tensor]:
    """The logits of the tokens, class by class; and those of the classes that have one token only, float64 [n, K]."""
    ordered = logits.index_select(-1, tables.members)
    ordered = ordered if ordered.dtype == torch.float64 else ordered.float()
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
