"""The trace: who was written when, how surely, and what it cost. Kept on the device, read once at the end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from mdmkit.canvas.canvas import Canvas


@dataclass(frozen=True)
class Written:
    """What a step wrote, and how surely; all [B, W].

    Attributes:
        place: bool; positions that the chosen action fills.
        written: bool; positions that hold another token now; a commit may have written others than the action's.
        confidence: fp32; the un-tempered probability of the token that stands there now.
        entropy: fp32, nats; of the position before the step.
    """

    place: Tensor
    written: Tensor
    confidence: Tensor
    entropy: Tensor


@dataclass
class Trace:
    """What happened to B rows of T tokens.

    Attributes:
        order: int64 [B, T]; the tick of the (last) write of each position, −1 where nothing was written.
        confidence: fp32 [B, T]; the written token's un-tempered probability at that moment.
        entropy: fp32 [B, T]; the position's entropy at that moment, nats.
        uncertainty: float64 [B]; cumulative uncertainty H̃, nats: entropies summed over every committed token,
            bypassed and last-step ones included (arXiv:2602.18176).
        ticks: int64 [B]; steps each row took.
        rows: int64 [B]; NFE in row-forwards.
        row_tokens: int64 [B]; tokens that were computed in them: fewer where a cache stands for the rest.
        calls: NFE in model calls of the whole batch.
        choices: per step of the batch, int64 [B]: the alternative taken, −1 for a row that was done.
        values: per step, fp32 [B, N] where a lookahead compared alternatives (−inf for those not live), else None.
        parents: per step of a search, int64 [B·P]: the particle whose state each moved on from.
    """

    order: Tensor
    confidence: Tensor
    entropy: Tensor
    uncertainty: Tensor
    ticks: Tensor
    rows: Tensor
    row_tokens: Tensor
    calls: int = 0
    choices: list[Tensor] = field(default_factory=list)
    values: list[Tensor | None] = field(default_factory=list)
    parents: list[Tensor] = field(default_factory=list)

    @classmethod
    def blank(cls, canvas: Canvas) -> Trace:
        empty = torch.zeros(canvas.tokens.shape, device=canvas.tokens.device)
        count = torch.zeros_like(canvas.seed)
        order = torch.full_like(canvas.tokens, -1)
        return cls(order, empty, empty.clone(), count.double(), count, count.clone(), count.clone())

    def follow(self, parents: Tensor) -> None:
        """Let every row's facts follow the particles, int64 [B·P]; called before `record` of the same step."""
        for name in ("order", "confidence", "entropy", "uncertainty", "ticks"):
            setattr(self, name, getattr(self, name)[parents])
        self.parents.append(parents)

    def kept(self, slots: Tensor, particles: int) -> Trace:
        """The trace of the particles `slots`, int64 [B], one a row, each along its own line of parents.

        NFE is that of all particles of the row.
        """
        facts = {
            name: getattr(self, name)[slots] for name in ("order", "confidence", "entropy", "uncertainty", "ticks")
        }
        costs = {name: getattr(self, name).view(-1, particles).sum(1) for name in ("rows", "row_tokens")}
        choices: list[Tensor] = []
        values: list[Tensor | None] = []
        for chosen, seen, parents in reversed([*zip(self.choices, self.values, self.parents, strict=True)]):
            choices.append(chosen[slots])
            values.append(None if seen is None else seen[slots])
            slots = parents[slots]
        return replace(self, **facts, **costs, choices=choices[::-1], values=values[::-1], parents=[])

    def record(self, span: slice, active: Tensor, fact: Written, choice: Tensor, values: Tensor | None) -> None:
        """Note a step of the rows that are active, bool [B], whose window stands at the columns of `span`."""
        for kept, new in (
            (self.order, self.ticks[:, None].expand_as(fact.written)),
            (self.confidence, fact.confidence),
            (self.entropy, fact.entropy),
        ):
            kept[:, span] = torch.where(fact.written, new.to(kept.dtype), kept[:, span])
        self.uncertainty += torch.where(fact.place, fact.entropy.double(), 0.0).sum(1)
        self.ticks = self.ticks + active
        self.choices.append(choice.masked_fill(~active, -1))
        self.values.append(values)

    def cpu(self) -> Trace:
        """Bring everything to the host, the steps in one transfer each."""
        host = {
            name: getattr(self, name).cpu()
            for name in ("order", "confidence", "entropy", "uncertainty", "ticks", "rows", "row_tokens")
        }
        choices = list(torch.stack(self.choices).cpu()) if self.choices else []
        return replace(self, **host, choices=choices, values=[None if v is None else v.cpu() for v in self.values])

    def row(self, index: int) -> dict[str, Any]:
        """One row as plain numbers, for JSON: per position order, confidence, entropy; per tick choice and values."""
        choices = [int(c[index]) for c in self.choices]
        taken = [t for t, c in enumerate(choices) if c >= 0]
        return {
            "order": self.order[index].tolist(),
            "confidence": [round(c, 6) for c in self.confidence[index].tolist()],
            "entropy": [round(e, 6) for e in self.entropy[index].tolist()],
            "uncertainty": float(self.uncertainty[index]),
            "nfe": int(self.rows[index]),
            "row_tokens": int(self.row_tokens[index]),
            "choices": [choices[t] for t in taken],
            "values": [_compared(self.values[t], index) for t in taken],
        }


def _compared(values: Tensor | None, index: int) -> list[float | None] | None:
    """One row's values; null for an alternative that was not live, None where the row compared nothing."""
    if values is None or int((values[index] > -torch.inf).sum()) < 2:
        return None
    return [None if v == -torch.inf else round(v, 6) for v in values[index].tolist()]
