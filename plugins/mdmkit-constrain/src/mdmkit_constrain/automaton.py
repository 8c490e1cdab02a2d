"""A deterministic automaton over bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Automaton:
    """Which texts are allowed, read byte by byte. State 0 is the first one; the last state is the dead one.

    Attributes:
        moves: int32 [N, 256]; the next state of each state and byte. The dead state leads to itself.
        final: bool [N]; a text may end in these states.
    """

    moves: np.ndarray[Any, Any]
    final: np.ndarray[Any, Any]

    @property
    def dead(self) -> int:
        return len(self.moves) - 1

    def accepts(self, text: str) -> bool:
        state = 0
        for byte in text.encode():
            state = int(self.moves[state, byte])
        return bool(self.final[state])

    @cached_property
    def with_space(self) -> Automaton:
        """The same texts, also with one more space before each: for models that leave out a space at the start."""
        moves, final = self.moves + 1, np.insert(self.final, 0, self.final[0])
        first = moves[0].copy()
        first[ord(" ")] = 1
        return Automaton(np.vstack((first[None], moves)), final)


def ordered(automaton: Automaton) -> Automaton:
    """The same automaton, its states in the order in which their first texts come.

    A library that keeps its states in sets numbers them anew in each process, and sums in another order end in other
    last digits.
    """
    dead = automaton.dead
    order, seen = [0], {0, dead}
    for state in order:
        after, first = np.unique(automaton.moves[state], return_index=True)
        new = [s for s in after[np.argsort(first)].tolist() if s not in seen]
        seen.update(new)
        order += new
    order.append(dead)
    number = np.zeros(len(automaton.moves), dtype=np.int32)
    number[order] = np.arange(len(order))
    return Automaton(number[automaton.moves[order]], automaton.final[order])


def of_texts(texts: Iterable[str]) -> Automaton:
    """Make the automaton that accepts these texts only: a tree of their bytes."""
    moves: list[dict[int, int]] = [{}]
    final = set()
    for text in texts:
        state = 0
        for byte in text.encode():
            if byte not in moves[state]:
                moves[state][byte] = len(moves)
                moves.append({})
            state = moves[state][byte]
        final.add(state)
    return made(moves, final)


def made(moves: list[dict[int, int]], final: Iterable[int]) -> Automaton:
    """Make an automaton of moves by state and byte; a byte without a move leads to the dead state."""
    table = np.full((len(moves) + 1, 256), len(moves), dtype=np.int32)
    for state, row in enumerate(moves):
        for byte, after in row.items():
            table[state, byte] = after
    ends = np.zeros(len(moves) + 1, dtype=bool)
    ends[list(final)] = True
    return Automaton(table, ends)
