"""DAEDAL: a row grows until the model sees its end, and later wherever the model is very unsure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from mdmkit import LONGEST_ROW, Actions, MdmkitError, ops
from mdmkit_heuristics.block import offset
from mdmkit_heuristics.shares import check_shares

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Backbone, Canvas, Step


@dataclass(frozen=True)
class DaedalFill:
    """Fill every position of a block above `threshold`, always at least the best; for commit `daedal` (DAEDAL).

    arXiv:2508.00819. Blocks of `size` positions are counted from the first position of the plan's block, so leave
    plan.block null: the commit must see the whole row. When a row grows, the borders of these blocks stay, and tokens
    move across them. The plan's steps are not read.

    Args:
        threshold: probability, exclusive.
        size: positions.
    """

    threshold: float = 0.9
    size: int = 32

    def __post_init__(self) -> None:
        check_shares("select daedal", self, "threshold")
        if self.size < 1:
            raise MdmkitError(f"select daedal: size={self.size}: a block has at least 1 position.")

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        number = offset(step) // self.size
        now = torch.where(step.open, number, step.width).amin(1, keepdim=True)
        inside = step.open & (number == now)
        # The commit adds positions in this block only.
        step.recall("daedal.stop", fill=LONGEST_ROW)
        step.keep("daedal.stop", step.position[:, 0] + (now[:, 0] + 1) * self.size)
        sure = inside & (step.confidence > self.threshold)
        best = ops.top(scores, inside, step.quota.clamp_max(1))
        return Actions.single(sure.where(sure.any(1, keepdim=True), best), step.tokens)


@dataclass(frozen=True)
class DaedalGrow:
    """Let a row grow before it is filled, and insert open positions while it is filled (DAEDAL).

    arXiv:2508.00819, as in its code. The certainty of the end, E, is a sum divided by `span`: of the generated
    positions whose most probable token is `end`, open or filled, the last `span` count with its probability.

    1. While E < `enough`, a step writes nothing, and adds `more` open positions behind the row's last one.
    2. Then one step writes nothing either, and adds `tail` filled positions, which hold the end token.
    3. From then on every step writes the action. If E < `full`, the most doubtful position of the block becomes `more`
       open positions, and all tokens behind it move to the right. This is the position with the least probable token
       among those that stay open and whose token has less than `low`; if there is none, nothing is inserted. The
       block is that of select `daedal`; with another select it is the whole row.

    A row grows by at most plan.room positions in all; the last addition is shorter if needed. Rows with given tokens
    between or behind open positions do not grow, because these must stay where they are.

    Args:
        end: id of the end token. The default is LLaDA's.
        enough: E at which the row is long enough to begin, from 0 to 1.
        full: E from which nothing is inserted, from 0 to 1.
        low: probability, exclusive.
        more: positions.
        span: positions over which E is taken.
        tail: positions.
    """

    rewrites: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    end: int = 126081
    enough: float = 0.5
    full: float = 0.9
    low: float = 0.1
    more: int = 8
    span: int = 32
    tail: int = 16

    def __post_init__(self) -> None:
        check_shares("commit daedal", self, "enough", "full", "low")
        for name, least in (("end", 0), ("more", 2), ("span", 1), ("tail", 0)):
            if getattr(self, name) < least:
                raise MdmkitError(f"commit daedal: {name}={getattr(self, name)}: it must be at least {least}.")

    def fits(self, backbone: Backbone) -> None:
        """Refuse a token that is not the model's end token, and a model in which tokens cannot move."""
        if backbone.attention == "block":
            raise MdmkitError(
                "commit daedal: this model has attention by blocks, and sees no end of the row beyond the block it is "
                "in. Use a model with full attention, such as LLaDA."
            )
        ends = [*backbone.ends]
        if self.end >= backbone.vocab or self.end in backbone.forbidden or (ends and self.end not in ends):
            known = f"its end tokens are {', '.join(map(str, ends))}" if ends else "it names no end token of its own"
            raise MdmkitError(
                f"commit daedal: end={self.end} is not the token with which this model ends an answer: {known}. "
                f"Set it: --set commit.end={ends[0] if ends else 'ID'}."
            )

    def __call__(self, step: Step, actions: Actions, choice: Tensor) -> Canvas:
        place, tokens = actions.take(choice)
        if not step.plan.room:
            return step.written(place, tokens)
        if step.plan.block is not None or step.canvas.grid is not None:
            raise MdmkitError(
                "tokens move within the row's block, which must be the whole row, and a picture cannot grow: set "
                "plan.block=null, or plan.room=0."
            )
        left, certain = self._left(step), self._certainty(step)
        growing = step.active & ~step.recall("daedal.filling", fill=False)
        early = growing & (certain < self.enough) & (left > 0)
        closing = growing & ~early & (left > 0) & (self.tail > 0)
        step.keep("daedal.filling", ~early)

        writes = ~(early | closing)
        place = place & writes[:, None]
        at, doubted = self._most_doubted(step, place)
        inserts = writes & doubted & (certain < self.full)
        by = torch.where(early, self.more, torch.where(closing, self.tail, torch.where(inserts, self.more - 1, 0)))
        behind = torch.where(inserts, at, step.canvas.lengths - 1)
        canvas = _inserted(step.written(place, tokens), behind, by.minimum(left))
        added = canvas.valid & ~step.canvas.valid & closing[:, None]
        return canvas.filled(added, torch.full_like(canvas.tokens, self.end))

    def _left(self, step: Step) -> Tensor:
        """int64 [B]: positions by which each row may still grow."""
        length = step.canvas.lengths
        began = step.recall("daedal.began", fill=0)
        began = torch.where(began > 0, began, length)
        step.keep("daedal.began", began)
        bound = (step.window(step.canvas.fixed) & step.member).any(1)
        return torch.where(bound | ~step.active, 0, began + step.plan.room - length)

    def _certainty(self, step: Step) -> Tensor:
        """float [B]: E."""
        own = step.member & step.window(step.canvas.editable)
        ends = own & (step.belief.argmax == self.end)
        last = ends & (ends.flip(1).cumsum(1).flip(1) <= self.span)
        return torch.where(last, step.belief.confidence, 0).sum(1) / self.span

    def _most_doubted(self, step: Step, place: Tensor) -> tuple[Tensor, Tensor]:
        """The column of each row's most doubtful position, int64 [B], and whether it has one, bool [B]."""
        stop = step.recall("daedal.stop", fill=LONGEST_ROW)
        among = step.open & ~place & (step.position < stop[:, None]) & (step.confidence < self.low)
        at = step.confidence.masked_fill(~among, math.inf).argmin(1, keepdim=True)
        return step.position.gather(1, at)[:, 0], among.any(1)


def _inserted(canvas: Canvas, behind: Tensor, by: Tensor) -> Canvas:
    """Insert open positions into rows: `by` int64 [B] of them, behind a column int64 [B]."""
    column, length = canvas.positions, canvas.lengths
    last, by_ = behind[:, None], by[:, None]
    added = (column >= length[:, None]) & (column < length[:, None] + by_)
    new = (column > last) & (column <= last + by_)
    moved = (column > last + by_) & (column < length[:, None] + by_)
    source = torch.where(moved, column - by_, column)
    wide = canvas.grown(added)
    tokens, open_ = (x.gather(1, source) for x in (wide.tokens, wide.open))
    return wide.changed(tokens=tokens, open=open_).reopened(new)
