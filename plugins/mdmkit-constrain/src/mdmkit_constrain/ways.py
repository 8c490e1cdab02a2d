"""The answers of several states as ways through an automaton."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from mdmkit import Window
from mdmkit_constrain import chain, classes
from mdmkit_constrain.rest import endings_of_open, state_after
from mdmkit_constrain.tables import Tables


@dataclass(frozen=True)
class Ways:
    """The answers of m states, L positions each, and the windows of S columns whose logits are known.

    Attributes:
        behind: how many positions of an answer are at most to the left of its window, if no answer held text between
            its masks; None: some did.
        best: True: maxima replace sums.
        support: True: every weight is 0 or −inf, so it only matters which ways exist.
    """

    tables: Tables
    answer: Window
    window: Window
    tokens: Tensor
    open: Tensor
    infill: Tensor
    best: bool
    support: bool
    behind: int | None = None

    def places(self) -> tuple[Tensor, Tensor]:
        """The place in the answer of each column of the window, int64 [m, S]; and if it is one: bool [m, S]."""
        place = self.window.columns - self.answer.start[:, None]
        return place, self.window.member & (place >= 0) & (place < self._sizes[:, None])

    def sums(self, known: Tensor) -> Sums:
        """The sums at the columns of the window, from the weights of the classes there, `known` [m, S, K].

        Where a column is not open, they do not count.
        """
        if self.support:
            known = torch.zeros_like(known).masked_fill(known == -torch.inf, -torch.inf)
        if self.behind is None or not self.tables.dense:
            return self._in_answers(known)
        return self._in_windows(known, self.behind)

    @property
    def _sizes(self) -> Tensor:
        """The positions of each answer, int64 [m]."""
        return self.answer.member.sum(1)

    @property
    def _final(self) -> Tensor:
        """bool [m, Q]: a row may end in these states."""
        return self.tables.final & ~(self.infill[:, None] & self.tables.of_end)

    # -- most rows: text to the left of the window, and nothing but open positions to the right of it ------------------

    def _in_windows(self, known: Tensor, most: int) -> Sums:
        place, inside = self.places()
        written = self.tables.class_of[self.window(self.tokens)]
        weights = torch.where(self.window(self.open)[..., None], known, classes.one_class(self.tables, written))
        weights = chain.in_groups(self.tables, weights, self.best)
        left = place[:, 0].clamp_min(0).minimum(self._sizes)
        first = state_after(self.tables, self.answer(self.tokens)[:, :most], left)
        right = (self._sizes - (place[:, 0] + self.window.member.sum(1)).clamp_min(0)).clamp_min(0)
        last = endings_of_open(self.tables, self.infill, right, self.answer.width, self.best)
        after = chain.backward(self.tables, weights[:, 1:], inside[:, 1:], last, self.best)
        before = partial(chain.forward, self.tables, weights[:, :-1], inside[:, :-1], first, self.best)
        return Sums(weights, after, first, before)

    # -- all others: the whole answers ---------------------------------------------------------------------------------

    def _in_answers(self, known: Tensor) -> Sums:
        weights, member = chain.in_groups(self.tables, self._weights(known), self.best), self.answer.member
        first = known.new_full((len(known), self.tables.states), -torch.inf)
        first[:, 0] = 0.0
        last = torch.zeros_like(self._final, dtype=known.dtype).masked_fill(~self._final, -torch.inf)
        after = chain.backward(self.tables, weights, member, last, self.best)
        place, _ = self.places()
        before = _at(chain.forward(self.tables, weights, member, first, self.best), place)
        return Sums(_at(weights, place), _at(after, place + 1), before[:, 0], lambda: before)

    def _weights(self, known: Tensor) -> Tensor:
        """Weights of the classes at every position of the answers: [m, L, K].

        At open positions outside of its window nothing is known.
        """
        column = self.answer.columns - self.window.start[:, None]
        within = column.clamp(0, known.shape[1] - 1)
        seen = (column == within) & self.window.member.gather(1, within)
        open_ = torch.where(seen[..., None], _at(known, column), classes.flat_weights(self.tables, self.best))
        fixed = classes.one_class(self.tables, self.tables.class_of[self.answer(self.tokens)])
        return torch.where(self.answer(self.open)[..., None], open_, fixed)


@dataclass(frozen=True)
class Sums:
    """What is known at the S columns of the windows of m states.

    Attributes:
        weights: [m, S, G]; the weights of the groups of classes.
        after: [m, S, Q]; the weights of all that can stand to the right of a column.
        first: [m, Q]; the same to the left of the first column.
        forward: computes `before`.
    """

    weights: Tensor
    after: Tensor
    first: Tensor
    forward: Callable[[], Tensor]

    @cached_property
    def before(self) -> Tensor:
        """[m, S, Q]: the weights of all that can stand to the left of a column."""
        return self.forward()


def _at(values: Tensor, place: Tensor) -> Tensor:
    """Values [m, L, …] at the places int64 [m, S] of each row; places beyond the ends are those at the ends."""
    return values.gather(1, place.clamp(0, values.shape[1] - 1)[..., None].expand(-1, -1, values.shape[-1]))
