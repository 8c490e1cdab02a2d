"""A constraint on a whole answer, for one model: what it makes of beliefs, of actions, and which rows it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mdmkit import Actions, Canvas, Constraint, MdmkitError, States, Step, Window, ops
from mdmkit_constrain import chain
from mdmkit_constrain.fitting import why_none
from mdmkit_constrain.tables import Tables

Mode = Literal["exact", "mask"]


@dataclass(frozen=True, eq=False)
class Language(Constraint):
    """Answers that an automaton accepts.

    Args:
        tables: the automaton over the model's tokens, on the model's device.
        on_host: the same on the host.
        what: what the rule is called in errors, such as `pattern 'a+'`.
        mode: `exact`: each open position's belief becomes its distribution under belief × rule. `mask`: tokens after
            which no answer is possible are forbidden, and the belief stays otherwise.
    """

    tables: Tables
    on_host: Tables
    what: str
    mode: Mode = "exact"

    whole: ClassVar[bool] = True

    # -- before the model sees a row -----------------------------------------------------------------------------------

    def refuse(self, canvas: Canvas, answer: Window) -> str | None:
        start, stop = int(answer.start[0]), int(answer.start[0]) + answer.width
        return why_none(self.on_host, self.what, canvas, start, stop)

    # -- beliefs -------------------------------------------------------------------------------------------------------

    def shape(self, logits: Tensor, states: States, columns: Tensor) -> Tensor:
        answer, window = states.answer, states.window
        if answer is None or window is None or states.infill is None:
            raise MdmkitError("these states do not say where their answers are: take them from a decode.")
        tables, support = self.tables, self.mode == "mask"
        ways = _Ways(tables, answer, window, states.tokens, states.open, states.infill)
        weights = ways.weights(chain.class_weights(tables, logits, support), support, only_support=support)
        before, after = ways.sums(weights, support)
        place, inside = ways.places()
        around = chain.between(tables, _at(before, place).flatten(0, 1), _at(after, place + 1).flatten(0, 1), support)
        around = around.unflatten(0, place.shape)
        top = around.amax(-1, keepdim=True)
        around = around - top.masked_fill(top == -torch.inf, 0.0)
        shaped = logits + chain.per_token(tables, around.to(logits.dtype))
        return torch.where((inside & window(states.open))[..., None], shaped, logits)

    # -- tokens that are filled together -------------------------------------------------------------------------------

    def settle(self, step: Step, actions: Actions) -> Actions:
        """Choose the tokens of each alternative together, from the left to the right.

        A single token stays as it was proposed. Of several, drawn ones are drawn each given those to its left, and
        summed over all that stays open; the leftmost stays, since its own distribution is the proposed one. At
        temperature 0 they are those of the most probable answer.
        """
        if step.answer is None:
            raise MdmkitError("this step does not say where the answers are: take it from a decode.")
        tables, greedy = self.tables, step.draws.greedy
        support = self.mode == "mask" and not greedy
        logits = step.belief.logits if step.belief.unconstrained is None else step.belief.unconstrained
        b, n, w = actions.place.shape
        ways = _Ways(tables, step.answer, step.where, step.canvas.tokens, step.canvas.open, step.canvas.infill)
        weights = ways.weights(
            chain.class_weights(tables, logits, greedy or support), greedy or support, only_support=support
        )
        before, after = ways.sums(weights, greedy or support)
        place, inside = ways.places()
        state = _at(before, place[:, :1])[:, 0].repeat_interleave(n, 0)
        here, after = _at(weights, place), _at(after, place + 1)
        filled = (actions.place & actions.live[..., None] & step.open[:, None]).flatten(0, 1)
        keeps = filled & (filled.cumsum(1) == 1) & ((filled.sum(1, keepdim=True) == 1) | (not greedy))
        proposed, noise = actions.tokens.flatten(0, 1), step.noise("constrain", n).flatten(0, 1)
        tokens = []
        for j in range(w):
            now, rest, own = (x.repeat_interleave(n, 0) for x in (here[:, j], after[:, j], inside[:, j]))
            around = chain.between(tables, state, rest, greedy or support)
            belief = logits[:, j].repeat_interleave(n, 0).double() + chain.per_token(tables, around)
            stays = keeps[:, j] & (belief.gather(1, proposed[:, j, None])[:, 0] > -torch.inf)
            chosen = torch.where(stays, proposed[:, j], _picked(step, belief, noise[:, j], n))
            token = torch.where(filled[:, j] & own, chosen, proposed[:, j])
            tokens.append(token)
            written = chain.one_class(tables, tables.class_of[token])
            now = torch.where(filled[:, j, None], written, now)
            state = torch.where(own[:, None], chain.advance(tables, state, now, greedy or support), state)
        settled = torch.stack(tokens, 1).unflatten(0, (b, n))
        return Actions(actions.place, settled, actions.live, actions.steps)


def _picked(step: Step, belief: Tensor, noise: Tensor, alternatives: int) -> Tensor:
    """Choose a token from each belief [m, V]: int64 [m]."""
    if step.draws.greedy:
        return belief.argmax(-1)
    heat = step.temperature
    if isinstance(heat, Tensor):
        heat = heat.repeat_interleave(alternatives)
    drawn = ops.sample(belief[:, None], noise[:, None, None], heat, step.draws.top_p, step.draws.top_k)
    return drawn[:, 0, 0]


def _at(values: Tensor, place: Tensor) -> Tensor:
    """Values [m, L, …] at the places int64 [m, S] of each row; places beyond the ends are those at the ends."""
    return values.gather(1, place.clamp(0, values.shape[1] - 1)[..., None].expand(-1, -1, values.shape[-1]))


@dataclass(frozen=True)
class _Ways:
    """The answers of m states in an automaton, L positions each, and the windows of S columns with known logits."""

    tables: Tables
    answer: Window
    window: Window
    tokens: Tensor
    open: Tensor
    infill: Tensor

    def places(self) -> tuple[Tensor, Tensor]:
        """The place in the answer of each column of the window, int64 [m, S]; and if it is one: bool [m, S]."""
        place = self.window.columns - self.answer.start[:, None]
        return place, self.window.member & (place >= 0) & (place < self.answer.member.sum(1)[:, None])

    def weights(self, known: Tensor, best: bool, only_support: bool) -> Tensor:
        """Weights of the classes at every position of the answers: [m, L, K], from `known` [m, S, K] in the windows.

        At open positions outside of its window nothing is known. With `only_support` every weight is 0 or −inf.
        """
        if only_support:
            known = torch.zeros_like(known).masked_fill(known == -torch.inf, -torch.inf)
        column = self.answer.columns - self.window.start[:, None]
        within = column.clamp(0, known.shape[1] - 1)
        seen = (column == within) & self.window.member.gather(1, within)
        open_ = torch.where(seen[..., None], _at(known, column), chain.flat_weights(self.tables, best))
        fixed = chain.one_class(self.tables, self.tables.class_of[self.answer(self.tokens)])
        return torch.where(self.answer(self.open)[..., None], open_, fixed)

    def sums(self, weights: Tensor, best: bool) -> tuple[Tensor, Tensor]:
        """Weights of all beginnings and of all endings, both [m, L + 1, Q]."""
        member, final = self.answer.member, self.tables.final & ~(self.infill[:, None] & self.tables.of_end)
        before = chain.forward(self.tables, weights, member, best)
        return before, chain.backward(self.tables, weights, member, final, best)
