"""Regular expressions as automata over the bytes of UTF-8."""

from __future__ import annotations

import contextlib
import random
import re
import signal
import threading
from collections.abc import Iterator
from typing import Any

import interegular
from interegular.fsm import FSM, anything_else

from mdmkit import MdmkitError
from mdmkit_constrain.automaton import Automaton, made, ordered

# First and last character of each number of bytes in UTF-8, and the bits before its code in the first byte.
_FORMS = ((0x0, 0x7F, 1, 0x00), (0x80, 0x7FF, 2, 0xC0), (0x800, 0xFFFF, 3, 0xE0), (0x10000, 0x10FFFF, 4, 0xF0))
# Halves of characters of UTF-16; no text has them.
_SURROGATES = (0xD800, 0xDFFF)
# How many texts are tried to find out if the library reads a pattern as Python's `re` does, of how many characters, and
# for how many seconds.
_TRIED, _LONGEST, _SECONDS = 300, 40, 0.1

# Pieces [low, high] of the characters, and the state that each leads to.
Pieces = tuple[tuple[int, int, int], ...]


def made_of(pattern: str) -> Automaton:
    """Make the automaton of the texts that `re.fullmatch(pattern, text, re.ASCII)` matches, whatever it takes.

    Raises:
        MdmkitError: it is no pattern, or not one of a regular language that the library reads as Python does.
    """
    try:
        judge = re.compile(pattern, re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise MdmkitError(f"pattern {pattern!r} is no regular expression: {error}.") from None
    try:
        machine = interegular.parse_pattern(pattern).to_fsm().reduce()
    except Exception as error:  # the library raises many types, among them AttributeError
        said = " ".join(str(error).split()) or type(error).__name__
        raise MdmkitError(
            f"pattern {pattern!r} cannot be made an automaton ({said}). A pattern matches the whole answer, so leave "
            "out ^ and $; lookarounds, references to groups, \\b and possessive repeats are not possible."
        ) from None
    live = live_states(machine)
    automaton = automaton_of(machine, live)
    tried = _Tried(machine, live, pattern)
    for text in tried:
        if any(_SURROGATES[0] <= ord(c) <= _SURROGATES[1] for c in text):
            continue
        try:
            with _at_most(_SECONDS):
                matches = bool(judge.fullmatch(text))
        except TimeoutError:  # Python tries all ways through (x|x)+, whose number doubles with each character
            tried.longest = max(1, len(text) // 2)
            continue
        if automaton.accepts(text) != matches:
            raise MdmkitError(
                f"pattern {pattern!r} cannot be read for sure: as an automaton it is not the same as in Python's re, "
                f"for example for the text {text!r}. Write it in another way, without lookarounds, possessive "
                "repeats, flags such as (?i), and classes such as []a]."
            )
    return automaton


def automaton_of(machine: FSM, live: set[Any]) -> Automaton:
    """Make the automaton over bytes of one over characters, from its live states."""
    return ordered(_in_bytes(machine, live))


def live_states(machine: FSM) -> set[Any]:
    """The states from which a text can end."""
    return {state for state in machine.states if machine.islive(state)}


def _in_bytes(machine: FSM, live: set[Any]) -> Automaton:
    """Turn an automaton over characters into one over bytes, with the live states only."""
    ordered = sorted(live, key=lambda state: (state != machine.initial, state))
    number = {state: i for i, state in enumerate(ordered)}
    if machine.initial not in number:
        return made([{}], ())
    characters = _characters(machine)
    builder = _Bytes(len(live))
    for state in ordered:
        after = {key: number.get(to) for key, to in machine.map.get(state, {}).items()}
        builder.add(number[state], _pieces((low, high, after.get(key)) for low, high, key in characters))
    return made(builder.moves, [number[state] for state in ordered if state in machine.finals])


def _characters(machine: FSM) -> list[tuple[int, int, Any]]:
    """All characters in pieces [low, high] that have one key in the automaton."""
    other = machine.alphabet.get(anything_else)
    named = sorted((ord(c), key) for c, key in machine.alphabet.items() if c is not anything_else)
    found, after = [], 0
    for code, key in [*named, (0x110000, None)]:
        if after < code:
            found.append((after, code - 1, other))
        found.append((code, code, key))
        after = code + 1
    return found[:-1]


def _pieces(given: Iterator[tuple[int, int, int | None]] | Any) -> Pieces:
    """Join neighbours that lead to one state, and leave out those that lead nowhere."""
    out: list[tuple[int, int, int]] = []
    for low, high, state in given:
        if state is None:
            continue
        if out and out[-1][1] == low - 1 and out[-1][2] == state:
            out[-1] = (out[-1][0], high, state)
        else:
            out.append((low, high, state))
    return tuple(out)


class _Bytes:
    """Add states within characters of several bytes. Alike ones are shared.

    Attributes:
        moves: the next state by state and byte; the first `states` states are those between characters.
    """

    def __init__(self, states: int):
        self.moves: list[dict[int, int]] = [{} for _ in range(states)]
        self._within: dict[tuple[int, Pieces], int] = {}

    def add(self, state: int, pieces: Pieces) -> None:
        """Add the moves of a state between characters."""
        below, above = _cut(pieces, 0, _SURROGATES[0] - 1), _cut(pieces, _SURROGATES[1] + 1, 0x10FFFF)
        for low, high, size, prefix in _FORMS:
            self._split(self.moves[state], _cut((*below, *above), low, high), size, prefix)

    def _split(self, row: dict[int, int], pieces: Pieces, size: int, prefix: int) -> None:
        """Add the moves of a character's next byte; `size` bytes are left of it."""
        span = 64 ** (size - 1)
        for low, high, state in pieces:
            for lead in range(low // span, high // span + 1):
                if size == 1:
                    row[prefix + lead] = state
                elif prefix + lead not in row:
                    first = lead * span
                    rest = tuple((a - first, b - first, s) for a, b, s in _cut(pieces, first, first + span - 1))
                    row[prefix + lead] = self._state(size - 1, rest)

    def _state(self, size: int, pieces: Pieces) -> int:
        """The state within a character, of which `size` bytes are left."""
        if (size, pieces) not in self._within:
            self._within[size, pieces] = len(self.moves)
            self.moves.append({})
            row: dict[int, int] = {}
            self._split(row, pieces, size, 0x80)
            self.moves[self._within[size, pieces]] = row
        return self._within[size, pieces]


def _cut(pieces: Pieces, low: int, high: int) -> Pieces:
    """The parts of the pieces within [low, high]."""
    return tuple((max(a, low), min(b, high), state) for a, b, state in pieces if a <= high and b >= low)


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raise TimeoutError after some seconds of CPU time, in a thread and on a system where this is possible."""
    timer = getattr(signal, "setitimer", None)
    if timer is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(number: int, frame: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, late)  # SIGALRM ends the process if the one that asks is gone
    timer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        timer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


class _Tried:
    """Texts to try: random ones of the pattern's characters; some that the automaton accepts; these, changed.

    Attributes:
        longest: no text that follows is much longer, in characters.
    """

    def __init__(self, machine: FSM, live: set[Any], pattern: str):
        self.longest, self._machine, self._live, self._rng = _LONGEST, machine, live, random.Random(0)
        named = sorted(c for c in machine.alphabet if c is not anything_else)
        typed = (c for c in sorted(set(pattern)) if c.isascii())
        self._few = [*self._rng.sample(named, min(12, len(named))), *typed, "é", "\n"]

    def __iter__(self) -> Iterator[str]:
        rng, few = self._rng, self._few
        yield ""
        for _ in range(_TRIED):
            yield "".join(rng.choices(few, k=rng.randint(1, min(6, self.longest))))
            text = self._walk()
            yield text
            place = rng.randint(0, len(text))
            yield text[:place] + rng.choice(few) * rng.randint(0, 1) + text[place + rng.randint(0, 1) :]

    def _walk(self) -> str:
        """A text that the automaton accepts, or the beginning of one."""
        rng, machine, text = self._rng, self._machine, ""
        state, by_key = machine.initial, machine.alphabet.by_transition
        while len(text) < self.longest and not (state in machine.finals and rng.random() < 0.4):
            row = [(key, after) for key, after in machine.map.get(state, {}).items() if after in self._live]
            if not row:
                break
            key, state = rng.choice(row)
            symbol = rng.choice(by_key[key])
            text += "é" if symbol is anything_else else symbol
        return text
