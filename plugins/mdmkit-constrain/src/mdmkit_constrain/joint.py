"""Tokens that are filled in one step, chosen together from the left to the right."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mdmkit import Actions, MdmkitError, Shifted, Step, ops
from mdmkit_constrain import chain, classes
from mdmkit_constrain.tables import Tables
from mdmkit_constrain.ways import Ways

# Names of what `shape` notes for `settle`: the largest weight, and the sum of the weights, of each class.
BEST, SUMS = "constrain.best", "constrain.sums"


class Joint:
    """The tokens of B · N alternatives.

    A single token stays as it was proposed. Of several, drawn ones are drawn each given those to its left, and summed
    over all that stays open, by the numbers by which they were drawn before; the leftmost stays, since its own
    distribution is the proposed one. At temperature 0 they are those of the most probable answer.

    Args:
        support: True: what is drawn follows the belief, and the rule only forbids.

    Attributes:
        logits: [n, V], without the rule, at the positions that were read.
        slot: int64 [B, W]; the index into these logits of each position, 0 where none was read.
        known: [B, W, K]; the weights of the classes at open positions.
        filled: bool [B·N, W]; positions that an alternative fills.
        keeps: bool [B·N, W]; those of them that keep the proposed token, if it is allowed.
        uniform: [B, W]; the numbers by which the step has drawn its tokens.
        inner: [B·N, W]; where a proposed token is another one, which of its numbers it was drawn by.
        state: [B·N, Q]; weights of what stands to the left of the current column.
    """

    def __init__(self, tables: Tables, step: Step, actions: Actions, support: bool):
        if step.answer is None:
            raise MdmkitError("this step does not say where the answers are: take it from a decode.")
        self.tables, self.step, self.n = tables, step, actions.place.shape[1]
        self.greedy, self.maxima = step.draws.greedy, step.draws.greedy or support
        self._read()
        canvas = step.canvas
        own = canvas.tokens, canvas.open, canvas.infill
        ways = Ways(tables, step.answer, step.where, *own, best=self.maxima, support=support, behind=step.behind)
        sums = ways.sums(self.known)
        self.here, self.after, self.inside = sums.weights, sums.after, ways.places()[1]
        self.state = sums.first.repeat_interleave(self.n, 0)
        self.proposed = actions.tokens.flatten(0, 1)
        self.filled = (actions.place & actions.live[..., None] & step.open[:, None]).flatten(0, 1)
        several = self.filled.sum(1, keepdim=True) > 1
        self.keeps = self.filled & (self.filled.cumsum(1) == 1) & ~(several & self.greedy)
        self.uniform, self.inner = step.noise("tokens", 1)[:, 0], step.noise("constrain", self.n).flatten(0, 1)

    def _read(self) -> None:
        """Set `logits`, `slot` and `known`."""
        belief, open_ = self.step.belief, self.step.open
        free = belief.packed_unconstrained
        packed = belief.packed if free is None else free
        self.logits = packed.flatten(0, -2)
        slot = torch.arange(open_.numel(), device=open_.device) if belief.slot is None else belief.slot.flatten()
        self.slot = slot.clamp_min(0).view(open_.shape)
        known = belief.notes.get(BEST if self.maxima else SUMS)
        if known is not None:
            self.known = belief.spread(known)
            return
        places = ops.marked(open_, open_.numel())
        own = classes.of_classes(self.tables, self.logits, self.slot.flatten()[places])
        found = own.best if self.maxima else own.sums
        self.known = found.new_zeros(open_.numel(), found.shape[1]).index_copy(0, places, found).view(*open_.shape, -1)

    def tokens(self) -> Tensor:
        """Choose the tokens: int64 [B, N, W]."""
        columns = [self._column(j) for j in range(self.filled.shape[1])]
        tokens, of_class, other = (torch.stack(each, 1) for each in zip(*columns, strict=True))
        if self.greedy:
            tokens = self._best_of(tokens, of_class, other)
        return tokens.unflatten(0, (-1, self.n))

    def _column(self, j: int) -> tuple[Tensor, Tensor, Tensor]:
        """Choose the tokens of the next column, and go on to its right.

        Returns:
            int64 [B·N], the tokens; int64 [B·N], their classes; bool [B·N], those that are not as proposed. At
            temperature 0 a token that is not as proposed is the best of its class, and is left open here.
        """
        proposed, filled, inside = self.proposed[:, j], self.filled[:, j], self.inside[:, j].repeat_interleave(self.n)
        rows = ops.marked(filled, len(filled))  # on a CPU the alternatives that fill this column, elsewhere all
        at, was = rows // self.n, proposed[rows]
        around = chain.between(self.tables, self.state[rows], self.after[at, j], self.maxima)
        own = self.logits[self.slot[at, j], was] + classes.of_tokens(self.tables, around, was)
        other = (filled & inside)[rows] & ~(self.keeps[rows, j] & (own > -torch.inf))
        if self.greedy:
            token, best = was, (self.known[at, j] + around).argmax(1)
        else:
            redrawn = ops.marked(other, len(other))  # a single token stays, and is not drawn for nothing
            drawn = self._drawn(around[redrawn], rows[redrawn], j)
            token = was.index_copy(0, redrawn, torch.where(other[redrawn], drawn, was[redrawn]))
            best = self.tables.class_of[token]
        tokens, of_class = proposed.index_copy(0, rows, token), self.tables.class_of[proposed]
        of_class = of_class.index_copy(0, rows, torch.where(other, best, of_class[rows]))
        self._go_on(j, of_class, filled, inside)
        return tokens, of_class, torch.zeros_like(filled).index_copy(0, rows, other)

    def _drawn(self, around: Tensor, rows: Tensor, j: int) -> Tensor:
        """Draw a token of column j for some alternatives, given the weights of everything around it, [n, K]."""
        at, heat = rows // self.n, self.step.temperature
        values = functional.pad(around, (0, 1), value=-torch.inf)
        belief = Shifted(self.logits[self.slot[at, j]].double(), self.tables.class_of, values).made
        heat, draws = heat[at] if isinstance(heat, Tensor) else heat, self.step.draws
        noise = self._noise(rows, j)[:, None, None]
        return ops.sample(belief[:, None], noise, heat, draws.top_p, draws.top_k)[:, 0, 0]

    def _noise(self, rows: Tensor, j: int) -> Tensor:
        """Uniform numbers [n] by which the proposed tokens of column j are drawn from their own distribution.

        So a rule that changes nothing changes no token: a score that reads the drawn ones, such as `confidence`, has
        chosen the positions for them.
        """
        at, was = rows // self.n, self.proposed[rows, j]
        out, odd = self.uniform[at, j], was != self.step.tokens[at, j]
        if ops.readable(odd) and not bool(odd.any()):
            return out
        other = ops.marked(odd, len(rows))
        heat, draws, some = self.step.temperature, self.step.draws, at[other]
        heat = heat[some] if isinstance(heat, Tensor) else heat
        belief = self.step.belief.packed.flatten(0, -2)[self.slot[some, j]]
        new = ops.drawn_by(belief, was[other], self.inner[rows[other], j], heat, draws.top_p, draws.top_k)
        return out.index_copy(0, other, torch.where(odd[other], new, out[other]))

    def _go_on(self, j: int, of_class: Tensor, filled: Tensor, inside: Tensor) -> None:
        """Take column j, in which classes int64 [B·N] are written where it is filled, to what stands to the left."""
        written = chain.in_groups(self.tables, classes.one_class(self.tables, of_class), self.maxima)
        now = self.here[:, j].repeat_interleave(self.n, 0)
        after = chain.advance(self.tables, self.state, torch.where(filled[:, None], written, now), self.maxima)
        self.state = torch.where(inside[:, None], after, self.state)

    def _best_of(self, tokens: Tensor, of_class: Tensor, other: Tensor) -> Tensor:
        """Write the best token of its class, int64 [B·N, W], where bool [B·N, W] says that it is another one."""
        places, width = ops.marked(other, other.numel()), other.shape[1]
        slot = self.slot[places // width // self.n, places % width]
        best = classes.best_tokens(self.tables, self.logits, slot, of_class.flatten()[places])
        best = torch.where(other.flatten()[places], best, tokens.flatten()[places])
        return tokens.flatten().index_copy(0, places, best).view_as(tokens)
