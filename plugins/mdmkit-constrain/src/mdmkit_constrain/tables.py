"""From an automaton over bytes to one over the tokens of a model: classes of tokens that act alike, and arrows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mdmkit import MdmkitError
from mdmkit_constrain.automaton import Automaton

Array = np.ndarray[Any, Any]
# The most that a rule may have: entries of the map of all classes and states, and arrows. A step sums over the arrows
# at every position.
ENTRIES, ARROWS = 1 << 27, 1 << 22
# The most entries of a table of all states and classes.
DENSE = 1 << 24


@dataclass(frozen=True, eq=False)
class Arrows:
    """All A arrows of an automaton, in the order of one of their ends: from a state, by a class or group, to a state.

    Attributes:
        first, second: int64 [A]; the other ends; `second` is None if there is one only.
        index: int64 [A]; the end by which they are ordered.
        offsets: where the arrows of each value of `index` begin, int64 [size + 1].
    """

    first: Tensor
    second: Tensor | None
    index: Tensor
    offsets: Tensor

    @classmethod
    def of(cls, first: Array, second: Array | None, index: Array, size: int) -> Arrows:
        order = np.argsort(index, kind="stable")
        offsets = np.concatenate(([0], np.cumsum(np.bincount(index, minlength=size))))
        other = None if second is None else _tensor(second[order])
        return cls(_tensor(first[order]), other, _tensor(index[order]), _tensor(offsets))

    def to(self, device: torch.device) -> Arrows:
        second = None if self.second is None else self.second.to(device)
        return Arrows(self.first.to(device), second, self.index.to(device), self.offsets.to(device))


@dataclass(frozen=True, eq=False)
class Tables:
    """An automaton over tokens, with Q states, K classes of tokens and G groups of classes. State 0 is the first one.

    Tokens of one class lead from every state to the same state. Class K holds all tokens that lead nowhere. A group is
    all classes that lead from one state to another; many pairs of states have the same group. So a sum over groups has
    far fewer terms than one over classes: a third, for a JSON schema of 20 fields.

    Attributes:
        states, classes: Q and K.
        class_of: int64 [V], from 0 to K.
        count: float64 [K]; how many tokens of each class may be chosen.
        members: the tokens that may be chosen, class by class.
        bounds: K + 1; class k has `members[bounds[k] : bounds[k + 1]]`.
        firsts: int64 [K]; `bounds` without the last one, but within `members`.
        moves: the arrows of classes as (source, class), ordered by their target.
        in_groups: the classes of each group, ordered by group.
        of_classes: the groups of each class, ordered by class.
        ahead: the arrows of groups as (source, group), ordered by their target.
        back: the same as (target, group), ordered by their source.
        around: the same as (source, target), ordered by their group.
        final: bool [Q]; a row may end in these states.
        of_end: bool [Q]; the state after an end token, if the model has any; a row that holds its masks itself has no
            such token.
        kept: what is computed once, and is the same for every row.
    """

    states: int
    classes: int
    class_of: Tensor
    count: Tensor
    members: Tensor
    bounds: tuple[int, ...]
    firsts: Tensor
    moves: Arrows
    in_groups: Arrows
    of_classes: Arrows
    ahead: Arrows
    back: Arrows
    around: Arrows
    final: Tensor
    of_end: Tensor
    kept: dict[Any, Any] = field(default_factory=dict)

    @property
    def dense(self) -> bool:
        """True if there is room for `dense_next`."""
        return (self.states + 1) * (self.classes + 1) <= DENSE

    @cached_property
    def dense_next(self) -> Tensor:
        """int64 [Q + 1, K + 1]: the state after each state and class; Q: there is none."""
        table = torch.full((self.states + 1, self.classes + 1), self.states, device=self.class_of.device)
        table[self.moves.first, self.moves.second] = self.moves.index
        return table

    @property
    def bytes(self) -> int:
        """Bytes of memory that the tables take, or will take as soon as they are used."""
        own = [x for name, x in vars(self).items() if name not in ("kept", "dense_next")]
        every = [x for each in own for x in (vars(each).values() if isinstance(each, Arrows) else [each])]
        dense = 8 * (self.states + 1) * (self.classes + 1) if self.dense else 0
        return dense + sum(x.nbytes for x in every if isinstance(x, Tensor))

    def to(self, device: torch.device) -> Tables:
        if device == self.class_of.device:
            return self
        own: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        own |= {name: x.to(device) for name, x in own.items() if isinstance(x, Tensor | Arrows)}
        return Tables(**{**own, "kept": {}})


def tables_of(
    automaton: Automaton,
    texts: tuple[bytes | None, ...],
    never: tuple[int, ...],
    ends: tuple[int, ...],
    endings: tuple[int, ...],
) -> Tables:
    """Make the tables for a model.

    Args:
        texts: what each token adds to a text; None: nothing.
        never: tokens that may not be chosen.
        ends: tokens that end a text.
        endings: tokens that may stand after an end token.

    Raises:
        MdmkitError: they would be too large.
    """
    ended = set(ends) | set(endings)
    own = [None if i in ended else text for i, text in enumerate(texts)]
    class_of, maps = _classes(automaton, own)
    closing, tail = sorted(set(ends) - set(never)), len(automaton.moves)
    # One more state, after the end token: it is reached from the final states, and never left.
    maps = np.column_stack((maps, np.full(len(maps), automaton.dead, dtype=np.int32)))
    final = np.append(automaton.final, bool(closing))
    for tokens, first in ((set(ends), True), (ended - set(ends), False)):
        move = np.full((1, tail + 1), automaton.dead, dtype=np.int32)
        move[0, tail] = tail
        if first:
            move[0, :tail][automaton.final] = tail
        class_of[sorted(tokens)] = len(maps)
        maps = np.vstack((maps, move))
    usable = np.ones(len(texts), dtype=bool)
    usable[list(never)] = False
    return _trimmed(class_of, maps, final, automaton.dead, usable, tail)


def _classes(automaton: Automaton, texts: Sequence[bytes | None]) -> tuple[Array, Array]:
    """The class of each token, int64 [V], −1 for one without text; and where each class leads: int32 [K, N].

    The tokens are walked in the order of their texts, so that what one has in common with the one before is not
    followed again.
    """
    moves = automaton.moves
    found: dict[bytes, int] = {}
    maps: list[Array] = []
    class_of = np.full(len(texts), -1, dtype=np.int64)
    stack, before = [np.arange(len(moves), dtype=np.int32)], b""
    for text, token in sorted((text, i) for i, text in enumerate(texts) if text):
        common = 0
        while common < min(len(before), len(text)) and before[common] == text[common]:
            common += 1
        del stack[common + 1 :]
        for byte in text[common:]:
            stack.append(moves[stack[-1], byte])
        before, key = text, stack[-1].tobytes()
        if key not in found:
            found[key] = len(maps)
            maps.append(stack[-1])
            _check(len(maps) * len(moves), ENTRIES)
        class_of[token] = found[key]
    return class_of, np.array(maps, dtype=np.int32).reshape(len(maps), len(moves))


def _trimmed(class_of: Array, maps: Array, final: Array, dead: int, usable: Array, tail: int) -> Tables:
    """Keep the states on a way from the first one to a final one, and the classes with an arrow between them.

    Text between gaps may hold tokens that may not be chosen, so they have classes too.
    """
    by, source = np.nonzero(maps != dead)
    target = maps[by, source]
    ahead = _reached(np.arange(maps.shape[1]) == 0, source, target)
    live = ahead & _reached(final & ahead, target, source)
    live[0] = True
    kept = live[source] & live[target]
    _check(int(kept.sum()), ARROWS)
    by, source, target = by[kept], source[kept], target[kept]
    state, names = np.cumsum(live) - 1, np.unique(by)
    number = np.full(len(maps) + 1, len(names))
    number[names] = np.arange(len(names))
    class_of = number[class_of]  # −1 is the last entry, which is that of no class
    chosen = np.flatnonzero(usable & (class_of < len(names)))
    members = chosen[np.argsort(class_of[chosen], kind="stable")]
    count = np.bincount(class_of[members], minlength=len(names))
    bounds = np.concatenate(([0], np.cumsum(count)))
    ends = np.zeros(maps.shape[1], dtype=bool)
    ends[tail] = True
    states, classes = int(live.sum()), len(names)
    source, by, target = state[source], number[by], state[target]
    pairs, groups, held = _grouped(source * states + target, by)
    group = np.repeat(np.arange(len(held)), [len(each) for each in held])
    begin, end = np.divmod(pairs, states)
    with torch.inference_mode(False):
        return Tables(
            states=states,
            classes=classes,
            class_of=_tensor(class_of),
            count=_tensor(count.astype(np.float64)),
            members=_tensor(members),
            bounds=tuple(bounds.tolist()),
            firsts=_tensor(np.minimum(bounds[:-1], max(0, len(members) - 1))),
            moves=Arrows.of(source, by, target, states),
            in_groups=Arrows.of(np.concatenate(held), None, group, len(held)),
            of_classes=Arrows.of(group, None, np.concatenate(held), classes),
            ahead=Arrows.of(begin, groups, end, states),
            back=Arrows.of(end, groups, begin, states),
            around=Arrows.of(begin, end, groups, len(held)),
            final=_tensor(final[live]),
            of_end=_tensor(ends[live]),
        )


def _grouped(pair: Array, by: Array) -> tuple[Array, Array, list[Array]]:
    """The pairs of states of arrows, int64 [P], the group of each pair, int64 [P], and the classes of each group.

    Args:
        pair: int64 [A]; a number for the two states of each arrow.
        by: int64 [A]; the class of each arrow.
    """
    order = np.lexsort((by, pair))
    pairs, begins = np.unique(pair[order], return_index=True)
    found: dict[bytes, int] = {}
    every = np.split(by[order], begins[1:])
    groups = [found.setdefault(each.tobytes(), len(found)) for each in every]
    held = [np.frombuffer(each, by.dtype) for each in found]
    return pairs, np.array(groups, dtype=np.int64)[: len(pairs)], held


def _check(size: int, most: int) -> None:
    if size > most:
        raise MdmkitError(
            "this rule is too large: its automaton has too many states for the tokens of this model. Write it with "
            "smaller counts and fewer choices."
        )


def _tensor(x: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(x))


def _reached(first: Array, source: Array, target: Array) -> Array:
    """The states, bool [N], that the arrows reach from the first ones, these included."""
    order = np.argsort(source, kind="stable")
    target, begins = target[order], np.searchsorted(source[order], np.arange(len(first) + 1))
    reached, front = first.copy(), np.flatnonzero(first)
    while len(front):
        counts = begins[front + 1] - begins[front]
        # The arrows of all states of the front, one behind another.
        at = np.repeat(begins[front] - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        front = np.unique(target[at][~reached[target[at]]])
        reached[front] = True
    return reached
