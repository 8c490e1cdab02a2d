"""The decoding loop. Read this first.

A step proposes next states, looks at them with one batched forward, and moves to one of them; the chosen state's
hidden states are the next step's belief. Greedy decoding is the case of one proposed state per row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mdmkit.blocks import Block, blocks
from mdmkit.cache import CACHES
from mdmkit.canvas import Canvas
from mdmkit.errors import MdmkitError, unknown
from mdmkit.model import Backbone, Hidden, Look, Runner, require_cache
from mdmkit.observe import Observer
from mdmkit.plan import Plan
from mdmkit.stages import Commit, Lookahead, Score, Select, Write
from mdmkit.step import Actions, Draw, Step
from mdmkit.trace import Trace

# Steps per column of a block after which a commit that takes tokens back counts as stuck.
STEPS_PER_COLUMN = 20


@dataclass(frozen=True)
class Sampler:
    """Four stages and their settings, frozen: no registry, no config and no pluggy from here on.

    Build one with `mdmkit.compose`. `config` is the resolved configuration that it came from.
    """

    score: Score
    select: Select
    lookahead: Lookahead | None = None
    commit: Commit = field(default_factory=Write)
    plan: Plan = field(default_factory=Plan)
    draw: Draw = field(default_factory=Draw)
    cache: str = "none"
    seed: int = 0
    name: str = "custom"
    config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.cache not in CACHES:
            raise MdmkitError(unknown("cache", self.cache, CACHES))
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
        require_cache(backbone, self.cache)
        observers = tuple(observers)
        canvas = canvas.to(backbone.device)
        runner = Runner(backbone, canvas, conditioning, self.draw, CACHES[self.cache]())
        trace = Trace.blank(canvas)
        memory: dict[str, Any] = {}
        for observer in observers:
            observer.on_start(self, backbone, canvas)
        for block in blocks(canvas, self.plan):
            runner.cache.enter_block(block.span, canvas.tokens.shape[1])
            canvas = self._fill(runner, canvas, block, trace, memory, observers)
        if any(v is not None and v.isnan().any() for v in trace.values):
            raise MdmkitError(f"lookahead {type(self.lookahead).__name__} gave values that are not numbers (NaN).")
        if canvas.masked.any():
            raise MdmkitError(f"commit {type(self.commit).__name__} took tokens back in a block that was finished.")
        trace.rows, trace.calls = runner.rows, runner.calls
        for observer in observers:
            observer.on_end(canvas, trace)
        return canvas, trace

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
        for _ in range(limit):
            open_ = canvas.masked[:, block.span] & block.member
            if hidden is None:
                if not open_.any():
                    return canvas
                hidden = _enter(runner, canvas, open_)
            belief = runner.belief(hidden.at(block.span))
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
            _check_shape("score", self.score, scores, open_.shape)
            actions = self.select(step, scores)

            states = actions.written(canvas, block.span)
            several = actions.live.sum(1) > 1
            # A lone alternative is looked at for the next step's belief, so only where something stays open.
            onward = (open_[:, None] & ~actions.place).any(-1) & (not rewrites)
            looked = actions.live & (several[:, None] | onward)
            where, compared, busy = self._host_plan(step, scores, actions, looked, several)
            if not busy:
                return canvas
            ahead = runner.forward(states.flatten(0, 1)[where], where // states.shape[1]) if len(where) else None

            values, choice = None, actions.live.long().argmax(1)
            if self.lookahead is not None and ahead is not None and len(compared):
                remaining = (states == canvas.mask_id) & canvas.editable[:, None]
                among = Hidden(ahead.values[compared], ahead.start)
                look = Look(runner, hidden, among, where[compared], remaining, canvas.masked, block.span)
                values = self.lookahead(step, actions, look)
                _check_shape("lookahead", self.lookahead, values, actions.live.shape)
                values = values.masked_fill(~actions.live, -torch.inf)
                choice = torch.where(several, values.argmax(1), choice)
            canvas = self.commit(step, actions, choice)
            trace.record(step, actions, choice, values)
            for observer in observers:
                observer.on_step(step, actions, choice)
            taken = taken + open_.any(1)
            if ahead is None and not rewrites:  # nothing stays open in any row
                return canvas
            hidden = None if rewrites or ahead is None else _chosen(ahead, where, choice, states.shape[1])
        raise MdmkitError(f"commit {type(self.commit).__name__} still leaves positions open after {limit} steps.")

    def _host_plan(
        self, step: Step, scores: Tensor, actions: Actions, looked: Tensor, several: Tensor
    ) -> tuple[Tensor, Tensor, bool]:
        """Fetch in one transfer, the step's only one, what the host must know.

        Returns:
            The states that need a forward, as flat indices into [B·N]; which of those are to be compared; and whether
            any row has something open.
        """
        broken = (step.belief.entropy.isnan() & step.open).any(1)
        open_ = step.open.any(1)
        unscored = (scores.isnan() & step.open).any(1)
        stuck = open_ & ~(actions.live & (actions.place & step.open[:, None]).any(-1)).any(1)
        everything = torch.cat((looked.flatten(), broken, unscored, stuck, several, open_)).cpu()
        flags, host = everything[: looked.numel()], everything[looked.numel() :].view(5, -1)
        for failed, reason in (
            (host[0], "the model's logits are not numbers (NaN)"),
            (host[1], f"score {type(self.score).__name__} gave scores that are not numbers (NaN)"),
            (host[2], f"select {type(self.select).__name__} filled no position"),
        ):
            if failed.any():
                row = int(failed.long().argmax())
                raise MdmkitError(f"{reason} at tick {int(step.tick[row])} in row {row} of the batch.")
        where = flags.nonzero()[:, 0]
        compared = host[3][where // looked.shape[1]].nonzero()[:, 0]
        return where.to(looked.device), compared.to(looked.device), bool(host[4].any())


def _check_shape(kind: str, stage: Any, result: Any, shape: torch.Size) -> None:
    if not isinstance(result, Tensor) or result.shape != shape or not result.is_floating_point():
        got = f"{result.dtype} {list(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
        raise MdmkitError(
            f"{kind} {type(stage).__name__} returned {got}; it must return a float tensor of shape {list(shape)}."
        )


def _enter(runner: Runner, canvas: Canvas, open_: Tensor) -> Hidden:
    """Look at the rows that have something open as they are: [B, L, D], zeros for the others."""
    rows = open_.any(1).nonzero()[:, 0]
    part = runner.forward(canvas.tokens[rows], rows)
    full = part.values.new_zeros(len(open_), *part.values.shape[1:])
    return Hidden(full.index_copy(0, rows, part.values), part.start)


def _chosen(ahead: Hidden, where: Tensor, choice: Tensor, alternatives: int) -> Hidden:
    """Carry the chosen states' hidden on: [B, L, D]. A row that was not looked at is done; its entry is never read."""
    slot = torch.zeros(len(choice) * alternatives, dtype=torch.long, device=where.device)
    slot[where] = torch.arange(len(where), device=where.device)
    index = torch.arange(len(choice), device=where.device) * alternatives + choice
    return Hidden(ahead.values[slot[index]], ahead.start)
