"""Tokens that are filled in one step, chosen together from the left to the right."""

from __future__ import annotations

import torch
from torch import Tensor

from mdmkit import Actions, MdmkitError, Step, ops
from mdmkit_constrain import chain
from mdmkit_constrain.tables import Tables
from mdmkit_constrain.ways import Ways


class Joint:
    """The tokens of B · N alternatives.

    A single token stays as it was proposed. Of several, drawn ones are drawn each given those to its left, and summed
    over all that stays open; the leftmost stays, since its own distribution is the proposed one. At temperature 0 they
    are those of the most probable answer.

    Args:
        support: True: what is drawn follows the belief, and the rule only forbids.

    Attributes:
        logits: [B, W, V], without the rule.
        best: the largest logit of each class and its token, both [B, W, K], at temperature 0; else None.
        filled: bool [B·N, W]; positions that an alternative fills.
        keeps: bool [B·N, W]; those of them that keep the proposed token, if it is allowed.
        state: [B·N, Q]; weights of what stands to the left of the current column.
    """

    def __init__(self, tables: Tables, step: Step, actions: Actions, support: bool):
        if step.answer is None:
            raise MdmkitError("this step does not say where the answers are: take it from a decode.")
        self.tables, self.step, self.actions = tables, step, actions
        belief, canvas, greedy = step.belief, step.canvas, step.draws.greedy
        self.logits = belief.logits if belief.unconstrained is None else belief.unconstrained
        self.maxima = greedy or support
        self.best = chain.class_best(tables, self.logits) if greedy else None
        known = chain.class_weights(tables, self.logits) if self.best is None else self.best[0]
        own = canvas.tokens, canvas.open, canvas.infill
        ways = Ways(tables, step.answer, step.where, *own, best=self.maxima, support=support, behind=step.behind)
        sums = ways.sums(known)
        self.here, self.after, self.inside = sums.weights, sums.after, ways.places()[1]
        self.n = actions.place.shape[1]
        self.state = sums.before[:, 0].repeat_interleave(self.n, 0)
        self.filled = (actions.place & actions.live[..., None] & step.open[:, None]).flatten(0, 1)
        several = self.filled.sum(1, keepdim=True) > 1
        self.keeps = self.filled & (self.filled.cumsum(1) == 1) & ~(several & greedy)
        self.noise = step.noise("constrain", self.n).flatten(0, 1)

    def tokens(self) -> Tensor:
        """Choose the tokens: int64 [B, N, W]."""
        columns = [self._column(j) for j in range(self.filled.shape[1])]
        return torch.stack(columns, 1).unflatten(0, (-1, self.n))

    def _column(self, j: int) -> Tensor:
        """Choose the tokens of the next column, int64 [B·N], and go on to its right."""
        now, rest, inside = (x[:, j].repeat_interleave(self.n, 0) for x in (self.here, self.after, self.inside))
        around = chain.between(self.tables, self.state, rest, self.maxima)
        proposed = self.actions.tokens[..., j]
        own = self.logits[:, j].gather(1, proposed).flatten() + chain.of_tokens(self.tables, around, proposed.flatten())
        chosen = torch.where(self.keeps[:, j] & (own > -torch.inf), proposed.flatten(), self._picked(around, j))
        token = torch.where(self.filled[:, j] & inside, chosen, proposed.flatten())
        written = chain.one_class(self.tables, self.tables.class_of[token])
        after = chain.advance(self.tables, self.state, torch.where(self.filled[:, j, None], written, now), self.maxima)
        self.state = torch.where(inside[:, None], after, self.state)
        return token

    def _picked(self, around: Tensor, j: int) -> Tensor:
        """The best token of column j, or a drawn one, given the weights of everything around it, [B·N, K]."""
        if self.best is not None:
            weights, tokens = (x[:, j].repeat_interleave(self.n, 0) for x in self.best)
            return tokens.gather(1, (weights + around).argmax(1, keepdim=True))[:, 0]
        belief = self.logits[:, j].repeat_interleave(self.n, 0).double() + chain.per_token(self.tables, around)
        heat, draws = self.step.temperature, self.step.draws
        heat = heat.repeat_interleave(self.n) if isinstance(heat, Tensor) else heat
        return ops.sample(belief[:, None], self.noise[:, j, None, None], heat, draws.top_p, draws.top_k)[:, 0, 0]
