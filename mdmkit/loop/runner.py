"""The one place where a decode's forwards are run and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mdmkit.loop.policy import Policy
from mdmkit.model.cache import View
from mdmkit.stage.belief import Belief
from mdmkit.stage.hidden import Hidden

if TYPE_CHECKING:
    from mdmkit.canvas.blocks import Block
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.model.backbone import Backbone
    from mdmkit.model.cache import Cache, Reach
    from mdmkit.settings.draw import Draw, Guidance

# Tokens (rows times columns) that one forward may hold; larger batches of states are split.
FORWARD_TOKENS = 1 << 16


class Runner:
    """Runs a backbone for one decode: every forward and every projection of a decode goes through here.

    The logit policy is applied on projection, so base and lookahead logits get it alike. `rows` [B] and `calls` are the
    NFE counters; `row_tokens` [B] counts the tokens that were computed, padding left out.
    """

    def __init__(
        self,
        backbone: Backbone,
        canvas: Canvas,
        conditioning: Any,
        draws: Draw,
        cache: Cache,
        guidance: Guidance | None = None,
    ):
        self.backbone, self.conditioning, self.cache = backbone, conditioning, cache
        self.valid, self.positions = canvas.valid, canvas.positions
        self.scale = 1.0 if guidance is None else guidance.scale
        self.ramp, self.editable = guidance is not None and guidance.ramp, canvas.editable
        self.prompt, self.mask_id = canvas.valid & ~canvas.editable, canvas.mask_id
        self.rows = torch.zeros(len(canvas.tokens), dtype=torch.long, device=canvas.tokens.device)
        self.row_tokens = self.rows.clone()
        self.calls = 0
        self.policy = Policy(backbone, canvas, draws)
        self._span: slice | None = None

    def enter_block(self, block: Block) -> None:
        """Hear that decoding moved on to a block: what is forwarded from here on covers its columns."""
        self.cache.enter_block(block)
        self._span = block.span if self.cache.keeps else None

    def follow(self, parents: Tensor) -> None:
        """Let frozen columns follow the rows that moved: row b now is what row parents[b], int64 [B], was."""
        if self.scale != 1.0:
            parents = torch.cat((parents, parents + len(self.rows)))
        self.cache.follow(parents)

    def forward(self, tokens: Tensor, rows: Tensor) -> Hidden:
        """Run states int64 [M, T] that belong to canvas rows, int64 [M] on the host; each counts as one row-forward.

        Under guidance each is run once more without its prompt (masked, or left out of the conditioning of a `guided`
        backbone), in the same calls, and counts twice; the hidden states of both stand side by side, [M, L, 2·D], until
        `belief` mixes their logits.
        """
        where = rows.to(tokens.device)
        seen = self.policy.seen(tokens, self.valid[where])
        if self.scale == 1.0:
            values, start = self._run(tokens, rows, where, where)
            return Hidden(values, start, seen)
        without = tokens if self.backbone.guided else tokens.masked_fill(self.prompt[where], self.mask_id)
        # The states without a prompt have frozen columns of their own.
        slots = torch.cat((where, where + len(self.rows)))
        values, start = self._run(torch.cat((tokens, without)), rows.repeat(2), where.repeat(2), slots)
        halves = values.chunk(2)
        if self.ramp:  # the state's own scale stands behind its hidden states
            halves = (*halves, self._scale(tokens, where)[:, None, None].expand(-1, values.shape[1], 1).to(values))
        return Hidden(torch.cat(halves, -1), start, seen)

    def _scale(self, tokens: Tensor, where: Tensor) -> Tensor:
        """How far guidance goes in states int64 [M, T], float [M]."""
        own = self.editable[where]
        filled = (own & (tokens != self.mask_id)).sum(1) / own.sum(1).clamp_min(1)
        return 1 + (self.scale - 1) * filled

    def _run(self, tokens: Tensor, rows: Tensor, where: Tensor, slots: Tensor) -> tuple[Tensor, int]:
        """Forward the columns that the cache asks for: hidden states over their hull, and where that starts."""
        host = rows.tolist()
        groups = self.cache.reaches(host, tokens.shape[1])
        spans = [reach.columns for reach, _ in groups] + ([self._span] if self._span else [])
        start, stop = min(span.start for span in spans), max(span.stop for span in spans)
        out: Tensor | None = None
        for reach, places in groups:
            alike = len(places) == len(host)
            index = slice(None) if alike else torch.tensor(places, device=tokens.device)
            part = self._reach(tokens[index], where[index], slots[index], reach)
            lo, hi = reach.columns.start - start, reach.columns.stop - start
            if alike and hi - lo == stop - start:
                out = part
                break
            if out is None:
                out = part.new_zeros(len(host), stop - start, part.shape[-1])
            out[index, lo:hi] = part
        assert out is not None
        if self.cache.stale:
            self.cache.refreshed(host)
        return out, start

    def _reach(self, tokens: Tensor, where: Tensor, slots: Tensor, reach: Reach) -> Tensor:
        columns = reach.columns
        size = max(1, FORWARD_TOKENS // max(1, columns.stop - columns.start))
        branches = 1 if self.scale == 1.0 else 2
        parts = []
        for chunk, index, slot in zip(tokens.split(size), where.split(size), slots.split(size), strict=True):
            view = None
            if self.cache.keeps:
                view = View(self.cache.store, slot, branches * len(self.rows), tokens.shape[1], reach, self.cache.stale)
            parts.append(
                self.backbone.forward(
                    chunk[:, columns],
                    self.valid[index],
                    self.backbone.select(self.conditioning, slot if self.backbone.guided else index),
                    positions=self.positions[index][:, columns],
                    cache=view,
                )
            )
            self.calls += 1
        self.rows.index_add_(0, where, torch.ones_like(where))
        self.row_tokens.index_add_(0, where, self.valid[where][:, columns].sum(1))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def enter(self, canvas: Canvas, active: Tensor) -> Hidden:
        """Look at the rows that take a step, bool [B], as they are: [B, L, D], zeros for the others."""
        rows = active.nonzero()[:, 0].cpu()
        part = self.forward(canvas.tokens[rows.to(canvas.tokens.device)], rows)
        return part.spread(rows.to(active.device), len(active))

    def belief(self, hidden: Tensor, seen: Tensor | None = None) -> Belief:
        """Project hidden [..., D], mix in guidance, and apply the rest of the logit policy.

        `seen` bool [..., V], or of a shape that broadcasts to it: tokens that the state holds already.
        """
        if self.scale == 1.0:
            logits = self.backbone.project(hidden)
        else:
            scale: Tensor | float = self.scale
            if self.ramp:
                hidden, scale = hidden[..., :-1], hidden[..., -1:]
            guided, free = (self.backbone.project(half) for half in hidden.chunk(2, -1))
            logits = free + scale * (guided - free)
        return Belief(self.policy(logits, seen))
