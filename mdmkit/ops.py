"""What the stages read off logits and scores, vectorised and in bounded memory.

Everything a stage wants from a row of logits comes from one pass: maximum, argmax, logsumexp, entropy.
The pass runs in fp32 (float64 logits stay float64) over chunks of positions, so that its temporaries stay small.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

from mdmkit.largest import largest, second

# Bytes of fp32 temporaries that one chunk of logits may take. On a CPU they stay in its caches, and the allocator uses
# the same pages again.
CHUNK_BYTES, CPU_CHUNK_BYTES = 64 << 20, 2 << 20
# So many of the most probable tokens are searched for a nucleus before all are sorted.
NUCLEUS = 256
# Entries from which on temporaries are kept: 256 KiB of fp32, where the allocator begins to ask the system for pages.
SCRATCH_FROM = 1 << 16
_SCRATCH = threading.local()


@dataclass(frozen=True)
class Stats:
    """One pass over logits [..., V]: each field [...], fp32 (argmax int64); entropy in nats."""

    top: Tensor
    argmax: Tensor
    lse: Tensor
    entropy: Tensor

    def each(self, function: Callable[..., Tensor], *others: Stats) -> Stats:
        """Apply a function to each field, and to those of others with the same name."""
        return Stats(*map(function, *(vars(one).values() for one in (self, *others))))


def _chunk_bytes(x: Tensor, on_cpu: int = CPU_CHUNK_BYTES) -> int:
    return on_cpu if x.device.type == "cpu" else CHUNK_BYTES


def in_chunks(function: Callable[[Tensor], tuple[Tensor, ...]], x: Tensor) -> tuple[Tensor, ...]:
    """Apply a function over the last dimension of [..., V] chunk by chunk; results are [...]."""
    if x.dim() == 2 and 4 * x.numel() <= _chunk_bytes(x):
        return function(x)
    flat = x.reshape(-1, x.shape[-1])
    parts = [function(chunk) for chunk in flat.tensor_split(chunks_of(flat, len(flat)))]
    whole = parts[0] if len(parts) == 1 else [torch.cat(column) for column in zip(*parts, strict=True)]
    return tuple(part.reshape(*x.shape[:-1], *part.shape[1:]) for part in whole)


def chunks_of(x: Tensor, rows: int, cpu_bytes: int = CPU_CHUNK_BYTES) -> int:
    """How many chunks to take so many rows like those of x [n, V] in, with `tensor_split`.

    There is no chunk of a single row: that one would be summed up by several threads, in another order.
    """
    return max(1, min(-(-rows // at_a_time(x, cpu_bytes)), rows // 2))


def at_a_time(x: Tensor, cpu_bytes: int = CPU_CHUNK_BYTES) -> int:
    """How many rows of x [n, V] have so many bytes on a CPU, or `CHUNK_BYTES` elsewhere, as fp32; at least 2."""
    return max(2, _chunk_bytes(x, cpu_bytes) // (4 * max(1, x.shape[-1])))


def stats(logits: Tensor) -> Stats:
    """Read off logits [..., V] all that the stages need."""
    return Stats(*in_chunks(_stats, logits))


def _stats(logits: Tensor) -> tuple[Tensor, ...]:
    z = logits if logits.dtype == torch.float64 else logits.float()
    top, argmax = largest(z)
    shifted, weight = _scratch(z)
    shifted = torch.sub(z, top[:, None], out=shifted)
    if z.device.type == "cpu" and not z.requires_grad:
        # exp is up to 30 times as slow where its result is 0 or almost 0, as at all tokens that a rule forbids.
        tiny = torch.finfo(z.dtype).tiny
        weight = torch.exp(shifted.clamp_(min=math.log(1.05 * tiny)), out=weight)
        weight = torch.threshold_(weight, 1.1 * tiny, 0.0)
    else:
        weight = torch.exp(shifted)
    total = weight.sum(-1)
    # H = lse − Σ p·z, on logits shifted by the maximum: no log of p. A forbidden id (−inf) has p·z = 0.
    mean = shifted.mul_(weight).nansum(-1) / total
    lse = total.log()
    return top, argmax, lse + top, (lse - mean).clamp_min(0.0)


def _scratch(z: Tensor) -> list[Tensor] | tuple[None, None]:
    """Two tensors like a large chunk of logits, to compute in, on a CPU: each thread's own, made once.

    The allocator gives large tensors back to the system, and to get their pages again costs more than the numbers do.
    """
    if z.device.type != "cpu" or z.requires_grad or z.numel() < SCRATCH_FROM:
        return None, None
    kept = getattr(_SCRATCH, "kept", None)
    if kept is None or kept[0].dtype != z.dtype or len(kept[0]) < z.numel():
        with torch.inference_mode(False):
            kept = _SCRATCH.kept = [torch.empty(z.numel(), dtype=z.dtype) for _ in range(2)]
    return [each[: z.numel()].view(z.shape) for each in kept]


def uploaded(values: Sequence[Any], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Bring numbers, or lists of them, to a device. The host does not wait for a GPU: it copies from pinned memory."""
    here = torch.tensor(values, dtype=dtype)
    return here.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else here.to(device)


def readable(x: Tensor) -> bool:
    """True if the host can read the numbers of a tensor without waiting. It cannot if they are on another device, or if
    the tensor has none: a fake one, which shows what a part does on any device."""
    return x.device.type == "cpu" and type(x) is Tensor


def marked(flags: Tensor, most: int) -> Tensor:
    """Find the marked entries of bool flags: int64 [m], indices into the flattened flags, in order; at least one index.

    On a GPU their number is not known without waiting for it. There m is `most`, which must not be too small, and the
    indices of unmarked entries follow.
    """
    flat = flags.flatten()
    if not readable(flat):
        return (~flat).to(torch.uint8).argsort(stable=True)[: max(1, most)]
    found = flat.nonzero()[:, 0]
    return found if len(found) else found.new_zeros(1)


def runner_up(logits: Tensor) -> Tensor:
    """The second-largest logit, [..., V] -> [...]; apart from `stats`, since few samplers want it."""
    return in_chunks(lambda z: (second(z),), logits)[0]


def top(scores: Tensor, eligible: Tensor, count: Tensor) -> Tensor:
    """Mark the `count` best eligible entries along the last dimension; the first wins a tie.

    scores [..., W], eligible bool [..., W], count int64 [...] -> bool [..., W].
    """
    # An eligible −inf still ranks before everything ineligible.
    ranked = scores.clamp_min(torch.finfo(scores.dtype).min).masked_fill(~eligible, -torch.inf)
    order = ranked.argsort(dim=-1, descending=True, stable=True)
    best = torch.arange(order.shape[-1], device=order.device) < count[..., None]
    return torch.empty_like(order, dtype=torch.bool).scatter_(-1, order, best.expand_as(order)) & eligible


def sample(
    logits: Tensor, uniform: Tensor, temperature: float | Tensor, top_p: float | None = None, top_k: int | None = None
) -> Tensor:
    """Sample token ids by inverse CDF: logits [B, W, V], uniform [B, n, W] -> int64 [B, n, W].

    `temperature` is one number above 0, or float64 [B], for each row its own from 0 up.

    One uniform per token; equal in distribution to Gumbel-max. top-k, then top-p, are applied to the tempered
    distribution (both keep at least the best token).
    """
    draws = uniform.transpose(1, 2)  # [B, W, n]
    flat, wanted = logits.reshape(-1, logits.shape[-1]), draws.reshape(-1, draws.shape[-1])
    if isinstance(temperature, Tensor):
        temperature = temperature.repeat_interleave(logits.shape[1])
    picked = []
    for p, u in _drawn_from(flat, temperature, top_p, top_k, wanted):
        cdf = p.cumsum(-1)
        # Scaling by the last entry keeps u below the end; right=True never returns an id of zero probability.
        found = torch.searchsorted(cdf, (u * cdf[:, -1:]).contiguous(), right=True)
        picked.append(found.clamp_max(logits.shape[-1] - 1))
    return torch.cat(picked).reshape(draws.shape).transpose(1, 2)


def drawn_by(
    logits: Tensor,
    tokens: Tensor,
    inner: Tensor,
    temperature: float | Tensor,
    top_p: float | None = None,
    top_k: int | None = None,
) -> Tensor:
    """A uniform number by which `sample` draws a given token: logits [n, V], tokens int64 [n] -> float64 [n].

    `inner` float64 [n] in (0, 1) says which of the numbers that give the token. If the token was drawn, and `inner` is
    uniform, the result is uniform, too. `temperature` is one number, or float64 [n].
    """
    out = []
    for p, token, within in _drawn_from(logits, temperature, top_p, top_k, tokens, inner):
        cdf = p.cumsum(-1)
        own, upto = (x.gather(-1, token[:, None])[:, 0] for x in (p, cdf))
        out.append((upto - own * (1 - within)) / cdf[:, -1])
    return torch.cat(out)


def _drawn_from(
    logits: Tensor, temperature: float | Tensor, top_p: float | None, top_k: int | None, *beside: Tensor
) -> Iterator[tuple[Tensor, ...]]:
    """The probabilities float64, up to a factor, by which tokens are drawn from logits [n, V], some rows at a time.

    With each come the same rows of the tensors `beside`. `temperature` is one number, or float64 [n].
    """
    size = max(1, _chunk_bytes(logits) // (16 * logits.shape[-1]))
    if isinstance(temperature, Tensor):
        # The smallest number stands for 0: it leaves the most probable token alone, and 0/0 does not arise.
        heats: Iterable[float | Tensor] = temperature.clamp_min(torch.finfo(torch.float64).tiny)[:, None].split(size)
    else:
        heats = repeat(temperature, -(-len(logits) // size))
    for some, heat, *own in zip(logits.split(size), heats, *(x.split(size) for x in beside), strict=True):
        yield _tempered(some, heat, top_p, top_k), *own


def _tempered(logits: Tensor, temperature: float | Tensor, top_p: float | None, top_k: int | None) -> Tensor:
    z = logits.double()
    z = (z - z.amax(-1, keepdim=True)) / temperature
    if top_k is not None and top_k < z.shape[-1]:
        z = z.masked_fill(z < z.topk(top_k, dim=-1).values[:, -1:], -torch.inf)
    p = z.softmax(-1)
    if top_p is not None and top_p < 1.0:
        p = p.masked_fill(~nucleus(p, top_p), 0.0)
    return p


def nucleus(p: Tensor, mass: float) -> Tensor:
    """Mark the most probable tokens that together have at least this mass: probabilities [n, V] -> bool [n, V].

    A token is in the nucleus if those before it have less than the mass together. The first of equal ones comes first.
    """
    if p.device.type != "cpu" or p.shape[-1] <= NUCLEUS:
        return _nucleus_sorted(p, mass)
    # Few tokens hold the mass, as a rule. To find these is much cheaper than to sort all.
    best = p.topk(NUCLEUS, dim=-1).values
    total = best.cumsum(-1)
    count = (total - best < mass).sum(-1, keepdim=True).clamp_min(1)
    last = best.gather(-1, count - 1)
    # Of the tokens as probable as the last one, the first ones are in.
    level = p == last
    wanted = count - (best > last).sum(-1, keepdim=True)
    inside = (p > last) | (level & (level.cumsum(-1) <= wanted))
    wide = (total[:, -1] < mass).nonzero()[:, 0]
    if len(wide):
        inside[wide] = _nucleus_sorted(p[wide], mass)
    return inside


def _nucleus_sorted(p: Tensor, mass: float) -> Tensor:
    ordered, index = p.sort(dim=-1, descending=True, stable=True)
    return torch.zeros_like(p, dtype=torch.bool).scatter(-1, index, ordered.cumsum(-1) - ordered < mass)
