"""Moments of a decode to put a stage into: ragged rows, some idle, with traps where stages usually go wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mdmkit.canvas.canvas import Canvas
from mdmkit.loop.runner import Runner
from mdmkit.model.cache import Cache
from mdmkit.settings.draw import Draw
from mdmkit.settings.plan import Plan
from mdmkit.stage.actions import Actions
from mdmkit.stage.belief import Belief
from mdmkit.stage.hidden import Hidden
from mdmkit.stage.look import Look
from mdmkit.stage.step import Step
from mdmkit.testing.reference import Spread
from mdmkit.testing.toy import PAD, ToyBackbone


@dataclass(frozen=True)
class Moment:
    """B rows of T columns in the middle of a decode, in row coordinates: `step(span)` cuts a window out.

    Attributes:
        open: bool [B, T]; masked positions of each row's active block.
        member: bool [B, T]; the columns of each row's active block.
        scores: float [B, T]; random, highest where nothing may be filled.
        logits: float [B, T, V]; after the logit policy.
    """

    backbone: ToyBackbone
    canvas: Canvas
    open: Tensor
    member: Tensor
    quota: Tensor
    tick: Tensor
    scores: Tensor
    logits: Tensor
    draws: Draw

    @property
    def hull(self) -> slice:
        """The smallest window that holds the block of every row with something open, as the loop's does."""
        columns = (self.member & self.open.any(1, keepdim=True)).any(0).nonzero()[:, 0].tolist()
        return slice(columns[0], columns[-1] + 1)

    @property
    def busy(self) -> list[int]:
        """Rows with something open."""
        return self.open.any(1).nonzero()[:, 0].tolist()

    def step(self, span: slice | None = None) -> Step:
        span = span or self.hull
        return Step(
            canvas=self.canvas,
            span=span,
            belief=Belief(self.logits[:, span].clone()),
            open=self.open[:, span].clone(),
            member=self.member[:, span].clone(),
            quota=self.quota,
            active=self.open.any(1),
            tick=self.tick,
            plan=Plan(length=self.open.shape[1]),
            draws=self.draws,
            memory={},
        )

    def actions(self, span: slice | None = None) -> Actions:
        """Up to four alternatives per row."""
        return Spread(4)(self.step(span), self.scores[:, span or self.hull])

    def choice(self, span: slice | None = None) -> Tensor:
        """An alternative per row, int64 [B]: the last live one."""
        live = self.actions(span).live
        return (live * torch.arange(live.shape[1])).argmax(1)

    def runner(self) -> Runner:
        return Runner(self.backbone, self.canvas, None, self.draws, Cache())

    def look(self, span: slice | None = None) -> Look:
        """Look at every live alternative of `actions(span)`."""
        actions, runner = self.actions(span), self.runner()
        states = actions.written(self.canvas, span or self.hull)
        where = actions.live.flatten().nonzero()[:, 0]
        now = runner.forward(self.canvas.tokens, torch.arange(len(self.open)))
        ahead = runner.forward(states.flatten(0, 1)[where], where // states.shape[1])
        remaining = (states == self.canvas.mask_id) & self.canvas.editable[:, None]
        masked, vocab = self.canvas.masked, self.backbone.vocab
        return Look(runner.belief, vocab, now, ahead, where, remaining, masked, span or self.hull)

    def rows(self, index: list[int]) -> Moment:
        """The same moment with these rows only, in this order."""
        own = {name: getattr(self, name)[index] for name in ("open", "member", "quota", "tick", "scores", "logits")}
        parts = {name: getattr(self.canvas, name)[index] for name in ("tokens", "editable", "valid", "seed", "infill")}
        return replace(self, canvas=replace(self.canvas, **parts), **own)

    def padded(self, columns: int) -> Moment:
        """The same moment with more padding on the left, as if beside a longer row."""

        def left(x: Tensor, value: Any) -> Tensor:
            return functional.pad(x, (columns, 0), value=value)

        canvas = replace(
            self.canvas,
            tokens=left(self.canvas.tokens, PAD),
            editable=left(self.canvas.editable, False),
            valid=left(self.canvas.valid, False),
        )
        logits = functional.pad(self.logits, (0, 0, columns, 0))
        return replace(
            self,
            canvas=canvas,
            open=left(self.open, False),
            member=left(self.member, False),
            scores=left(self.scores, 1e4),
            logits=logits,
        )


def make_moment(
    seed: int = 0, *, rows: int = 7, temperature: float = 0.0, top_p: float | None = None, vocab: int = 13
) -> Moment:
    """Draw a moment: random prompts, padding, given context, blocks, quotas and ticks.

    Two rows are idle (row 1 has no masks left, row 2 only masks outside its block); every row's prompt holds the mask
    id on purpose; masks outside the block, and positions already filled, score highest.
    """
    backbone = ToyBackbone(vocab=vocab, dtype=torch.float64)
    g = torch.Generator().manual_seed(seed)
    width, mask = 22, backbone.mask_id
    columns = torch.arange(width).expand(rows, -1)
    padding = torch.randint(0, 5, (rows, 1), generator=g)
    padding[0] = 0
    valid = columns >= padding
    tokens = torch.randint(1, mask, (rows, width), generator=g)
    editable = (columns >= 8) & (torch.rand(rows, width, generator=g) < 0.9)
    start = 9 + torch.arange(rows)[:, None] % 3
    block = (columns >= start) & (columns < start + 7)
    masked = editable & (torch.rand(rows, width, generator=g) < 0.7)
    masked |= editable & (columns == editable.logical_and(block).long().argmax(1, keepdim=True))
    masked[1:2] = False
    masked[2:3] &= ~block[2:3]
    tokens = torch.where(masked, mask, tokens).masked_fill(columns == 7, mask).masked_fill(~valid, PAD)
    open_ = masked & block
    count = open_.sum(1)
    quota = 1 + (torch.rand(rows, generator=g) * (count - 1).clamp_min(0)).long()
    canvas = Canvas(
        tokens=tokens,
        editable=editable,
        valid=valid,
        seed=torch.randint(0, 1 << 48, (rows,), generator=g),
        infill=torch.rand(rows, generator=g) < 0.5,
        mask_id=mask,
    )
    draws = Draw(temperature=temperature, top_p=top_p)
    runner = Runner(backbone, canvas, None, draws, Cache())
    hidden: Hidden = runner.forward(tokens, torch.arange(rows))
    scores = torch.randn(rows, width, generator=g).masked_fill(~open_, 1e4)
    tick = torch.arange(rows) + torch.randint(0, 20, (1,), generator=g)
    logits = runner.belief(hidden.values).logits.float()
    logits = logits.masked_fill(~valid[..., None], torch.nan)  # nothing may be read off padding
    return Moment(backbone, canvas, open_, block, torch.where(count > 0, quota, 0), tick, scores, logits, draws)


def make_step(seed: int = 0, **options: Any) -> Step:
    """Draw a step of a decode for stage tests; the options are those of `make_moment`."""
    return make_moment(seed, **options).step()
