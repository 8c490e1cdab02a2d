"""Moments of a decode to test a stage in: ragged rows, each with its own window, some idle. Columns that a stage must
not read hold values that would change its result."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mdmkit.canvas.canvas import Canvas
from mdmkit.canvas.window import Window
from mdmkit.loop.beliefs import Beliefs
from mdmkit.loop.runner import Asked, Runner
from mdmkit.model.cache import Cache
from mdmkit.settings.draw import Draw, Guidance
from mdmkit.settings.plan import Plan
from mdmkit.stage.actions import Actions
from mdmkit.stage.belief import Belief
from mdmkit.stage.hidden import Hidden
from mdmkit.stage.look import Look, States
from mdmkit.stage.memory import Memory, Recall
from mdmkit.stage.step import Step
from mdmkit.testing.reference import Spread
from mdmkit.testing.toy import PAD, ToyBackbone

_ROWS = ("open", "quota", "tick", "taken", "scores", "logits", "patience")


class Counted(Look):
    """A look that knows its runner, so that a test can see whether the model was run."""

    runner: Runner


@dataclass(frozen=True)
class Moment:
    """B rows of T columns in the middle of a decode: the data of `step`, `actions` and `look`.

    Attributes:
        spans: B; the columns [start, stop) of each row's block.
        open: bool [B, T]; open positions of each row's block.
        quota, tick, taken: int64 [B].
        scores: float [B, T]; random, highest at positions that may not be filled.
        logits: float [B, T, V]; after the logit policy; NaN outside the row.
        patience: int64 [B]; steps that a full block may still take; 0 except after `lingering`.
        ids: B.
        spare: columns that each window has in addition to the longest block, as beside a row with a longer block.
        open_only: True: the belief is flat at positions that are not open, as in a decode that reads only open ones.
        memory: the memory of the loop; None: the rows have just joined.
        among: int64 [B]; the rows' indices in the memory; None: the memory has these rows only.
        extra: extras of the model by name: [B, T, …]; of the kind `key`: [B, T, …, T].
    """

    backbone: ToyBackbone
    canvas: Canvas
    spans: tuple[tuple[int, int], ...]
    open: Tensor
    quota: Tensor
    tick: Tensor
    taken: Tensor
    scores: Tensor
    logits: Tensor
    patience: Tensor
    draws: Draw
    ids: tuple[int, ...]
    spare: int = 0
    open_only: bool = False
    memory: Memory | None = None
    among: Tensor | None = None
    extra: dict[str, Tensor] | None = None

    @property
    def where(self) -> Window:
        """Each row's window."""
        own = _window(self.spans, self.spare, self.open.device)
        return Window(own.start.clone(), own.member.clone(), own.same)

    @property
    def busy(self) -> list[int]:
        """Rows with something open."""
        return self.open.any(1).nonzero()[:, 0].tolist()

    @property
    def columns(self) -> int:
        """T."""
        return self.open.shape[1]

    # -- what a stage is called with ---------------------------------------------------------------------------------

    def step(self) -> Step:
        where, memory = self.where, self.memory or Memory(rows=len(self.ids))
        open_ = where(self.open) & where.member
        return Step(
            canvas=self.canvas,
            where=where,
            belief=self._belief(where, open_),
            open=open_,
            quota=self.quota,
            active=self.open.any(1) | (self.patience > 0),
            tick=self.tick,
            taken=self.taken,
            plan=Plan(length=22),
            draws=self.draws,
            memory_view=Recall(memory, self.among, where, self.columns),
            ids=self.ids,
            extra=None if self.extra is None else {name: where(x) for name, x in self.extra.items()},
            patience=self.patience if bool((self.patience > 0).any()) else None,
            shadows=lambda: Belief(0.7 * where(self.logits)),
            answer=Window.of(self.canvas.answers, self.open.device),
        )

    def _belief(self, where: Window, open_: Tensor) -> Belief:
        logits = where(self.logits).clone()
        if not self.open_only:
            return Belief(logits)
        places = open_.flatten().nonzero()[:, 0]
        return Belief.at_open(logits.flatten(0, 1)[places], open_, places)

    def actions(self) -> Actions:
        """Up to four alternatives per row."""
        return Spread(4)(self.step(), self.where(self.scores))

    def choice(self) -> Tensor:
        """One alternative per row, int64 [B]: the last live one."""
        live = self.actions().live
        return (live * torch.arange(live.shape[1], device=live.device)).argmax(1)

    def runner(self) -> Runner:
        rows = len(self.ids)
        runner = Runner(Beliefs(self.backbone, self.draws, Guidance()), Cache(), rows)
        runner.join(None, range(rows), 1)
        return runner

    def look(self) -> Look:
        """Look at every live alternative of `actions()`; `look.again` may be asked for other states."""
        actions, runner = self.actions(), self.runner()
        tokens, open_ = (x.flatten(0, 1) for x in self.step().states(actions))
        where = actions.live.flatten().nonzero()[:, 0]
        shape = (actions.live.shape[0], actions.live.shape[1])
        rows = torch.arange(shape[0], device=tokens.device)
        now = self._forward(runner, self.canvas.tokens, self.canvas.open, rows)
        ahead = self._forward(runner, tokens[where], open_[where], where // shape[1])
        return self._look(runner, now, ahead, where, shape)

    def _look(
        self,
        runner: Runner,
        now: tuple[Hidden, States],
        ahead: tuple[Hidden, States],
        where: Tensor,
        shape: tuple[int, int],
    ) -> Look:
        def again(tokens: Tensor, open_: Tensor) -> Look:
            flat = torch.arange(tokens.shape[0] * tokens.shape[1], device=tokens.device)
            states = tokens.flatten(0, 1), open_.flatten(0, 1)
            calls = runner.calls
            seen = self._forward(runner, *states, flat // tokens.shape[1])
            runner.calls = calls  # do not count it: only forwards that do not go through the look are forbidden
            return self._look(runner, now, seen, flat, (tokens.shape[0], tokens.shape[1]))

        reach = Window.of([(0, length) for length in self.canvas.lengths.tolist()], self.open.device)
        look = Counted(runner.beliefs, now, ahead, where, shape, self.where, reach, again)
        look.runner = runner
        return look

    def _forward(self, runner: Runner, tokens: Tensor, open_: Tensor, rows: Tensor) -> tuple[Hidden, States]:
        lengths, owners = self.canvas.lengths.tolist(), rows.tolist()
        reaches = [Cache().step(0, 0, lengths[row]) for row in owners]
        states = States(tokens, open_, rows)
        asked = Asked(states, owners, reaches, [(0, reach.stop) for reach in reaches], self.tick[rows] + 1)
        return runner.forward(asked, self.canvas, 1), states

    # -- the same moment in another place ----------------------------------------------------------------------------

    def to(self, device: torch.device) -> Moment:
        """The same moment on a device; of a moment without memory."""
        own: dict[str, Any] = {name: getattr(self, name).to(device) for name in _ROWS}
        extra = None if self.extra is None else {name: x.to(device) for name, x in self.extra.items()}
        return replace(self, canvas=self.canvas.to(device), extra=extra, **own)

    def rows(self, index: list[int]) -> Moment:
        """The same moment with only these rows, in this order."""
        own: dict[str, Any] = {name: getattr(self, name)[index] for name in _ROWS}
        extra = None if self.extra is None else {name: x[index] for name, x in self.extra.items()}
        ids, spans = tuple(self.ids[row] for row in index), tuple(self.spans[row] for row in index)
        return replace(self, canvas=self.canvas.at(index), ids=ids, spans=spans, extra=extra, **own)

    def padded(self, columns: int) -> Moment:
        """The same moment with more columns on the right, as if a longer row were beside it."""

        def right(x: Tensor, value: Any) -> Tensor:
            return functional.pad(x, (*[0] * (2 * (x.dim() - 2)), 0, columns), value=value)

        def wider(name: str, x: Tensor) -> Tensor:
            fill = torch.nan if x.is_floating_point() else 0
            keys = columns if self.backbone.offers.get(name) == "key" else 0
            return functional.pad(right(x, fill), (0, keys), value=fill)

        return replace(
            self,
            canvas=self.canvas.padded(self.columns + columns),
            open=right(self.open, False),
            scores=right(self.scores, 1e4),
            logits=right(self.logits, torch.nan),
            extra=None if self.extra is None else {name: wider(name, x) for name, x in self.extra.items()},
        )

    def wider(self, columns: int) -> Moment:
        """The same moment with wider windows, as if a row with a longer block were beside it."""
        return replace(self, spare=self.spare + columns)

    def lingering(self, steps: int) -> Moment:
        """The same moment under a commit that lingers: full blocks may take `steps` more steps, except in row 2."""
        patience = torch.tensor([0 if id_ == 2 else steps for id_ in self.ids], device=self.open.device)
        return replace(self, patience=patience)

    def later(self, steps: int = 1) -> Moment:
        """The same rows some steps later, with other logits."""
        v, column = (torch.arange(count, device=self.logits.device) for count in (self.logits.shape[2], self.columns))
        change = (7.0 * column[:, None] + 3.0 * v + steps).sin()
        return replace(self, logits=self.logits + change, tick=self.tick + steps, taken=self.taken + steps)

    def remembering(self, memory: Memory, among: Tensor | None = None) -> Moment:
        """The same moment with a memory; its rows are these rows, or these are its rows `among`, int64 [B]."""
        return replace(self, memory=memory, among=among)


@functools.lru_cache(maxsize=64)
def _window(spans: tuple[tuple[int, int], ...], spare: int, device: torch.device) -> Window:
    """Each row's window, for `Moment.where`, who copies it: a stage may write into what it gets."""
    own = Window.of(spans, device)
    return Window(own.start, functional.pad(own.member, (0, spare)), own.same)


def make_moment(
    seed: int = 0, *, rows: int = 7, temperature: float = 0.0, top_p: float | None = None, vocab: int = 13
) -> Moment:
    """Draw a moment: random prompts, padding, prompt tokens inside blocks, blocks, quotas and ticks.

    Rows have blocks with different first columns, unless `seed` is 2 modulo 3. Every third row has a shorter block. Two
    rows are idle: row 1 has nothing open, row 2 nothing in its block. Every row's prompt, and prompt tokens inside some
    blocks, have the mask's id as an ordinary token. Positions outside the block, and filled ones, have the highest
    scores.
    """
    backbone = ToyBackbone(vocab=vocab, dtype=torch.float64)
    g = torch.Generator().manual_seed(seed)
    length, mask = 22, backbone.mask_id or 0
    columns = torch.arange(length).expand(rows, -1)
    missing = torch.randint(0, 5, (rows, 1), generator=g)
    missing[0] = 0
    valid = columns < length - missing
    tokens = torch.randint(1, mask, (rows, length), generator=g)
    editable = (columns >= 8) & (torch.rand(rows, length, generator=g) < 0.9) & valid
    starts = [9 + (row % 3 if seed % 3 != 2 else 0) for row in range(rows)]
    spans = tuple((start, start + (5 if row % 3 == 0 and row else 7)) for row, start in enumerate(starts))
    start, stop = (torch.tensor([span[i] for span in spans])[:, None] for i in (0, 1))
    block = (columns >= start) & (columns < stop)
    open_ = editable & (torch.rand(rows, length, generator=g) < 0.7)
    open_ |= editable & (columns == editable.logical_and(block).long().argmax(1, keepdim=True))
    open_[1:2] = False
    open_[2:3] &= ~block[2:3]
    data = (columns == 7) | (block & ~editable & (columns % 2 == 0))
    tokens = torch.where(open_ | data, mask, tokens).masked_fill(~valid, PAD)
    now = open_ & block
    count = now.sum(1)
    quota = 1 + (torch.rand(rows, generator=g) * (count - 1).clamp_min(0)).long()
    canvas = Canvas(
        tokens=tokens,
        open=open_,
        editable=editable,
        valid=valid,
        seed=torch.randint(0, 1 << 48, (rows,), generator=g),
        infill=torch.rand(rows, generator=g) < 0.5,
        surplus=torch.zeros_like(open_),
        mask_id=mask,
    )
    scores = torch.randn(rows, length, generator=g).masked_fill(~now, 1e4)
    tick = torch.arange(rows) + torch.randint(0, 20, (1,), generator=g)
    # Drawn on the host, so that every device has the same moment.
    on_host = Moment(
        backbone=backbone,
        canvas=canvas,
        spans=spans,
        open=now,
        quota=torch.where(count > 0, quota, 0),
        tick=tick,
        taken=torch.randint(0, 4, (rows,), generator=g).minimum(tick),
        scores=scores,
        logits=torch.zeros(rows, length, vocab),
        patience=torch.zeros(rows, dtype=torch.long),
        draws=Draw(temperature=temperature, top_p=top_p),
        ids=tuple(range(rows)),
        extra={"attention": _attention(g, valid)},
    )
    moment = on_host.to(backbone.device)
    canvas, runner, each = moment.canvas, moment.runner(), torch.arange(rows, device=backbone.device)
    hidden, states = moment._forward(runner, canvas.tokens, canvas.open, each)
    logits = runner.beliefs(hidden.values, hidden.held, states, columns.to(each.device)).logits.float()
    # NaN outside the row: it must not be read. Add the width of a window, as the loop does, so that no window is cut.
    return replace(moment, logits=logits.masked_fill(~canvas.valid[..., None], torch.nan)).padded(9)


def _attention(g: torch.Generator, valid: Tensor) -> Tensor:
    """Random attention [B, T, T] to the columns of the row, few of which get much."""
    scores = 3 * torch.randn(*valid.shape, valid.shape[1], generator=g)
    return scores.masked_fill(~valid[:, None], -torch.inf).softmax(-1)


def make_step(seed: int = 0, **options: Any) -> Step:
    """Draw a step of a decode for stage tests; the options are those of `make_moment`."""
    return make_moment(seed, **options).step()
