"""The look: what a lookahead reads about the proposed next states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from mdmkit import ops
from mdmkit.canvas.window import Window
from mdmkit.errors import MdmkitError, unknown
from mdmkit.stage.belief import Belief
from mdmkit.stage.hidden import Hidden

# Bytes of logits that one chunk of a look may hold.
LOOK_BYTES = 256 << 20
# Bytes of logits that are kept until the next belief; it is made from them, and not by the head again.
KEPT_BYTES = 64 << 20

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
        window: the columns whose logits are read, of each state; None unless a constraint is asked.
        answer: of each state's row, the columns from the first to the last one that decoding may fill, without those
            that only complete the model's last block; None unless a constraint is asked.
        infill: bool [M]; True if the row's prompt held its masks itself; None unless a constraint is asked.
        behind: as `Step.behind`.
        rules: the prompt's own rule, or None, of each row in the loop, which `rows` counts; None unless a constraint is
            asked that is `per_prompt`.
        places: int64 [n]; the positions whose logits a constraint gets that is `whole`, as indices into the columns of
            all states, M · S. They are all open ones; on a GPU others may follow.
        notes: where `shape` may note tensors [n, …] for `settle`, which finds them in `step.belief.notes`; None if
            these states are only looked at.
    """

    tokens: Tensor
    open: Tensor
    rows: Tensor
    window: Window | None = None
    answer: Window | None = None
    infill: Tensor | None = None
    rules: Sequence[Mapping[str, Any] | None] | None = None
    behind: int | None = None
    places: Tensor | None = None
    notes: dict[str, Tensor] | None = None

    def at(self, states: Tensor | slice) -> States:
        """Some of the states; with `places`, int64 indices of which each occurs once, and the host waits for them."""
        window, answer = (None if x is None else x.at(states) for x in (self.window, self.answer))
        infill = None if self.infill is None else self.infill[states]
        own = self.tokens[states], self.open[states], self.rows[states]
        some = States(*own, window, answer, infill, self.rules, self.behind)
        if self.places is None or self.window is None:
            return some
        assert isinstance(states, Tensor)
        place, width = self.places[self.entries(states)], self.window.width
        number = torch.zeros_like(self.rows).index_copy(0, states, torch.arange(len(some.rows), device=place.device))
        return replace(some, places=number[place // width] * width + place % width)

    def entries(self, states: Tensor) -> Tensor:
        """Which of the `places` are of some states, int64 indices: int64 [n']. The host waits for their number."""
        assert self.places is not None and self.window is not None
        wanted = torch.zeros_like(self.rows, dtype=torch.bool).index_fill(0, states, True)
        return wanted[self.places // self.window.width].nonzero()[:, 0]


class Believes(Protocol):
    """Makes beliefs from hidden states; `mdmkit.loop.beliefs.Beliefs`."""

    @property
    def vocab(self) -> int: ...

    @property
    def whole(self) -> bool: ...

    def __call__(self, hidden: Tensor, held: Tensor | None, states: States, columns: Tensor) -> Belief: ...

    def at_places(
        self, hidden: Tensor, held: Tensor | None, places: Tensor, states: States, columns: Tensor, keep: bool = False
    ) -> Belief: ...


@dataclass(frozen=True)
class _Read:
    """What is read of m states: hidden states [m, S, D], the tokens that each state holds bool [m, V], or None, the
    open positions bool [m, S], and the columns int64 [m, S]."""

    values: Tensor
    held: Tensor | None
    open: Tensor
    columns: Tensor
    states: States

    def at(self, some: slice) -> _Read:
        held = None if self.held is None else self.held[some]
        return _Read(self.values[some], held, self.open[some], self.columns[some], self.states.at(some))


# How many positions are open at most, by scope: in each current state, and in each next state that is shown.
Most = tuple[Mapping[str, Sequence[int]], Mapping[str, Sequence[int]]]


class Look:
    """What a lookahead reads about the proposed next states: reductions of their beliefs, on demand.

    Live alternatives of rows with two or more of them have results; results of other alternatives have no meaning.
    The scope `block` is the row's window [B, W]. The scope `sequence` is every column that a step recomputes, [B, S]:
    without a cache, the whole row. Columns that were not recomputed cannot be read.
    """

    def __init__(
        self,
        beliefs: Believes,
        now: tuple[Hidden, States],
        ahead: tuple[Hidden, States],
        where: Tensor,
        shape: tuple[int, int],
        window: Window,
        reach: Window,
        again: Callable[[Tensor, Tensor], Look] | None = None,
        most: Most | None = None,
    ):
        self._beliefs, self._again, self._most = beliefs, again, most
        self._now, self._ahead, self._where, self._shape = now, ahead, where, shape
        self._windows = {"block": window, "sequence": reach}

    def __call__(self, reduce: Callable[[Belief], Tensor], scope: Scope = "block", at: Tensor | None = None) -> Tensor:
        """Reduce each next state's belief over the vocabulary, position by position.

        `reduce` maps a belief over positions, logits [m, S, V], to one number per position, [m, S]. The result is
        [B, N, S] over the columns of `scope`; 0 where a position is not open in the next state, unless a part says
        `reads = ("written",)`. The logits exist only chunk by chunk, and the head runs only at open positions.

        `at`, int64 [B, S], reads these columns only, counted from the start of the scope; they are the same for all
        next states of a row. The head runs only at these columns.
        """
        hidden, states = self._ahead
        rows = self._where // self._shape[1]
        where = self._columns(scope).at(rows)
        most = None if self._most is None else self._most[1][scope]
        values = self._reduced(reduce, hidden, states, where, None if at is None else at[rows], most)
        out = values.new_zeros(self._shape[0] * self._shape[1], *values.shape[1:])
        return out.index_copy(0, self._where, values).unflatten(0, self._shape)

    def now(self, reduce: Callable[[Belief], Tensor], scope: Scope = "block") -> Tensor:
        """Reduce the current state's belief in the same way: [B, S]."""
        where = self._columns(scope)
        return self._reduced(reduce, *self._now, where, None, None if self._most is None else self._most[0][scope])

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
        if isinstance(scope, slice):
            raise MdmkitError(
                "look(reduce, slice) is of the first edition of mdmkit: rows are in different blocks now. Write the "
                'scope "block" or "sequence", or name columns of it: look(reduce, "block", at=columns).'
            )
        if not isinstance(scope, str) or scope not in self._windows:
            raise MdmkitError(unknown("scope", str(scope), self._windows))
        return self._windows[scope]

    def __getattr__(self, name: str) -> Any:
        if name in _GONE:
            raise MdmkitError(f"look.{name} is of the first edition of mdmkit: {_GONE[name]}.")
        raise AttributeError(f"a Look has no attribute {name!r}")

    def _reduced(
        self,
        reduce: Callable[[Belief], Tensor],
        hidden: Hidden,
        states: States,
        where: Window,
        at: Tensor | None,
        most: Sequence[int] | None,
    ) -> Tensor:
        """Reduce the beliefs of m states: [m, S], or [m, n] at n columns each.

        `most`: at most so many positions are open in each of them; None: filled positions are read too.
        """
        if at is not None and self._beliefs.whole:  # the constraint needs the logits of all columns
            return self._reduced(reduce, hidden, states, where, None, most).gather(1, at)
        values, columns = hidden.window(where), where.columns.clamp_max(states.tokens.shape[1] - 1)
        open_ = None if most is None else where(states.open) & where.member
        if at is not None:
            values = values.gather(1, at[..., None].expand(-1, -1, values.shape[-1]))
            columns = columns.gather(1, at)
            open_ = None if open_ is None else open_.gather(1, at)
            most = None if most is None else [at.shape[1]] * len(at)  # a column may occur several times
        size = max(1, LOOK_BYTES // (4 * self._beliefs.vocab))
        states = replace(states, window=where)
        if open_ is not None and most is not None:
            read = _Read(values, hidden.held, open_, columns, states)
            most = [min(count, open_.shape[1]) for count in most]
            return self._reduced_open(reduce, read, most, size, ahead=hidden is self._ahead[0])
        width, out = values.shape[1], []
        # A chunk holds whole states, so that a constraint gets all columns of a state; part of a state, if it is large.
        for start in range(0, len(values), max(1, size // width)):
            some = slice(start, start + max(1, size // width))
            held, of = None if hidden.held is None else hidden.held[some], states.at(some)
            most_columns = width if self._beliefs.whole else size
            parts = zip(values[some].split(most_columns, 1), columns[some].split(most_columns, 1), strict=True)
            out.append(torch.cat([reduce(self._beliefs(part, held, of, place)) for part, place in parts], 1))
        return torch.cat(out)

    def _reduced_open(
        self, reduce: Callable[[Belief], Tensor], read: _Read, most: Sequence[int], size: int, ahead: bool
    ) -> Tensor:
        """Reduce the beliefs at the open positions of m states: [m, S], 0 at all others.

        Args:
            size: so many positions are computed at a time. A constraint on whole answers gets all of a state.
            ahead: True if these are the next states. The next belief is that of one of them.
        """
        if self._beliefs.whole and sum(most) > size and len(most) > 1:
            shares = list(_shares(most, size))
            return torch.cat([self._reduced_open(reduce, read.at(x), most[x], sum(most[x]), False) for x in shares])
        places = ops.marked(read.open, sum(most))
        keep, found = ahead and 4 * self._beliefs.vocab * len(places) <= KEPT_BYTES, []
        for some in [places] if self._beliefs.whole else places.split(size):
            belief = self._beliefs.at_places(read.values, read.held, some, read.states, read.columns, keep)
            found.append(reduce(belief).flatten())
        reduced = torch.cat(found)
        reduced = reduced.masked_fill(~read.open.flatten()[places], 0)  # on a GPU some places may not be open
        return reduced.new_zeros(read.open.numel()).index_copy(0, places, reduced).view(read.open.shape)


def _shares(most: Sequence[int], size: int) -> Iterator[slice]:
    """Cut states into runs with at most `size` open positions, of one state at least."""
    start, total = 0, 0
    for i, count in enumerate(most):
        if i > start and total + count > size:
            yield slice(start, i)
            start, total = i, 0
        total += count
    yield slice(start, len(most))
