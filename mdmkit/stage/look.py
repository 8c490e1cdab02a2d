"""The look: what a lookahead reads about the proposed next states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from mdmkit.canvas.window import Window
from mdmkit.errors import MdmkitError, unknown
from mdmkit.stage.belief import Belief
from mdmkit.stage.hidden import Hidden

# Bytes of logits that one chunk of a look may hold.
LOOK_BYTES = 256 << 20

Scope = Literal["block", "sequence"]

_GONE = {
    "masked": 'write look.open("block") or look.open("sequence"), bool [B, S]',
    "block": 'write the scope "block", as in look(reduce, "block")',
    "sequence": 'write the scope "sequence", as in look(reduce, "sequence")',
}


@dataclass(frozen=True)
class States:
    """Tokens and open positions of M states.

    Attributes:
        tokens: int64 [M, T].
        open: bool [M, T].
        rows: int64 [M]; the index of each state's row in the loop.
    """

    tokens: Tensor
    open: Tensor
    rows: Tensor

    def at(self, states: Tensor | slice) -> States:
        return States(self.tokens[states], self.open[states], self.rows[states])


# (hidden states [m, S, D], tokens that each state holds (bool [m, V]) or None, the m states, columns int64 [m, S])
# -> a belief over [m, S].
Believe = Callable[[Tensor, Tensor | None, States, Tensor], Belief]


class Look:
    """What a lookahead reads about the proposed next states: reductions of their beliefs, on demand.

    Live alternatives of rows with two or more of them have results; results of other alternatives have no meaning.
    The scope `block` is the row's window [B, W]. The scope `sequence` is every column that a step recomputes, [B, S]:
    without a cache, the whole row. Columns that were not recomputed cannot be read.
    """

    def __init__(
        self,
        believe: Believe,
        vocab: int,
        now: tuple[Hidden, States],
        ahead: tuple[Hidden, States],
        where: Tensor,
        shape: tuple[int, int],
        window: Window,
        reach: Window,
        again: Callable[[Tensor, Tensor], Look] | None = None,
    ):
        self._believe, self._vocab, self._again = believe, vocab, again
        self._now, self._ahead, self._where, self._shape = now, ahead, where, shape
        self._windows = {"block": window, "sequence": reach}

    def __call__(self, reduce: Callable[[Belief], Tensor], scope: Scope = "block", at: Tensor | None = None) -> Tensor:
        """Reduce each next state's belief over the vocabulary, position by position.

        `reduce` maps a belief over positions, logits [..., V], to one number per position, [...]. The result is
        [B, N, S] over the columns of `scope`. The logits exist only chunk by chunk.

        `at`, int64 [B, S], reads these columns only, counted from the start of the scope; they are the same for all
        next states of a row. The head runs only at these columns.
        """
        hidden, states = self._ahead
        rows = self._where // self._shape[1]
        where = self._columns(scope).at(rows)
        values = self._reduced(reduce, hidden, states, where, None if at is None else at[rows])
        out = values.new_zeros(self._shape[0] * self._shape[1], *values.shape[1:])
        return out.index_copy(0, self._where, values).unflatten(0, self._shape)

    def now(self, reduce: Callable[[Belief], Tensor], scope: Scope = "block") -> Tensor:
        """Reduce the current state's belief in the same way: [B, S]."""
        return self._reduced(reduce, *self._now, self._columns(scope), None)

    def open(self, scope: Scope = "block") -> Tensor:
        """bool [B, S]: positions that are open in the current state."""
        where = self._columns(scope)
        return where(self._now[1].open) & where.member

    def remaining(self, scope: Scope = "block") -> Tensor:
        """bool [B, N, S]: positions that are still open in each next state."""
        where = self._columns(scope).at(self._where // self._shape[1])
        open_ = where(self._ahead[1].open) & where.member
        out = open_.new_zeros(self._shape[0] * self._shape[1], open_.shape[1])
        return out.index_copy(0, self._where, open_).unflatten(0, self._shape)

    def again(self, tokens: Tensor, open_: Tensor) -> Look:
        """Look at other states, with one more row-forward each: tokens int64 and open bool, both [B, N, T].

        Rows that this look does not show are not forwarded. If N is that of this look, alternatives that it does not
        show are not forwarded either.

        Returns:
            The look at these states. The belief of the next step is still that of the chosen alternative.

        Raises:
            MdmkitError: a wrong shape or type.
        """
        if self._again is None:
            raise RuntimeError("this look belongs to no running loop")
        wide = self._now[1].tokens.shape
        for name, x, dtype in (("tokens", tokens, torch.int64), ("open", open_, torch.bool)):
            fits = isinstance(x, Tensor) and x.dtype == dtype and x.dim() == 3 and (len(x), x.shape[2]) == tuple(wide)
            if not fits or x.shape != tokens.shape:
                raise MdmkitError(
                    f"look.again takes tokens int64 and open bool, both [{wide[0]}, N, {wide[1]}], such as the two "
                    f"results of step.states(actions); {name} is something else."
                )
        return self._again(tokens, open_)

    def _columns(self, scope: Scope) -> Window:
        if scope not in self._windows:
            raise MdmkitError(unknown("scope", scope, self._windows))
        return self._windows[scope]

    def __getattr__(self, name: str) -> Any:
        if name in _GONE:
            raise MdmkitError(f"look.{name} is of the first edition of mdmkit: {_GONE[name]}.")
        raise AttributeError(f"a Look has no attribute {name!r}")

    def _reduced(
        self, reduce: Callable[[Belief], Tensor], hidden: Hidden, states: States, where: Window, at: Tensor | None
    ) -> Tensor:
        values, columns = hidden.window(where), where.columns.clamp_max(states.tokens.shape[1] - 1)
        if at is not None:
            values = values.gather(1, at[..., None].expand(-1, -1, values.shape[-1]))
            columns = columns.gather(1, at)
        width = values.shape[1]
        # A chunk holds whole states, so that a constraint gets all columns of a state; part of a state, if it is large.
        size = max(1, LOOK_BYTES // (4 * self._vocab))
        out = []
        for start in range(0, len(values), max(1, size // width)):
            some = slice(start, start + max(1, size // width))
            held, of = None if hidden.held is None else hidden.held[some], states.at(some)
            parts = zip(values[some].split(max(1, size), 1), columns[some].split(max(1, size), 1), strict=True)
            reduced = [reduce(self._believe(part, held, of, place)) for part, place in parts]
            out.append(reduced[0] if len(reduced) == 1 else torch.cat(reduced, 1))
        return out[0] if len(out) == 1 else torch.cat(out)
