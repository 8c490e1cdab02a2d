"""The one place where forwards are run and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mdmkit import noise
from mdmkit.errors import MdmkitError
from mdmkit.loop.calls import Call, share_out
from mdmkit.loop.policy import Policy
from mdmkit.model.backbone import Output
from mdmkit.model.cache import Cache, Reach, View
from mdmkit.stage.belief import Belief
from mdmkit.stage.hidden import Hidden
from mdmkit.stage.look import States

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.model.backbone import Backbone
    from mdmkit.settings.draw import Draw, Guidance
    from mdmkit.stage.protocols import Constraint


@dataclass(frozen=True)
class Asked:
    """States to forward.

    Attributes:
        states: M states, `rows` counted over all rows of the loop.
        owners: the same rows, on the host.
        reaches: what each computes.
        shown: the columns [start, stop) that are wanted of each.
        tick: int64 [M]; the step that the state is of, which keys what an open place looks like.
    """

    states: States
    owners: Sequence[int]
    reaches: Sequence[Reach]
    shown: Sequence[tuple[int, int]]
    tick: Tensor


class Runner:
    """Runs a backbone for rows that come and go: every forward and every projection goes through here.

    The logit policy is applied on projection, so base and lookahead logits get it alike.

    Attributes:
        calls: NFE in model calls.
        rows, row_tokens, columns: per row of the loop: row-forwards, tokens that had to be computed in them, and tokens
            that were, those that only fill a batch up included.
    """

    def __init__(
        self,
        backbone: Backbone,
        draws: Draw,
        cache: Cache,
        guidance: Guidance,
        slots: int,
        constraint: Constraint | None = None,
        extras: Sequence[str] = (),
    ):
        self.backbone, self.cache, self.slots, self.extras = backbone, cache, slots, tuple(extras)
        self.scale, self.ramp, self.constraint = guidance.scale, guidance.ramp, constraint
        self.branches = 1 if self.scale == 1.0 else 2
        self.policy = Policy(backbone, draws)
        self.store: dict[Any, tuple[Tensor, ...]] = {}
        self.calls = 0
        self.rows: list[int] = []
        self.row_tokens: list[int] = []
        self.columns: list[int] = []
        self._given: Any = None
        self._without: Any = None
        self._known: dict[Any, Call] = {}

    # -- rows that come and go -----------------------------------------------------------------------------------------

    def join(self, conditioning: Any, count: int, times: int) -> None:
        """Take in `count` rows of `times` particles each, with the conditioning of all of them."""
        with_prompt, without = conditioning, None
        if self.backbone.guided and conditioning is not None:
            half = torch.arange(count, device=self.backbone.device)
            with_prompt = self.backbone.select(conditioning, half)
            without = self.backbone.select(conditioning, half + count)
        joined = self.backbone.join
        first = not self.rows
        self._given = with_prompt if first else joined([self._given, with_prompt])
        self._without = without if first else joined([self._without, without])
        for counts in (self.rows, self.row_tokens, self.columns):
            counts += [0] * (count * times)

    def keep_rows(self, rows: list[int], times: int) -> None:
        """Go on with these rows, in their order, of `times` particles each."""
        index = torch.tensor(rows, device=self.backbone.device)
        if self._given is not None and rows:
            self._given = self.backbone.select(self._given, index)
        if self._without is not None and rows:
            self._without = self.backbone.select(self._without, index)
        for counts in (self.rows, self.row_tokens, self.columns):
            counts[:] = [counts[row * times + k] for row in rows for k in range(times)]

    def follow(self, slots: Tensor, parents: Tensor) -> None:
        """Let frozen columns follow particles: the place slots[i] now holds what slots[parents[i]], int64, held."""
        if self.branches == 2:
            slots, parents = torch.cat((slots, slots + self.slots)), torch.cat((parents, parents + len(parents)))
        for key, kept in self.store.items():
            self.store[key] = tuple(each.index_copy(0, slots, each[slots[parents]]) for each in kept)

    # -- forwards ------------------------------------------------------------------------------------------------------

    def forward(self, asked: Asked, canvas: Canvas, slots: Tensor, times: int, before: Hidden | None = None) -> Hidden:
        """Run states, in at most two calls; each counts as one row-forward.

        Under guidance each is run once more without its prompt (masked, or left out of the conditioning of a `guided`
        backbone), in the same calls, and counts twice; the hidden states of both stand side by side, [M, L, 2·D], until
        `belief` mixes their logits.

        Args:
            asked: the states.
            canvas: all rows of the loop.
            slots: int64 [R]; each row's place in the store.
            times: particles of a row.
            before: what is known of all rows; a model that feeds back gets its extras.
        """
        states, tokens = asked.states, self._as_seen(asked, canvas)
        groups = share_out(asked.reaches, self.backbone.pads)
        parts = [self._run(tokens, group, asked, canvas, slots, times, before) for group in groups]
        values, extra = _gathered(parts, groups)
        if self.ramp and self.branches == 2:
            values = torch.cat((values, self._ramped(states, canvas, values)), -1)
        starts = [start for start, _ in asked.shown]
        return Hidden(
            values=values,
            start=torch.tensor(starts, device=tokens.device),
            same=starts[0] if len(set(starts)) == 1 else None,
            held=self.policy.held(states.tokens, canvas, states),
            extra=extra or None,
            whole=frozenset(name for name in extra if self.backbone.offers[name] == "row"),
        )

    def _ramped(self, states: States, canvas: Canvas, values: Tensor) -> Tensor:
        """How far guidance goes in each state, which stands behind its hidden states: [M, L, 1]."""
        own = canvas.editable[states.rows]
        share = (own & ~states.open).sum(1) / own.sum(1).clamp_min(1)
        return (1 + (self.scale - 1) * share)[:, None, None].expand(-1, values.shape[1], 1).to(values)

    def _as_seen(self, asked: Asked, canvas: Canvas) -> Tensor:
        """The states' tokens as the model sees them: an open place looks as the backbone says."""
        states = asked.states

        def draw(stream: str) -> Tensor:
            place = torch.arange(states.tokens.shape[1], device=states.tokens.device).expand_as(states.tokens)
            return noise.uniform(canvas.seed[states.rows], asked.tick, stream, 1, place)[:, 0]

        blank = self.backbone.blank(canvas, draw)
        return states.tokens if blank is None else torch.where(states.open, blank, states.tokens)

    def _run(
        self,
        tokens: Tensor,
        group: list[int],
        asked: Asked,
        canvas: Canvas,
        slots: Tensor,
        times: int,
        before: Hidden | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Forward one group of states: what is shown of each, [m, L, D], and the extras likewise."""
        every = len(group) == len(asked.owners)
        index = None if every else torch.tensor(group, device=tokens.device)
        rows, whole = (x if index is None else x[index] for x in (asked.states.rows, tokens))
        reaches = [asked.reaches[i] for i in group]
        call = self._call(reaches, tokens.shape[1], tokens.device)
        valid = call.inside & call.take(canvas.valid[rows]) if canvas.room else call.inside
        view = self._view(call, valid, canvas, slots[rows], rows) if self.cache.keeps else None
        out = self._both(whole, call, valid, canvas, rows, times, view, self._more(before, rows))
        for i, reach in zip(group, reaches, strict=True):
            row = asked.owners[i]
            self.rows[row] += self.branches
            self.row_tokens[row] += self.branches * (reach.stop - reach.start)
            self.columns[row] += self.branches * call.length
        self.calls += 1
        width = max(stop - start for start, stop in asked.shown)
        return self._cut(out, reaches, [asked.shown[i] for i in group], width, tokens.device)

    def _call(self, reaches: list[Reach], width: int, device: torch.device) -> Call:
        """The call's columns; the last few are kept, since steps of one block repeat them."""
        key = (tuple(reaches), width)
        if key not in self._known:
            if len(self._known) >= 8:
                self._known.pop(next(iter(self._known)))
            self._known[key] = Call.over(reaches, width, device)
        return self._known[key]

    def _view(self, call: Call, live: Tensor, canvas: Canvas, slots: Tensor, rows: Tensor) -> View:
        seen, readable = call.seen, call.readable
        if canvas.room:
            valid = canvas.valid[rows][:, : seen.shape[1]]
            seen, readable = seen & valid, readable & valid
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
        )

    def _twice(self, x: Tensor) -> Tensor:
        return x if self.branches == 1 else torch.cat((x, x))

    def _more(self, before: Hidden | None, rows: Tensor) -> dict[str, Any]:
        """The keywords that only some models take."""
        more: dict[str, Any] = {}
        if self.extras:
            more["extras"] = self.extras
        if self.backbone.feeds_back:
            known = None if before is None or before.extra is None else before.extra
            more["previous"] = None if known is None else {name: self._twice(x[rows]) for name, x in known.items()}
        return more

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
    ) -> Output:
        """One call of the model; under guidance both branches, the hidden states side by side."""
        given, prompts = call.take(whole), rows // times if times > 1 else rows
        conditioning = self._conditioning(prompts)
        if self.branches == 2:
            free = given
            if not self.backbone.guided:
                prompt = canvas.valid[rows] & ~canvas.editable[rows]
                free = call.take(whole.masked_fill(prompt, canvas.blank_id))
            given = torch.cat((given, free))
        out = self.backbone.forward(
            given, self._twice(valid), conditioning, positions=self._twice(call.columns), cache=view, **more
        )
        _check_output(self.backbone, out)
        if self.branches == 1:
            return out
        extra = None if out.extra is None else {name: x.chunk(2)[0] for name, x in out.extra.items()}
        return Output(torch.cat(out.hidden.chunk(2), -1), extra)

    def _conditioning(self, prompts: Tensor) -> Any:
        """That of rows int64 [m]; under guidance of both branches."""
        select = self.backbone.select
        if self.branches == 1:
            return select(self._given, prompts)
        if self.backbone.guided:
            return self.backbone.join([select(self._given, prompts), select(self._without, prompts)])
        return select(self._given, prompts.repeat(2))

    def _cut(
        self, out: Output, reaches: list[Reach], shown: list[tuple[int, int]], width: int, device: torch.device
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Of what was computed, what is wanted: `width` columns from each state's own first one on."""
        offsets = [start - reach.start for reach, (start, _) in zip(reaches, shown, strict=True)]
        offers, extra = self.backbone.offers, dict(out.extra or {})
        columns = [name for name in extra if offers[name] == "column"]
        have = out.hidden.shape[1]
        if len(set(offsets)) == 1 and offsets[0] + width <= have:
            if offsets[0] == 0 and width == have:
                return out.hidden, extra
            some = slice(offsets[0], offsets[0] + width)
            return out.hidden[:, some], extra | {name: extra[name][:, some] for name in columns}
        index = torch.tensor(offsets, device=device)[:, None] + torch.arange(width, device=device)
        index = index.clamp_max(have - 1)

        def pick(x: Tensor) -> Tensor:
            return x.gather(1, index.view(*index.shape, *[1] * (x.dim() - 2)).expand(-1, -1, *x.shape[2:]))

        return pick(out.hidden), extra | {name: pick(extra[name]) for name in columns}

    # -- beliefs -------------------------------------------------------------------------------------------------------

    def belief(self, hidden: Tensor, held: Tensor | None, states: States, columns: Tensor) -> Belief:
        """Project hidden [m, S, D], mix in guidance, apply the logit policy, and what the constraint says.

        `held` bool [m, V]: tokens that each state holds already; `columns` int64 [m, S].
        """
        if self.branches == 1:
            logits = self.backbone.project(hidden)
        else:
            scale: Tensor | float = self.scale
            if self.ramp:
                hidden, scale = hidden[..., :-1], hidden[..., -1:]
            guided, free = (self.backbone.project(half) for half in hidden.chunk(2, -1))
            logits = free + scale * (guided - free)
        logits = self.policy(logits, None if held is None else held[:, None])
        if self.constraint is not None:
            logits = self.constraint.shape(logits, states, columns)
        return Belief(logits)


def _gathered(
    parts: list[tuple[Tensor, dict[str, Tensor]]], groups: list[list[int]]
) -> tuple[Tensor, dict[str, Tensor]]:
    """What several calls gave, in the order of the states."""
    if len(parts) == 1:
        return parts[0]
    device = parts[0][0].device
    order = torch.tensor([i for group in groups for i in group], device=device).argsort()
    values = torch.cat([values for values, _ in parts])[order]
    return values, {name: torch.cat([extra[name] for _, extra in parts])[order] for name in parts[0][1]}


def _check_output(backbone: Backbone, out: Any) -> None:
    if not isinstance(out, Output):
        raise MdmkitError(
            f"backbone {type(backbone).__name__!r} returned {type(out).__name__} from forward, as in the first "
            "edition: it must return mdmkit.Output(hidden), or Output(hidden, extra={…}) with more. Its `valid` is "
            "[M, L] now, that of the columns it is given, and rows are padded on the right."
        )
