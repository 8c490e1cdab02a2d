"""The one place where a decode's forwards are run and counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mdmkit.belief import Belief
from mdmkit.errors import MdmkitError

if TYPE_CHECKING:
    from mdmkit.cache import Cache
    from mdmkit.canvas import Canvas
    from mdmkit.model import Backbone
    from mdmkit.step import Draw, Guidance

# Tokens (rows times columns) that one forward may hold; larger batches of states are split.
FORWARD_TOKENS = 1 << 16


@dataclass
class Hidden:
    """Hidden states [M, L, D] of M next states, and the canvas column at which they start."""

    values: Tensor
    start: int

    def at(self, span: slice) -> Tensor:
        return self.values[:, span.start - self.start : span.stop - self.start]

    def only(self, states: Tensor) -> Hidden:
        """Some of the states, int64 indices into M."""
        return Hidden(self.values[states], self.start)

    def chosen(self, states: Tensor, choice: Tensor, alternatives: int) -> Hidden:
        """Carry each row's chosen state on: [B, L, D].

        `states` int64 [M] are the flat indices into [B·N] that these belong to, `choice` is int64 [B]. A row whose
        choice is not among them is done; its entry is never read.
        """
        slot = torch.zeros(len(choice) * alternatives, dtype=torch.long, device=states.device)
        slot[states] = torch.arange(len(states), device=states.device)
        index = torch.arange(len(choice), device=states.device) * alternatives + choice
        return Hidden(self.values[slot[index]], self.start)


class Runner:
    """Runs a backbone for one decode: every forward and every projection of a decode goes through here.

    The logit policy (guidance, forbidden ids, suppressed ids, penalties) is applied on projection, so base and
    lookahead logits get it alike. `rows` [B] and `calls` are the NFE counters.
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
        self.prompt, self.mask_id = canvas.valid & ~canvas.editable, canvas.mask_id
        self.rows = torch.zeros(len(canvas.tokens), dtype=torch.long, device=canvas.tokens.device)
        self.calls = 0
        penalty = draws.penalty or {}
        for key, ids in (("suppress", draws.suppress), ("penalty", penalty)):
            if strange := [i for i in ids if not 0 <= i < backbone.vocab]:
                raise MdmkitError(
                    f"draw.{key} names token id {strange[0]}, and the model's ids go from 0 to {backbone.vocab - 1}."
                )
        never = sorted({canvas.mask_id, *backbone.forbidden, *draws.suppress})
        if len(never) == backbone.vocab:
            raise MdmkitError("draw.suppress leaves no token that could be chosen. Take some ids off it.")
        bias = torch.zeros(backbone.vocab, device=canvas.tokens.device)
        for token, amount in penalty.items():
            bias[token] -= amount
        bias[never] = -torch.inf
        self.bias = bias

    def forward(self, tokens: Tensor, rows: Tensor) -> Hidden:
        """Run states int64 [M, T] that belong to canvas rows int64 [M]; each counts as one row-forward.

        Under guidance each is run once more with its prompt masked, in the same calls, and counts twice; the hidden
        states of both stand side by side, [M, L, 2·D], until `belief` mixes their logits.
        """
        if self.scale == 1.0:
            return self._run(tokens, rows)
        without = tokens.masked_fill(self.prompt[rows], self.mask_id)
        both = self._run(torch.cat((tokens, without)), torch.cat((rows, rows)))
        return Hidden(torch.cat(both.values.chunk(2), -1), both.start)

    def _run(self, tokens: Tensor, rows: Tensor) -> Hidden:
        columns = self.cache.columns(tokens.shape[1])
        size = max(1, FORWARD_TOKENS // max(1, columns.stop - columns.start))
        parts = []
        for chunk, index in zip(tokens.split(size), rows.split(size), strict=True):
            parts.append(
                self.backbone.forward(
                    chunk[:, columns],
                    self.valid[index],
                    self.backbone.select(self.conditioning, index),
                    positions=self.positions[index][:, columns],
                    cache=self.cache.view(index),
                )
            )
            self.calls += 1
        self.rows.index_add_(0, rows, torch.ones_like(rows))
        return Hidden(parts[0] if len(parts) == 1 else torch.cat(parts), columns.start)

    def enter(self, canvas: Canvas, open_: Tensor) -> Hidden:
        """Look at the rows that have something open, bool [B, W], as they are: [B, L, D], zeros for the others."""
        rows = open_.any(1).nonzero()[:, 0]
        part = self.forward(canvas.tokens[rows], rows)
        full = part.values.new_zeros(len(open_), *part.values.shape[1:])
        return Hidden(full.index_copy(0, rows, part.values), part.start)

    def belief(self, hidden: Tensor) -> Belief:
        """Project hidden [..., D], mix in guidance, and apply the rest of the logit policy."""
        if self.scale == 1.0:
            logits = self.backbone.project(hidden)
        else:
            guided, free = (self.backbone.project(half) for half in hidden.chunk(2, -1))
            logits = free + self.scale * (guided - free)
        return Belief(logits + self.bias.to(logits.dtype))
