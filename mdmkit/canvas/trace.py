"""The trace: when each position was written, with what confidence, and the cost. Read when a row leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mdmkit.canvas.window import Window


@dataclass(frozen=True)
class Written:
    """What K steps wrote, in the order of the steps.

    Attributes:
        written: bool [K, B, W]; positions that hold another token than before. A commit may write more than the action.
        confidence: fp32 [K, B, W]; the probability, at temperature 1, of the token that stands there after the step.
        entropy: fp32 [K, B, W], nats; the position's entropy before the step.
        cost: float64 [K, B], nats; the sum of the entropies of the positions that the action filled.
        ticks: int64 [K, B]; steps that the rows had made before.
        logprob: fp32 [K, B, W]; the logarithm of the confidence, nats; None: rows do not say it.
        rank: int64 [K, B, W]; 1 if no token was more probable; None: rows do not say it.
    """

    written: Tensor
    confidence: Tensor
    entropy: Tensor
    cost: Tensor
    ticks: Tensor
    logprob: Tensor | None = None
    rank: Tensor | None = None


@dataclass
class Trace:
    """The history of R rows of T tokens.

    Attributes:
        order: int64 [R, T]; the tick at which each position was last written, −1 if it never was.
        confidence: fp32 [R, T]; the token's probability at this tick, at temperature 1.
        entropy: fp32 [R, T]; the position's entropy at this tick, nats.
        logprob, rank: fp32 and int64 [R, T]; the token's log-probability (nats) and rank at this tick, if `says`.
        uncertainty: float64 [R]; cumulative uncertainty H̃, nats: the sum of the entropies of all committed tokens, also
            of a bypass and of last steps (arXiv:2602.18176).
        ticks: int64 [R]; steps that each row made.
        choices: int64 [R, ticks]; the alternative taken, −1 after the row's last tick. Empty if the sampler never
            compares.
        values: fp32 [R, ticks, N]; the lookahead's value of each alternative, −inf if it was not compared, NaN if no
            row compared in the step. Empty if the sampler never compares.
        rows: int64 [R]; NFE in row-forwards.
        row_tokens: int64 [R]; tokens needed in these forwards; fewer under a cache.
        columns: int64 [R]; tokens computed, including those that only fill up a batch.
        calls: NFE in model calls of all rows together.
        says: True if rows say log-probabilities and ranks.
    """

    order: Tensor
    confidence: Tensor
    entropy: Tensor
    uncertainty: Tensor
    ticks: Tensor
    choices: Tensor
    values: Tensor
    rows: Tensor
    row_tokens: Tensor
    columns: Tensor
    logprob: Tensor
    rank: Tensor
    calls: int = 0
    says: bool = False

    @classmethod
    def blank(cls, rows: int, columns: int, device: torch.device | str = "cpu", says: bool = False) -> Trace:
        empty = torch.zeros(rows, columns, device=device)
        count = torch.zeros(rows, dtype=torch.long, device=device)
        order = torch.full((rows, columns), -1, device=device)
        choices = torch.zeros(rows, 0, dtype=torch.long, device=device)
        values = torch.zeros(rows, 0, 0, device=device)
        costs = count.double(), count, choices, values, count, count, count
        return cls(order, empty, empty.clone(), *costs, empty.clone(), torch.zeros_like(order), says=says)

    def at(self, rows: Tensor | list[int]) -> Trace:
        """Select rows int64 [M], in this order."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _ROWS})

    def padded(self, columns: int) -> Trace:
        """The same rows, padded to `columns` columns."""
        more = columns - self.order.shape[1]
        if more <= 0:
            return self
        order = functional.pad(self.order, (0, more), value=-1)
        wide: dict[str, Any] = {name: functional.pad(getattr(self, name), (0, more)) for name in _COLUMNS[1:]}
        return replace(self, order=order, **wide)

    def narrowed(self, columns: int) -> Trace:
        """The same rows without the columns from `columns` on."""
        return replace(self, **{name: getattr(self, name)[:, :columns] for name in _COLUMNS})

    def write(self, rows: Tensor | None, where: Window, fact: Written) -> None:
        """Write what K steps of rows int64 [B] wrote in their windows; None: all rows."""
        steps = torch.arange(len(fact.written), device=fact.written.device)[:, None, None]
        last = torch.where(fact.written, steps, -1).amax(0)  # of several writes the last one counts
        any_, at = last >= 0, last.clamp_min(0)[None]
        news = {
            "order": fact.ticks[:, :, None].expand_as(fact.written).gather(0, at)[0],
            "confidence": fact.confidence.gather(0, at)[0],
            "entropy": fact.entropy.gather(0, at)[0],
        }
        if fact.logprob is not None and fact.rank is not None:
            news |= {"logprob": fact.logprob.gather(0, at)[0], "rank": fact.rank.gather(0, at)[0]}
        for name, new in news.items():
            kept = getattr(self, name)
            own = kept if rows is None else kept[rows]
            where.write(own, any_, new.to(own.dtype))
            if rows is not None:
                kept[rows] = own
        own = self.uncertainty if rows is None else self.uncertainty[rows]
        # One after the other, so that the sum does not depend on how many steps are written at once.
        total = torch.cat((own[None], fact.cost)).cumsum(0)[-1]
        self.uncertainty = total if rows is None else self.uncertainty.index_copy(0, rows, total)

    def count(
        self,
        rows: Tensor | None,
        active: Tensor,
        choice: Tensor | None = None,
        values: Tensor | None = None,
        most: int = 0,
    ) -> None:
        """Count a step.

        Args:
            rows: int64 [B]; the rows of the step; None: all rows.
            active: bool [B]; rows that made the step.
            choice: int64 [B]; the alternatives taken; None if the sampler never compares.
            values: fp32 [B, N]; the lookahead's values.
            most: the largest number of ticks that any row has made.
        """
        ticks = self.ticks if rows is None else self.ticks[rows]
        if choice is not None:
            self._make_room(values, most)
            at = torch.arange(len(ticks), device=ticks.device) if rows is None else rows
            self.choices[at, ticks] = choice.masked_fill(~active, -1)
            if values is not None:
                self.values[at, ticks, : values.shape[1]] = values.to(self.values.dtype)
        self.ticks = ticks + active if rows is None else self.ticks.index_copy(0, rows, ticks + active)

    def _make_room(self, values: Tensor | None, most: int) -> None:
        """Make room for one more tick, and for all alternatives of `values`."""
        if most >= self.choices.shape[1]:
            more = max(16, self.choices.shape[1])
            self.choices = functional.pad(self.choices, (0, more), value=-1)
            self.values = functional.pad(self.values, (0, 0, 0, more), value=torch.nan)
        if values is not None and values.shape[1] > self.values.shape[2]:
            self.values = functional.pad(self.values, (0, values.shape[1] - self.values.shape[2]), value=torch.nan)

    def cpu(self) -> Trace:
        """Bring everything to the host."""
        return replace(self, **{name: getattr(self, name).cpu() for name in _ROWS})

    def row(self, index: int) -> dict[str, Any]:
        """One row as plain numbers for JSON: order, confidence, entropy per position; choice, values per tick."""
        ticks = int(self.ticks[index])
        choices = self.choices[index].tolist()[:ticks] if self.choices.shape[1] else [0] * ticks
        values = [_compared(v) for v in self.values[index, :ticks]] if self.values.shape[2] else [None] * ticks
        return {
            "order": self.order[index].tolist(),
            "confidence": [round(c, 6) for c in self.confidence[index].tolist()],
            "entropy": [round(e, 6) for e in self.entropy[index].tolist()],
            "uncertainty": float(self.uncertainty[index]),
            "nfe": int(self.rows[index]),
            "row_tokens": int(self.row_tokens[index]),
            "choices": choices,
            "values": values,
            **(as_logprobs(self.logprob[index], self.rank[index], self.order[index]) if self.says else {}),
        }


_COLUMNS = ("order", "confidence", "entropy", "logprob", "rank")
_ROWS = (
    *("order", "confidence", "entropy", "uncertainty", "ticks", "choices", "values"),
    *("rows", "row_tokens", "columns", "logprob", "rank"),
)


def stacked(parts: Sequence[Trace], calls: int = 0) -> Trace:
    """Join the traces of several sets of rows."""
    width = max(part.order.shape[1] for part in parts)
    ticks = max(part.choices.shape[1] for part in parts)
    several = max(part.values.shape[2] for part in parts)
    wide = []
    for part in parts:
        part = part.padded(width)
        more = ticks - part.choices.shape[1]
        choices = functional.pad(part.choices, (0, more), value=-1)
        values = functional.pad(part.values, (0, several - part.values.shape[2], 0, more), value=torch.nan)
        wide.append(replace(part, choices=choices, values=values))
    both: dict[str, Any] = {name: torch.cat([getattr(part, name) for part in wide]) for name in _ROWS}
    return replace(wide[0], calls=calls, **both)


def as_logprobs(logprob: Tensor, rank: Tensor, order: Tensor) -> dict[str, list[Any]]:
    """Turn log-probabilities and ranks of a row, both [T], into lists.

    None stands at positions that were never written, and for a token that the model rules out.
    """
    written = ((order >= 0) & logprob[: len(order)].isfinite()).tolist()

    def listed(values: list[Any]) -> list[Any]:
        return [value if own else None for value, own in zip(values, written, strict=False)]

    return {"logprob": listed([round(x, 6) for x in logprob.tolist()]), "rank": listed(rank.tolist())}


def _compared(values: Tensor) -> list[float | None] | None:
    """One step's values, None for an alternative that was not live; None instead of a list if nothing was compared."""
    if values.isnan().any() or int((values > -torch.inf).sum()) < 2:
        return None
    return [None if v == -torch.inf else round(v, 6) for v in values.tolist()]
