"""Facts of steps that are not in the trace yet.

What a step wrote is read only when a row leaves. So a step keeps a few tensors, and what the trace says is computed for
several steps at once: for a small model, and on a GPU, the number of operations is what costs time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mdmkit.canvas.trace import Written

if TYPE_CHECKING:
    from mdmkit.canvas.trace import Trace
    from mdmkit.canvas.window import Window
    from mdmkit.stage.step import Step

# Steps that are kept at most.
MOST = 16


@dataclass(frozen=True)
class _Fact:
    """One step: open positions before and after, the action's place, and the belief there, all [B, W].

    `logit` is that of the token that stands there now, `rank` its rank if rows say it, `ticks` int64 [B] the steps that
    the rows had made. `changed`: the positions with another token than before, for a commit that may change filled
    ones.
    """

    was_open: Tensor
    is_open: Tensor
    place: Tensor
    logit: Tensor
    lse: Tensor
    entropy: Tensor
    ticks: Tensor
    changed: Tensor | None
    rank: Tensor | None


class Ledger:
    """The facts of the last steps, all of the same rows in the same windows.

    Args:
        says: True if rows say the log-probability and the rank of each token.
    """

    def __init__(self, says: bool = False) -> None:
        self.facts: list[_Fact] = []
        self.rows: Tensor | None = None
        self.where: Window | None = None
        self._says = says

    def note(self, trace: Trace, rows: Tensor | None, step: Step, place: Tensor, after: Step, rewrites: bool) -> None:
        """Keep the facts of a step.

        Args:
            trace: gets the facts that were kept before, if they are of other rows or windows, or too many.
            rows: int64 [B]; the rows of the step; None: all rows.
            step: the step.
            place: bool [B, W]; positions that the action filled.
            after: the step with the canvas after the commit.
            rewrites: True if the commit may change filled positions.
        """
        if len(self.facts) >= MOST or self.rows is not rows or self.where is not step.where:
            self.close(trace)
        self.rows, self.where = rows, step.where
        now, stats = step.window(after.canvas.tokens), step.belief.stats
        written = now.clamp(0, step.belief.vocab - 1)
        fact = _Fact(
            was_open=step.open,
            is_open=after.unfilled,
            place=place.clone(),  # a select may use its tensor again
            logit=step.belief.logit_read(written),
            lse=stats.lse,
            entropy=stats.entropy,
            ticks=trace.ticks if rows is None else trace.ticks[rows],
            changed=now != step.window(step.canvas.tokens) if rewrites else None,
            rank=step.belief.rank_read(written) if self._says else None,
        )
        self.facts.append(fact)

    @torch.inference_mode()
    def close(self, trace: Trace) -> None:
        """Write into the trace what was kept."""
        if not self.facts or self.where is None:
            return
        facts, self.facts = self.facts, []
        names = [name for name in _Fact.__dataclass_fields__ if getattr(facts[0], name) is not None]
        each = {name: torch.stack([getattr(fact, name) for fact in facts]) for name in names}
        open_ = each["was_open"]
        changed = each["changed"] | open_ if "changed" in each else open_
        logp = each["logit"].to(each["lse"].dtype) - each["lse"]
        trace.write(
            self.rows,
            self.where,
            Written(
                written=changed & ~each["is_open"] & self.where.member,
                confidence=logp.exp(),
                entropy=each["entropy"],
                cost=torch.where(each["place"], each["entropy"].double(), 0.0).sum(2),
                ticks=each["ticks"],
                logprob=logp if "rank" in each else None,
                rank=each.get("rank"),
            ),
        )
