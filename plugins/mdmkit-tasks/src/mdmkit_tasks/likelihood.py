"""The likelihood of a continuation under a masked diffusion model: a Monte Carlo bound, or exactly, left to right.

A masked diffusion model bounds log p(x) from below by E_l[n/l · Σ log p(x_i | the others)] over l ~ U{1, …, n} and l
random masked positions (arXiv:2406.04329, arXiv:2502.09992, eq. 6). A block-causal model is a chain over blocks, so its
bound is the sum of the bounds of its blocks, each given the blocks before it. With blocks of one token it is exact.
"Left to right" is another exact likelihood, in which tokens are written in this order; it costs n forwards.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from mdmkit import MdmkitError, Plan, Prompt, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Backbone

KINDS = ("bound", "left_to_right")


@dataclass(frozen=True)
class Pair:
    """A context with its continuation, as ids.

    Attributes:
        ids: the ids of both.
        start, end: start and end of the continuation; special tokens may follow it.
    """

    ids: list[int]
    start: int
    end: int

    @property
    def continuation(self) -> list[int]:
        return self.ids[self.start : self.end]


def pair(backbone: Backbone, context: str, continuation: str) -> Pair:
    """Encode a context and a continuation together; a token across the border belongs to the continuation.

    Raises:
        MdmkitError: the model cannot read them, or the continuation has no tokens.
    """
    before, whole = _ids(backbone, context), _ids(backbone, context + continuation)
    never = set(backbone.forbidden)
    end = len(whole)
    while end and whole[end - 1] in never:  # such as the separator after an encoder's text
        end -= 1
    same = (i for i, (a, b) in enumerate(zip(before, whole, strict=False)) if a != b)
    start = min(next(same, min(len(before), len(whole))), end)
    if start == end:
        raise MdmkitError(f"the continuation {continuation!r} has no tokens, so it has no likelihood.")
    return Pair(whole, start, end)


@torch.inference_mode()
def log_likelihood(
    backbone: Backbone, given: Pair, *, kind: str = "bound", samples: int = 128, batch: int = 16, seed: int = 0
) -> float:
    """Log-probability of a continuation, nats: the bound, estimated by `samples` maskings, or left to right exactly.

    Raises:
        MdmkitError: an unknown kind, or a model without a mask.
    """
    if kind not in KINDS:
        raise MdmkitError(unknown("likelihood", kind, KINDS))
    if backbone.mask_id is None:
        raise MdmkitError(
            f"{type(backbone).__name__} has no mask, and this likelihood is that of masked tokens: use a model that "
            "has a mask."
        )
    canvas, conditioning = backbone.encode([Prompt(ids=tuple(given.ids), length=0, infill=False)], Plan())
    start, end = given.start, given.end
    generator = torch.Generator().manual_seed(seed)
    total = 0.0
    for left, right in _segments(start, end, canvas.block):
        n = right - left
        if kind == "left_to_right":
            hidden = torch.ones(n, n, dtype=torch.bool).triu()  # row i: i and all positions after it are masked
            weight = torch.eye(n)
        elif n == 1:
            hidden, weight = torch.ones(1, 1, dtype=torch.bool), torch.ones(1, 1)
        else:
            hidden, weight = _maskings(n, samples, generator)
        # Positions after the segment are not known yet.
        later = torch.ones(len(hidden), end - right, dtype=torch.bool)
        masked = torch.cat([hidden, later], 1).to(canvas.tokens.device)
        for rows in range(0, len(hidden), batch):
            said = _log_probabilities(backbone, canvas, conditioning, masked[rows : rows + batch], left, right, end)
            total += float((said * weight[rows : rows + batch].to(said)).sum())
    return total


def _maskings(n: int, samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Which positions are masked, bool [samples, n], and the weight n / l / samples of each masked one.

    The numbers of masks are stratified: they cover {1, …, n} as evenly as this number of samples allows.
    """
    shift = torch.rand(1, generator=generator)
    masks = 1 + ((torch.arange(samples) + shift) / samples * n).long().clamp_max(n - 1)
    rank = torch.rand(samples, n, generator=generator).argsort(1).argsort(1)
    hidden = rank < masks[:, None]
    return hidden, hidden * (n / masks[:, None] / samples)


def _segments(start: int, end: int, block: int | None) -> list[tuple[int, int]]:
    """The continuation's columns, cut at the ends of the model's blocks; blocks count from the row's first token."""
    if block is None:
        return [(start, end)]
    cuts = [start, *(c for c in range(0, end, block) if start < c), end]
    return list(itertools.pairwise(cuts))


def _log_probabilities(
    backbone: Backbone, canvas: Any, conditioning: Any, masked: Tensor, left: int, right: int, end: int
) -> Tensor:
    """log p of the true tokens of columns left to right, [M, right − left]; `masked` is of columns left to end."""
    rows = len(masked)
    tokens = canvas.tokens.expand(rows, -1).clone()
    truth = tokens[:, left:right].clone()
    tokens[:, left:end] = tokens[:, left:end].masked_fill(masked, canvas.blank_id)
    valid, positions = canvas.valid.expand(rows, -1), canvas.positions.expand(rows, -1)
    condition = backbone.select(conditioning, torch.zeros(rows, dtype=torch.long, device=tokens.device))
    more = {"previous": None} if backbone.feeds_back else {}
    out = backbone.forward(tokens, valid, condition, positions=positions, **more)
    logits = backbone.project(out.hidden[:, left:right]).float()
    logits[..., backbone.mask_id] = -torch.inf
    return logits.log_softmax(-1).gather(-1, truth[..., None])[..., 0]


def _ids(backbone: Backbone, text: str) -> list[int]:
    canvas, _ = backbone.encode([Prompt(text=text, length=0, infill=False, chat=False)], Plan())
    return [int(token) for token in canvas.tokens[0][canvas.valid[0]]]
