"""The only place where forwards are run and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from mdmkit import noise, ops
from mdmkit.loop.asking import Asking, checked
from mdmkit.loop.calls import Call, share_out
from mdmkit.loop.part import Part, gathered, part_of
from mdmkit.model.cache import Cache, Reach, View
from mdmkit.model.shadow import SHADOWS, Shadow
from mdmkit.stage.hidden import Hidden
from mdmkit.stage.look import States

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.loop.beliefs import Beliefs
    from mdmkit.loop.previous import Previous


@dataclass(frozen=True)
class Asked:
    """States to forward.

    Attributes:
        states: M states; `states.rows` are indices of rows of the loop.
        owners: `states.rows`, on the host.
        reaches: the columns that each state computes.
        shown: the columns [start, stop) of each state whose hidden states are returned.
        tick: int64 [M]; the tick of each state. It keys the random numbers of `Backbone.blank`.
        blocks: the columns [start, stop) of each state's block, which get shadow columns if a part reads them; None: no
            shadow columns.
    """

    states: States
    owners: Sequence[int]
    reaches: Sequence[Reach]
    shown: Sequence[tuple[int, int]]
    tick: Tensor
    blocks: Sequence[tuple[int, int]] | None = None


class Runner:
    """Run a backbone for rows that join and leave. Every forward goes through this class.

    Args:
        beliefs: turns hidden states into beliefs.
        cache: the rule for frozen columns.
        slots: number of places in the store.
        extras: names of the extras that parts read.
        shadow: the kind of shadow columns that the parts read, a key of `SHADOWS`; None: none.

    Attributes:
        stored: bool [slots, T]; the columns of each slot that were in its row when they were last stored; None: rows do
            not grow.
        slot_of: for each row of the loop: its index in the store.
        calls: NFE in model calls.
        rows, row_tokens, columns: for each row of the loop: its row-forwards, the tokens needed in them, and the tokens
            computed in them. The last number includes tokens that are computed only to fill up a batch.
    """

    def __init__(
        self, beliefs: Beliefs, cache: Cache, slots: int, extras: Sequence[str] = (), shadow: str | None = None
    ):
        self.backbone, self.beliefs, self.branches = beliefs.backbone, beliefs, beliefs.branches
        self.cache, self.slots, self.extras, self.shadow = cache, slots, tuple(extras), shadow
        with Asking(self.backbone, "new_store"):
            self.store = self.backbone.new_store()
        self.stored: Tensor | None = None
        self.slot_of: list[int] = []
        self.calls = 0
        self.rows: list[int] = []
        self.row_tokens: list[int] = []
        self.columns: list[int] = []
        self._slots: Tensor | None = None
        self._given: Any = None
        self._without: Any = None
        self._known: dict[Any, Call] = {}
        self._shown: tuple[Any, tuple[Tensor, Tensor, int | None]] | None = None

    @property
    def conditioned(self) -> bool:
        """True if rows depend on more than their tokens."""
        return self._given is not None

    # -- rows join and leave ------------------------------------------------------------------------------------------

    def join(self, conditioning: Any, slots: Sequence[int], times: int) -> None:
        """Add rows with `times` particles each, and their conditioning; `slots` are their places in the store."""
        count = len(slots)
        with_prompt, without = conditioning, None
        if self.backbone.guided and conditioning is not None:
            half = torch.arange(count, device=self.backbone.device)
            with Asking(self.backbone, "select"):
                with_prompt = self.backbone.select(conditioning, half)
                without = self.backbone.select(conditioning, half + count)
        if self.rows:
            with Asking(self.backbone, "join"):
                with_prompt = self.backbone.join([self._given, with_prompt])
                without = None if without is None else self.backbone.join([self._without, without])
        self._given, self._without = with_prompt, without
        self.slot_of += [slot * times + k for slot in slots for k in range(times)]
        self._slots = None
        for counts in (self.rows, self.row_tokens, self.columns):
            counts += [0] * (count * times)

    def keep_rows(self, rows: list[int], times: int) -> None:
        """Keep only these rows, in this order, with `times` particles each."""
        index = ops.uploaded(rows, self.backbone.device)
        with Asking(self.backbone, "select"):
            if self._given is not None and rows:
                self._given = self.backbone.select(self._given, index)
            if self._without is not None and rows:
                self._without = self.backbone.select(self._without, index)
        self._slots = None
        for counts in (self.rows, self.row_tokens, self.columns, self.slot_of):
            counts[:] = [counts[row * times + k] for row in rows for k in range(times)]

    def wipe(self, rows: list[int], times: int) -> None:
        """Clear what is stored of some rows: NaN in a column that is masked would still reach the slot's next row."""
        slots = [self.slot_of[row * times + k] for row in rows for k in range(times)]
        if self.branches == 2:
            slots += [slot + self.slots for slot in slots]
        self.store.wipe(slots)

    def follow(self, parents: Tensor) -> None:
        """Copy frozen columns with their particles: row i gets those of row parents[i], int64."""
        slots = self._slots_on(parents.device)
        if self.stored is not None:
            self.stored = self.stored.index_copy(0, slots, self.stored[slots[parents]])
        if self.branches == 2:
            slots, parents = torch.cat((slots, slots + self.slots)), torch.cat((parents, parents + len(parents)))
        self.store.follow(slots, slots[parents])

    # -- forwards ------------------------------------------------------------------------------------------------------

    def forward(self, asked: Asked, canvas: Canvas, times: int, before: Previous | None = None) -> Hidden:
        """Run states, in as many calls as `share_out` makes; each state counts as one row-forward.

        Under guidance each state is also run without its prompt, in the same call, and counts twice. The prompt is
        masked; for a `guided` backbone it is left out of the conditioning. The hidden states of both are side by side,
        [M, L, 2·D], until `Beliefs` mixes their logits.

        Args:
            asked: the states.
            canvas: all rows of the loop.
            times: particles per row.
            before: what a model with `feeds_back` said of all rows; None for other models.
        """
        tokens = self._as_seen(asked, canvas)
        side_by_side = self.shadow is not None or bool(self.extras)
        groups = share_out(asked.reaches, self.backbone.pads, self.backbone.packs, side_by_side, self.branches)
        parts = [self._run(tokens, group, asked, canvas, times, before) for group in groups]
        out, (start, stop, same) = gathered(parts, groups), self._bounds(asked.shown, tokens.device)
        return Hidden(
            values=self.beliefs.ramped(asked.states, canvas, out.hidden),
            start=start,
            stop=stop,
            same=same,
            held=self.beliefs.policy.held(asked.states.tokens, canvas, asked.states),
            extra=out.extra or None,
            kinds=self.backbone.offers,
            shadow=None if out.shadow is None else self.beliefs.ramped(asked.states, canvas, out.shadow),
        )

    def _bounds(self, shown: Sequence[tuple[int, int]], device: torch.device) -> tuple[Tensor, Tensor, int | None]:
        """First columns and ends of the columns shown, int64 [M]; the first column if it is the same for all."""
        key = tuple(shown)
        if self._shown is None or self._shown[0] != key:
            start, stop = ops.uploaded(key, device).unbind(1)
            self._shown = key, (start, stop, key[0][0] if len({first for first, _ in key}) == 1 else None)
        return self._shown[1]

    def _as_seen(self, asked: Asked, canvas: Canvas) -> Tensor:
        """The states' tokens as the model sees them, with `Backbone.blank` at open positions."""
        states = asked.states

        def draw(stream: str) -> Tensor:
            place = torch.arange(states.tokens.shape[1], device=states.tokens.device).expand_as(states.tokens)
            return noise.uniform(canvas.seed[states.rows], asked.tick, stream, 1, place)[:, 0]

        with Asking(self.backbone, "blank"):
            blank = self.backbone.blank(canvas, draw)
        return states.tokens if blank is None else torch.where(states.open, blank, states.tokens)

    def _run(
        self,
        tokens: Tensor,
        group: list[int],
        asked: Asked,
        canvas: Canvas,
        times: int,
        before: Previous | None,
    ) -> Part:
        """Forward one group of states; return the shown columns of each, and of the extras."""
        every = len(group) == len(asked.owners)
        index = None if every else ops.uploaded(group, tokens.device)
        rows, whole = (x if index is None else x[index] for x in (asked.states.rows, tokens))
        reaches = [asked.reaches[i] for i in group]
        call = self._call(reaches, tokens.shape[1], tokens.device)
        valid = call.inside & call.take(canvas.valid[rows]) if canvas.room else call.inside
        view = self._view(call, valid, canvas, rows, [asked.owners[i] for i in group]) if self.cache.keeps else None
        more = self._more(before, rows, call, canvas) | self._shadowed(asked, group, canvas, tokens.device)
        out = self._both(whole, call, valid, canvas, rows, times, view, more)
        if canvas.room and call.keeps is not False:
            slots = self._slots_on(rows.device)[rows]
            self._note_stored(call, valid, slots, [i for i, reach in enumerate(reaches) if reach.keep])
        self._count(asked, group, call.length, more.get("shadow"))
        width = max(stop - start for start, stop in asked.shown)
        offsets = [asked.shown[i][0] - asked.reaches[i].start for i in group]
        return out.cut(offsets, width, self.backbone.offers)

    def _call(self, reaches: list[Reach], width: int, device: torch.device) -> Call:
        """Make the call's columns. The last few are stored, because steps of one block repeat them."""
        key = (tuple(reaches), width)
        if key not in self._known:
            if len(self._known) >= 8:
                self._known.pop(next(iter(self._known)))
            self._known[key] = Call.over(reaches, width, device)
        return self._known[key]

    def _slots_on(self, device: torch.device) -> Tensor:
        """int64 [R]: the index of each row in the store."""
        if self._slots is None:
            self._slots = ops.uploaded(self.slot_of, device, torch.long)
        return self._slots

    def _view(self, call: Call, live: Tensor, canvas: Canvas, rows: Tensor, owners: list[int]) -> View:
        seen, readable, slots = call.seen, call.readable, self._slots_on(rows.device)[rows]
        numbers = [self.slot_of[row] for row in owners]
        if self.branches == 2:
            numbers += [slot + self.slots for slot in numbers]
        if canvas.room:
            # A column that was not in the row when its block was entered is not in the store.
            stored, valid = (x[:, : seen.shape[1]] for x in (self._stored(canvas)[slots], canvas.valid[rows]))
            readable = (readable & ~seen & valid) | (seen & stored & valid)
            seen = seen & stored & valid
        return View(
            store=self.store,
            slots=slots if self.branches == 1 else torch.cat((slots, slots + self.slots)),
            size=self.slots * self.branches,
            width=canvas.tokens.shape[1],
            start=self._twice(call.start),
            live=self._twice(live),
            seen=self._twice(seen),
            readable=self._twice(readable),
            keep=self._twice(call.keep),
            span=call.span if call.full else None,
            reads=call.reads,
            keeps=call.keeps,
            first=numbers[0] if numbers == [*range(numbers[0], numbers[0] + len(numbers))] else None,
            starts=call.starts if call.plain and not canvas.room else None,
            numbers=tuple(numbers),
        )

    def _stored(self, canvas: Canvas) -> Tensor:
        columns = canvas.tokens.shape[1]
        if self.stored is None:
            self.stored = torch.zeros(self.slots, columns, dtype=torch.bool, device=canvas.tokens.device)
        self.stored = functional.pad(self.stored, (0, max(0, columns - self.stored.shape[1])))
        return self.stored

    def _note_stored(self, call: Call, valid: Tensor, slots: Tensor, kept: list[int]) -> None:
        """Note which columns of some states are in the store now."""
        assert self.stored is not None
        some = ops.uploaded(kept, slots.device)
        wide = functional.pad(self.stored[slots[some]], (0, call.length))
        inside, columns = call.inside[some], call.columns[some]
        new = wide.scatter(1, columns, torch.where(inside, valid[some], wide.gather(1, columns)))
        self.stored = self.stored.index_copy(0, slots[some], new[:, : self.stored.shape[1]])

    def _twice(self, x: Tensor) -> Tensor:
        return x if self.branches == 1 else torch.cat((x, x))

    def _more(self, before: Previous | None, rows: Tensor, call: Call, canvas: Canvas) -> dict[str, Any]:
        """Keywords of `forward` for models that offer extras, feed back, or ask whether anything is padded."""
        more: dict[str, Any] = {"plain": call.full and not canvas.room} if self.backbone.asks_plain else {}
        if self.extras:
            more["extras"] = self.extras
        if before is not None:
            more["previous"] = before.of(rows, call, self.branches)
        return more

    def _shadowed(self, asked: Asked, group: list[int], canvas: Canvas, device: torch.device) -> dict[str, Any]:
        """The shadow columns of some states, one for each column of their blocks."""
        if self.shadow is None or asked.blocks is None:
            return {}
        width = max(stop - start for start, stop in asked.blocks)
        spans = ops.uploaded([asked.blocks[i] for i in group], device)
        positions = spans[:, :1] + torch.arange(width, device=device)
        live, tokens = positions < spans[:, 1:], torch.full_like(positions, canvas.blank_id)
        tokens, positions, live = (self._twice(x) for x in (tokens, positions, live))
        return {"shadow": Shadow(tokens, positions, live, SHADOWS[self.shadow])}

    def _count(self, asked: Asked, group: list[int], length: int, shadow: Shadow | None) -> None:
        """Count one call of `length` columns for some states, and its shadow columns."""
        self.calls += 1
        for i in group:
            row, reach = asked.owners[i], asked.reaches[i]
            needed, computed = reach.stop - reach.start, length
            if shadow is not None and asked.blocks is not None:
                start, stop = asked.blocks[i]
                needed, computed = needed + stop - start, computed + shadow.tokens.shape[1]
            self.rows[row] += self.branches
            self.row_tokens[row] += self.branches * needed
            # One row alone is not packed, so its shadow columns are filled up to the widest block.
            packed = self.backbone.packs and len(group) > 1
            self.columns[row] += self.branches * (needed if packed else computed)

    def _both(
        self,
        whole: Tensor,
        call: Call,
        valid: Tensor,
        canvas: Canvas,
        rows: Tensor,
        times: int,
        view: View | None,
        more: dict[str, Any],
    ) -> Part:
        """Call the model once; under guidance with both branches, and their hidden states side by side."""
        given, prompts = call.take(whole), rows // times if times > 1 else rows
        conditioning = self._conditioning(prompts)
        if self.branches == 2:
            free = given
            if not self.backbone.guided:
                prompt = canvas.valid[rows] & ~canvas.editable[rows]
                free = call.take(whole.masked_fill(prompt, canvas.blank_id))
            given = torch.cat((given, free))
        with Asking(self.backbone, "forward"):
            out = self.backbone.forward(
                given, self._twice(valid), conditioning, positions=self._twice(call.columns), cache=view, **more
            )
        extra = checked(self.backbone, out, given, more)
        return part_of(self.backbone, out, extra, self.branches, self.beliefs.side_by_side, whole.shape[1])

    def _conditioning(self, prompts: Tensor) -> Any:
        """The conditioning of rows int64 [m]; under guidance of both branches."""
        with Asking(self.backbone, "select"):
            rows = prompts.repeat(2) if self.branches == 2 and not self.backbone.guided else prompts
            given = self.backbone.select(self._given, rows)
            if self.branches == 1 or not self.backbone.guided:
                return given
            without = self.backbone.select(self._without, prompts)
        with Asking(self.backbone, "join"):
            return self.backbone.join([given, without])
