"""The decoding loop. Read this first.

A step proposes next states, looks at them with one batched forward, and moves to one of them; the chosen state's
hidden states are the next step's belief. Greedy decoding is the case of one proposed state per row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from mdmkit.agenda import Agenda, check_shape
from mdmkit.blocks import Block, blocks
from mdmkit.cache import AUTO, CACHES, Cache
from mdmkit.canvas import Canvas
from mdmkit.ending import close, finished
from mdmkit.errors import MdmkitError, unknown
from mdmkit.hidden import Hidden
from mdmkit.look import Look
from mdmkit.model import Backbone, require_cache
from mdmkit.observe import Observer
from mdmkit.plan import Plan
from mdmkit.runner import Runner
from mdmkit.stages import Commit, Lookahead, Score, Select, Write
from mdmkit.step import Draw, Guidance, Step
from mdmkit.trace import Trace

# Steps per column of a block after which a commit that takes tokens back counts as stuck.
STEPS_PER_COLUMN = 20


@dataclass(frozen=True)
class Sampler:
    """Four stages and their settings, frozen: no registry, no config and no pluggy from here on.

    Build one with `mdmkit.compose`. `config` is the resolved configuration that it came from. `cache` names a policy of
    `mdmkit.cache`, or is `auto`: the model's own, which is exact; `refresh_every` is for those that are not.
    """

    score: Score
    select: Select
    lookahead: Lookahead | None = None
    commit: Commit = field(default_factory=Write)
    plan: Plan = field(default_factory=Plan)
    draw: Draw = field(default_factory=Draw)
    guidance: Guidance = field(default_factory=Guidance)
    cache: str = AUTO
    refresh_every: int | None = None
    seed: int = 0
    name: str = "custom"
    config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.cache != AUTO and self.cache not in CACHES:
            raise MdmkitError(unknown("cache", self.cache, [AUTO, *CACHES]))
        if self.refresh_every is not None:
            approximate = [name for name, policy in CACHES.items() if policy.approximate]
            if self.cache not in approximate:
                raise MdmkitError(
                    f"cache.refresh_every={self.refresh_every} is for the caches that wear out "
                    f"({', '.join(approximate)}), and the cache is {self.cache}. Leave it out, or choose one of them."
                )
            if self.refresh_every < 1:
                raise MdmkitError(f"cache.refresh_every={self.refresh_every}: it is a number of steps, at least 1.")
        alternatives = getattr(self.select, "alternatives", 1)
        if alternatives > 1 and self.lookahead is None:
            raise MdmkitError(
                f"select {type(self.select).__name__!r} proposes {alternatives} alternatives but no lookahead chooses "
                "among them: add a lookahead, or have it propose one."
            )

    @torch.inference_mode()
    def run(
        self, backbone: Backbone, canvas: Canvas, conditioning: Any = None, observers: Iterable[Observer] = ()
    ) -> tuple[Canvas, Trace]:
        """Fill every mask of a canvas; return the filled canvas and the trace.

        Raises:
            MdmkitError: the backbone lacks the cache, the logits are not numbers, a select fills nothing in a row, or a
                commit leaves masks.
        """
        observers = tuple(observers)
        canvas = canvas.to(backbone.device)
        runner = Runner(backbone, canvas, conditioning, self.draw, self._policy(backbone), self.guidance)
        trace = Trace.blank(canvas)
        memory: dict[str, Any] = {}
        for observer in observers:
            observer.on_start(self, backbone, canvas)
        done = torch.zeros_like(canvas.infill)
        for number, block in enumerate(blocks(canvas, self.plan)):
            if number and self.plan.early_stop and len(backbone.ends):
                done = finished(canvas, backbone.ends)
                block = block.without(done)
            runner.enter_block(block)
            canvas = self._fill(runner, canvas, block, trace, memory, observers)
        canvas = close(canvas, done, backbone.ends)
        odd = [values.isnan().any() for values in trace.values if values is not None]
        if odd and torch.stack(odd).any():
            raise MdmkitError(f"lookahead {type(self.lookahead).__name__} gave values that are not numbers (NaN).")
        if canvas.masked.any():
            raise MdmkitError(f"commit {type(self.commit).__name__} took tokens back in a block that was finished.")
        trace.rows, trace.row_tokens, trace.calls = runner.rows, runner.row_tokens, runner.calls
        for observer in observers:
            observer.on_end(canvas, trace)
        return canvas, trace

    def _policy(self, backbone: Backbone) -> Cache:
        name = backbone.cache if self.cache == AUTO else self.cache
        require_cache(backbone, name)
        return CACHES[name](backbone.lead, self.refresh_every)

    def _fill(
        self,
        runner: Runner,
        canvas: Canvas,
        block: Block,
        trace: Trace,
        memory: dict[str, Any],
        observers: tuple[Observer, ...],
    ) -> Canvas:
        """Decode one block of every row."""
        rewrites = getattr(self.commit, "rewrites", False)
        taken = torch.zeros_like(trace.ticks)
        hidden: Hidden | None = None
        limit = STEPS_PER_COLUMN * block.member.shape[1] + 100
        recomputed = runner.cache.recomputed(canvas.tokens.shape[1])
        known = None if recomputed is None else recomputed.to(canvas.tokens.device)
        for number in range(1, limit + 1):
            open_ = canvas.masked[:, block.span] & block.member
            if hidden is None:
                if not open_.any():
                    return canvas
                hidden = runner.enter(canvas, open_)
            belief = runner.belief(hidden.at(block.span), None if hidden.seen is None else hidden.seen[:, None])
            quota = block.quota(open_, taken)
            step = Step(
                canvas=canvas,
                span=block.span,
                belief=belief,
                open=open_,
                member=block.member,
                quota=quota,
                tick=trace.ticks,
                plan=self.plan,
                draws=self.draw,
                memory=memory,
            )
            scores = self.score(step)
            check_shape("score", self.score, scores, open_.shape)
            actions = self.select(step, scores)

            renew = rewrites or runner.cache.tired(number)
            agenda = Agenda.fetch(self, step, scores, actions, carry=not renew)
            if not agenda.busy:
                return canvas
            states = actions.written(canvas, block.span)
            ahead = None
            if len(agenda.forward):
                ahead = runner.forward(states.flatten(0, 1)[agenda.forward], agenda.rows)

            values, choice = None, actions.live.long().argmax(1)
            if self.lookahead is not None and ahead is not None and len(agenda.compare):
                remaining, masked = (states == canvas.mask_id) & canvas.editable[:, None], canvas.masked
                if known is not None:
                    remaining, masked = remaining & known[:, None], masked & known
                compared, states_compared = ahead.only(agenda.compare), agenda.forward[agenda.compare]
                look = Look(runner, hidden, compared, states_compared, remaining, masked, block.span)
                values = self.lookahead(step, actions, look)
                check_shape("lookahead", self.lookahead, values, actions.live.shape)
                # Only rivals were looked at: what a lookahead says of a row's lone alternative means nothing.
                several = actions.live.sum(1, keepdim=True) > 1
                values = values.masked_fill(~(actions.live & several), -torch.inf)
                choice = torch.where(several[:, 0], values.argmax(1), choice)
            canvas = self.commit(step, actions, choice)
            trace.record(step, actions, choice, values)
            for observer in observers:
                observer.on_step(step, actions, choice)
            taken = taken + open_.any(1)
            if ahead is None and not renew:  # nothing stays open in any row
                return canvas
            hidden = None if renew or ahead is None else ahead.chosen(agenda.forward, choice, states.shape[1])
            runner.cache.stale = runner.cache.stale or runner.cache.tired(number)
        raise MdmkitError(f"commit {type(self.commit).__name__} still leaves positions open after {limit} steps.")
