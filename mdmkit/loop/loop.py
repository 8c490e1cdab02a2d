"""The decoding loop. Read this first.

A step proposes next states, looks at them with one batched forward, and moves to one of them; the chosen state's
hidden states are the next step's belief. Greedy decoding is the case of one proposed state per row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mdmkit.canvas.blocks import Block, blocks
from mdmkit.canvas.trace import Trace, Written
from mdmkit.errors import MdmkitError
from mdmkit.loop.agenda import Agenda, check_shape
from mdmkit.loop.ending import close, finished
from mdmkit.loop.runner import Runner
from mdmkit.model.backbone import Backbone, require_cache
from mdmkit.model.cache import AUTO, CACHES
from mdmkit.stage.actions import Actions
from mdmkit.stage.look import Look
from mdmkit.stage.step import Step

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.loop.observe import Observer
    from mdmkit.loop.sampler import Sampler
    from mdmkit.stage.hidden import Hidden
    from mdmkit.stage.search import Search

# Steps per column of a block after which a commit that takes tokens back counts as stuck.
STEPS_PER_COLUMN = 20


class Loop:
    """One decode: the canvas as it stands, and what is known about how it came to be.

    Attributes:
        canvas: the rows; with a search, every particle is one.
        trace: what happened to them.
        memory: what stages keep from step to step. Tensors in it whose first dimension is the rows follow their rows.
    """

    def __init__(
        self, sampler: Sampler, backbone: Backbone, canvas: Canvas, conditioning: Any, observers: Iterable[Observer]
    ):
        name = backbone.cache if sampler.cache == AUTO else sampler.cache
        require_cache(backbone, name)
        cache = CACHES[name](backbone.lead, sampler.refresh_every)
        self.sampler, self.backbone, self.canvas, self.observers = sampler, backbone, canvas, tuple(observers)
        self.runner = Runner(backbone, canvas, conditioning, sampler.draw, cache, sampler.guidance)
        self.trace = Trace.blank(canvas)
        self.memory: dict[str, Any] = {}
        for stage in (sampler.score, sampler.select, sampler.lookahead, sampler.commit, sampler.search):
            # What only this model can tell: a table of another tokenizer, say.
            if callable(fits := getattr(stage, "fits", None)):
                fits(backbone)
        self._rewrites = getattr(sampler.commit, "rewrites", False)
        self._lingers = getattr(sampler.commit, "lingers", 0)

    def run(self) -> tuple[Canvas, Trace]:
        """Fill block after block.

        Raises:
            MdmkitError: the logits are not numbers, a select fills nothing in a row, or a commit leaves masks.
        """
        sampler, ends = self.sampler, self.backbone.ends
        done = torch.zeros_like(self.canvas.infill)
        for number, block in enumerate(blocks(self.canvas, sampler.plan)):
            if number and sampler.plan.early_stop and len(ends):
                done = finished(self.canvas, ends)
                block = block.without(done)
            self.runner.enter_block(block)
            self._fill(block)
        self.canvas = close(self.canvas, done, ends)
        odd = [values.isnan().any() for values in self.trace.values if values is not None]
        if odd and torch.stack(odd).any():
            raise MdmkitError(f"lookahead {type(sampler.lookahead).__name__} gave values that are not numbers (NaN).")
        if self.canvas.masked.any():
            raise MdmkitError(f"commit {type(sampler.commit).__name__} took tokens back in a block that was finished.")
        runner, trace = self.runner, self.trace
        trace.rows, trace.row_tokens, trace.calls = runner.rows, runner.row_tokens, runner.calls
        return self.canvas, trace

    def _fill(self, block: Block) -> None:
        """Decode one block of every row."""
        sampler, runner, cache = self.sampler, self.runner, self.runner.cache
        taken = torch.zeros_like(self.trace.ticks)
        hidden: Hidden | None = None
        limit = STEPS_PER_COLUMN * block.member.shape[1] + 100
        recomputed = cache.recomputed(self.canvas.tokens.shape[1])
        known = None if recomputed is None else recomputed.to(self.canvas.tokens.device)
        # Rows whose block is full, as long as the commit still changes something in them.
        patience = torch.full_like(taken, self._lingers)
        for number in range(1, limit + 1):
            open_ = self.canvas.masked[:, block.span] & block.member
            active = open_.any(1) | (block.member.any(1) & (patience > 0))
            if hidden is None:
                if not active.any():
                    return
                hidden = runner.enter(self.canvas, active)
            step = self._step(block, open_, active, hidden, taken)
            scores = sampler.score(step)
            check_shape("score", sampler.score, scores, open_.shape)
            proposed = sampler.select(step, scores)
            prune = getattr(sampler.search, "prune", None)
            actions = proposed if prune is None else prune(step, proposed)

            renew = self._rewrites or cache.tired(number)
            carry = not renew or getattr(sampler.search, "looks", False)
            agenda = Agenda.fetch(sampler, step, scores, proposed, actions, carry)
            if not agenda.busy:
                return
            states = actions.written(self.canvas, block.span)
            ahead = None
            if len(agenda.forward):
                ahead = runner.forward(states.flatten(0, 1)[agenda.forward], agenda.rows)

            values, choice = None, actions.live.long().argmax(1)
            look = self._look(agenda, states, hidden, ahead, known, block)
            if sampler.lookahead is not None and look is not None and len(agenda.compare):
                values, choice = self._compare(step, actions, look, choice)
            at = choice
            if sampler.search is not None:
                before = dict(self.memory)
                parents, choice = self._move(sampler.search, step, actions, values, choice, look)
                at = choice + (parents - torch.arange(len(parents), device=parents.device)) * states.shape[1]
                step, actions = step.at(parents), actions.at(parents)
                taken, patience = taken[parents], patience[parents]
                values = None if values is None else values[parents]
                self._follow(parents, before)
            self.canvas = sampler.commit(step, actions, choice)
            self.trace.record(block.span, step.active, _written(step, actions, choice, self.canvas), choice, values)
            for observer in self.observers:
                observer.on_step(step, actions, choice)
            taken = taken + step.active
            if self._lingers:
                full, changed = ~step.open.any(1), (self.canvas.tokens != step.canvas.tokens).any(1)
                patience = torch.where(full, torch.where(changed, patience - 1, 0), patience)
            if ahead is None and not renew:  # nothing stays open in any row
                return
            hidden = None if renew or ahead is None else ahead.chosen(agenda.forward, at, states.shape[1])
            cache.stale = cache.stale or cache.tired(number)
        raise MdmkitError(f"commit {type(sampler.commit).__name__} still leaves positions open after {limit} steps.")

    def _step(self, block: Block, open_: Tensor, active: Tensor, hidden: Hidden, taken: Tensor) -> Step:
        seen = None if hidden.seen is None else hidden.seen[:, None]
        return Step(
            canvas=self.canvas,
            span=block.span,
            belief=self.runner.belief(hidden.at(block.span), seen),
            open=open_,
            member=block.member,
            quota=block.quota(open_, taken),
            active=active,
            tick=self.trace.ticks,
            plan=self.sampler.plan,
            draws=self.sampler.draw,
            memory=self.memory,
        )

    def _look(
        self, agenda: Agenda, states: Tensor, now: Hidden, ahead: Hidden | None, known: Tensor | None, block: Block
    ) -> Look | None:
        """What can be seen of the states that were forwarded: of rivals only, but for a search."""
        if ahead is None or not (self.sampler.search is not None or len(agenda.compare)):
            return None
        remaining, masked = (states == self.canvas.mask_id) & self.canvas.editable[:, None], self.canvas.masked
        if known is not None:
            remaining, masked = remaining & known[:, None], masked & known
        where = agenda.forward
        if self.sampler.search is None:
            ahead, where = ahead.only(agenda.compare), where[agenda.compare]
        return Look(self.runner.belief, self.backbone.vocab, now, ahead, where, remaining, masked, block.span)

    def _compare(self, step: Step, actions: Actions, look: Look, choice: Tensor) -> tuple[Tensor, Tensor]:
        lookahead = self.sampler.lookahead
        assert lookahead is not None
        values = lookahead(step, actions, look)
        check_shape("lookahead", lookahead, values, actions.live.shape)
        # Only rivals were looked at: what a lookahead says of a row's lone alternative means nothing.
        several = actions.live.sum(1, keepdim=True) > 1
        values = values.masked_fill(~(actions.live & several), -torch.inf)
        return values, torch.where(several[:, 0], values.argmax(1), choice)

    def _move(
        self, search: Search, step: Step, actions: Actions, values: Tensor | None, choice: Tensor, look: Look | None
    ) -> tuple[Tensor, Tensor]:
        parents, moved = search.move(step, actions, values, choice, look)
        # The particles of a row that is done rest, however long its neighbours take.
        busy = step.active.view(-1, search.particles).any(1).repeat_interleave(search.particles)
        rows = torch.arange(len(choice), device=choice.device)
        return torch.where(busy, parents, rows), torch.where(busy, moved, choice)

    def _follow(self, parents: Tensor, before: dict[str, Any]) -> None:
        """Let what is kept per row, `before` the move, follow the particles to their new places."""
        self.trace.follow(parents)
        self.runner.follow(parents)
        for key, value in before.items():
            moves = isinstance(value, Tensor) and value.dim() and len(value) == len(parents)
            if moves and key in self.memory and self.memory[key] is value:
                self.memory[key] = value[parents]


def _written(step: Step, actions: Actions, choice: Tensor, after: Canvas) -> Written:
    tokens, before = after.tokens[:, step.span], step.canvas.tokens[:, step.span]
    return Written(
        place=actions.take(choice)[0],
        written=(tokens != before) & (tokens != after.mask_id),
        confidence=step.belief.logp_of(tokens[..., None])[..., 0].exp(),
        entropy=step.belief.entropy,
    )
