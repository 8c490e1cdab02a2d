"""The step: the argument of every stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mdmkit import noise
from mdmkit.canvas.canvas import Canvas
from mdmkit.canvas.window import Window
from mdmkit.errors import MdmkitError
from mdmkit.settings.draw import Draw
from mdmkit.settings.plan import Plan
from mdmkit.stage.actions import Actions
from mdmkit.stage.belief import Belief
from mdmkit.stage.memory import Like, Recall, Until

_GONE = {
    "span": "rows stand at windows of their own now, so write step.window(x) for x[:, step.span], step.put(x, w) for "
    "an assignment to it, and step.spread(place) for a window's places [B, W] among all columns [B, T]",
    "memory": "write step.recall(name, like=…, fill=…) and step.keep(name, value) for what is remembered of a row, "
    "and step.shared[name] for what is the same for all rows",
}


@dataclass(frozen=True)
class Step:
    """The read-only argument of every stage: B rows, each with a window of W columns.

    Attributes:
        canvas: the rows before the commit.
        where: each row's window.
        belief: the model's belief over the windows, leading shape [B, W]. At positions that are not open it is flat,
            unless a part `reads` `"written"` or the commit `rewrites`.
        open: bool [B, W]; open positions of the row's block, the only ones that may be filled.
        quota: int64 [B]; tokens that the plan wants filled now (0 for a row with nothing open).
        active: bool [B]; the rows that take this step: rows with an open position, and rows whose full block a commit
            that `lingers` may still change.
        tick: int64 [B]; steps that the row has made so far. It keys the random numbers and orders the trace.
        taken: int64 [B]; steps of the plan that the row has used in its block.
        plan: the sampler's plan.
        draws: how tokens are drawn.
        memory_view: the memory that `recall` and `keep` read and write.
        ids: the id of each row, from its admission to its end; may be empty in tests.
        extra: extras of the model by name: [B, W, …], or [B, …] for one value per row.
        patience: int64 [B]; steps that a full block may still take, under a commit that lingers.
        shadows: computes `shadow`.
        answer: of each row, the columns from the first to the last one that decoding may fill, without those that only
            complete the model's last block; None unless the sampler has a constraint.
        behind: how many columns of an answer stand at most before its row's block, if no answer held text between its
            masks: all of these columns are filled, and those after the block are open. None: some answer held text, or
            the sampler has no constraint.
        rules: of each row, the prompt's own rule, or None; None unless the sampler's constraint is `per_prompt`.
    """

    canvas: Canvas
    where: Window
    belief: Belief
    open: Tensor
    quota: Tensor
    active: Tensor
    tick: Tensor
    taken: Tensor
    plan: Plan
    draws: Draw
    memory_view: Recall
    ids: Sequence[int] = ()
    extra: dict[str, Tensor] | None = None
    patience: Tensor | None = None
    shadows: Callable[[], Belief] | None = None
    answer: Window | None = None
    behind: int | None = None
    rules: Sequence[Mapping[str, Any] | None] | None = None

    # -- the rows and their windows --------------------------------------------------------------------------------

    @property
    def rows(self) -> int:
        return self.open.shape[0]

    @property
    def width(self) -> int:
        return self.open.shape[1]

    @property
    def member(self) -> Tensor:
        """bool [B, W]: the columns of the row's own block, the only ones that a commit may change."""
        return self.where.member

    @property
    def fresh(self) -> Tensor:
        """bool [B]: True if no step of the plan has been counted in the row's block: its first step there."""
        return self.taken == 0

    @property
    def full(self) -> Tensor:
        """bool [B]: True if nothing is open in the row's block, and the commit may not change it any more."""
        full = ~self.open.any(1)
        return full if self.patience is None else full & (self.patience <= 0)

    @cached_property
    def unfilled(self) -> Tensor:
        """bool [B, W]: open positions of the row's block, also those that a commit has just added."""
        return self.where(self.canvas.open) & self.where.member if self.canvas.room else self.open

    @cached_property
    def position(self) -> Tensor:
        """int64 [B, W]: the position in the row of each column of the window."""
        return self.where.columns

    def leftmost(self, count: int | None) -> Tensor:
        """bool [B, W]: the first `count` open positions of each row's block; None: all of them."""
        return self.open if count is None else self.open & (self.open.cumsum(1) <= count)

    def window(self, x: Tensor) -> Tensor:
        """Gather any [B, T, …] into the rows' windows, [B, W, …]."""
        return self.where(x)

    def put(self, x: Tensor, w: Tensor) -> Tensor:
        """Return x [B, T, …] with w [B, W, …] in the row's own block; other columns keep their values."""
        return self.where.put(x, w)

    def spread(self, place: Tensor) -> Tensor:
        """Turn positions of the window, bool [B, W], into positions of the row, bool [B, T]: own block only."""
        return self.where.put(torch.zeros_like(self.canvas.open), place)

    @cached_property
    def shadow(self) -> Belief:
        """The model's belief at each position as if it were open, leading shape [B, W]; see `mdmkit.Shadow`.

        Raises:
            MdmkitError: no part's `reads` names shadow columns, so the forward had none.
        """
        if self.shadows is None:
            raise MdmkitError(
                "step.shadow is the model's belief at shadow columns, and no part asks for them: write "
                'reads = ("shadow",) or reads = ("shadow_block",) in the class of the part.'
            )
        return self.shadows()

    # -- tokens and noise -----------------------------------------------------------------------------------------

    @cached_property
    def tokens(self) -> Tensor:
        """int64 [B, W]: the token that would be written at each position: the best one, or a drawn one."""
        return self.belief.argmax if self.draws.greedy else self.draw(1)[:, 0]

    @cached_property
    def confidence(self) -> Tensor:
        """fp32 [B, W]: the probability of `tokens`, at temperature 1."""
        if self.draws.greedy:
            return self.belief.confidence
        return self.belief.probability(self.tokens)

    @cached_property
    def temperature(self) -> float | Tensor:
        """The temperature at which tokens are drawn now: one number, or float64 [B] with `draw.temperature_end`."""
        start, end = self.draws.temperature, self.draws.temperature_end
        if end is None:
            return start
        own = self.canvas.editable
        filled = (own & ~self.canvas.open).sum(1).double() / own.sum(1).clamp_min(1)
        return start + (end - start) * filled

    def draw(self, n: int, stream: str = "tokens") -> Tensor:
        """Draw n tokens for every window position, int64 [B, n, W]; n copies of the argmax at temperature 0."""
        if self.draws.greedy:
            return self.belief.argmax[:, None].expand(-1, n, -1)
        d = self.draws
        return self.belief.sample(self.noise(stream, n), self.temperature, d.top_p, d.top_k)

    def noise(self, stream: str, n: int) -> Tensor:
        """Draw n uniform numbers in (0, 1) per window position, float64 [B, n, W], by row, tick and stream."""
        return noise.uniform(self.canvas.seed, self.tick, stream, n, self.position)

    # -- memory ----------------------------------------------------------------------------------------------------

    def recall(
        self,
        name: str,
        like: Like = "row",
        *,
        fill: bool | int | float = 0,
        shape: tuple[int, ...] = (),
        until: Until = "row",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Read the rows' kept values: [B, *shape], [B, T, *shape] like a column, [B, W, *shape] like a window.

        Args:
            name: begin it with the name of the part, so that two parts never use the same name.
            like: one value per `row`, per `column`, or per column of the row's `window`.
            fill: the value for a row that has just joined, and for a column that was never kept.
            shape: the shape of one value.
            until: `block`: a row that enters a block reads `fill` again.
            dtype: None: bool, int64 or float32, by the type of `fill`.

        Raises:
            MdmkitError: the name was recalled with other arguments before.
        """
        return self.memory_view.get(name, like, fill, shape, until, dtype)

    def keep(self, name: str, value: Tensor) -> None:
        """Keep a value for the rows' next steps. It must have the shape that `recall` returned.

        Raises:
            MdmkitError: it was not recalled before, or has another shape.
        """
        self.memory_view.put(name, value)

    @property
    def shared(self) -> dict[str, Any]:
        """Values that are the same for all rows, such as a table on the device; they last as long as the loop."""
        return self.memory_view.memory.shared

    # -- other states ----------------------------------------------------------------------------------------------

    def states(self, actions: Actions) -> tuple[Tensor, Tensor]:
        """Every alternative's next state, with the action as written: tokens int64 and open bool, both [B, N, T]."""
        b, n, _ = actions.place.shape
        if n == 1:
            written = self.written(actions.place[:, 0], actions.tokens[:, 0])
            return written.tokens[:, None], written.open[:, None]
        many = self.where.at(torch.arange(b, device=self.open.device).repeat_interleave(n))
        tokens, open_ = (x.repeat_interleave(n, 0) for x in (self.canvas.tokens, self.canvas.open))
        place = many.put(torch.zeros_like(open_), actions.place.flatten(0, 1))
        filled = torch.where(place, many.put(tokens, actions.tokens.flatten(0, 1)), tokens)
        return filled.unflatten(0, (b, n)), (open_ & ~place).unflatten(0, (b, n))

    def written(self, place: Tensor, tokens: Tensor) -> Canvas:
        """The canvas with tokens int64 [B, W] written at positions of the window, bool [B, W]."""
        place = place & self.member
        written = self.where.placed(self.canvas.tokens, place, tokens)
        return self.canvas.changed(tokens=written, open=self.where.placed(self.canvas.open, place, False))

    def after(self, canvas: Canvas, **changes: Any) -> Step:
        """The same step with the canvas after the commit, as stop rules and the trace read it.

        Positions that the commit has added are not among its open ones, because no forward has computed their belief.
        """
        grown = canvas.valid is not self.canvas.valid
        open_ = self.where(canvas.open & self.canvas.valid if grown else canvas.open) & self.where.member
        # What `dataclasses.replace` does, without its checks: every row takes this path at every step.
        new = object.__new__(type(self))
        new.__dict__.update({name: self.__dict__[name] for name in self.__dataclass_fields__})
        new.__dict__.update(changes, canvas=canvas, open=open_)
        return new

    def at(self, rows: Tensor) -> Step:
        """The step of rows int64 [B], in this order; the random streams are not reordered."""
        own: dict[str, Any] = {name: getattr(self, name)[rows] for name in ("open", "quota", "active", "tick", "taken")}
        if self.patience is not None:
            own["patience"] = self.patience[rows]
        canvas = replace(self.canvas.at(rows), seed=self.canvas.seed)
        extra = None if self.extra is None else {name: x[rows] for name, x in self.extra.items()}
        shadows = None if self.shadows is None else lambda: self.shadow.at(rows)
        belief, where = self.belief.at(rows), self.where.at(rows)
        own["answer"] = None if self.answer is None else self.answer.at(rows)
        own["rules"] = None if self.rules is None else [self.rules[row] for row in rows.tolist()]
        return replace(self, canvas=canvas, where=where, belief=belief, extra=extra, shadows=shadows, **own)

    def __getattr__(self, name: str) -> Any:
        if name in _GONE:
            raise MdmkitError(f"step.{name} is of the first edition of mdmkit: {_GONE[name]}.")
        raise AttributeError(f"a Step has no attribute {name!r}")
