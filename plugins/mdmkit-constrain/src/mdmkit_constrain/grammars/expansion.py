"""Expand the rules of a grammar to an automaton.

A rule that begins or ends with itself repeats, as in `list: item | list "," item`, and needs no bound. Any other use of
a rule within itself is expanded, up to a depth. Every rule's automaton is made the smallest one before others use it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import interegular
from interegular.fsm import FSM, Alphabet, OblivionError, crawl, epsilon

from mdmkit import MdmkitError
from mdmkit_constrain.automaton import Automaton
from mdmkit_constrain.grammars.reading import Grammar, read, text_of
from mdmkit_constrain.patterns import automaton_of, live_states

# States of a rule's automaton, and automata of rules, that an expansion may take.
STATES, MOST = 5_000, 20_000
# Texts that the library's own parser must accept.
_TRIED = 20


def made_of_grammar(text: str, start: str, depth: int) -> Automaton:
    """Make the automaton of the texts of a grammar in which no rule stands in itself more than `depth` times.

    Raises:
        MdmkitError: the grammar cannot be read, has no such text, or too many; or as for `read`.
    """
    grammar = read(text, start)
    try:
        found = Expansion(grammar, depth).whole(start)
    except RecursionError:
        raise _too_large() from None
    if found is None:
        raise MdmkitError(
            f"constraint.grammar has no text in which a rule stands in itself at most {depth} times. Set "
            "constraint.depth higher."
        )
    automaton, rng = automaton_of(found, live_states(found)), random.Random(0)
    for _ in range(_TRIED):
        one = text_of(automaton, rng)
        if one and not grammar.parses(one):
            raise MdmkitError(
                f"constraint.grammar cannot be read for sure: lark's parser refuses its text {one!r}. Write its "
                "terminals in another way."
            )
    return automaton


def _too_large() -> MdmkitError:
    return MdmkitError(
        f"constraint.grammar is too large: its expansion has an automaton of more than {STATES} states, or {MOST} "
        "rules. Set constraint.depth lower, or write fewer rules."
    )


@dataclass(frozen=True)
class Expansion:
    """Automata of rules, by what they stand in.

    Attributes:
        known: the automaton of each rule that was expanded, by its name and how often it stands in other rules.
    """

    grammar: Grammar
    depth: int
    known: dict[tuple[str, frozenset[tuple[str, int]]], FSM | None] = field(default_factory=dict)

    def whole(self, start: str) -> FSM | None:
        """The automaton of all texts; None: each is too deep."""
        found = self.rule(start, {})
        return None if found is None else _joined([self.between, found])

    def rule(self, name: str, uses: dict[str, int]) -> FSM | None:
        """The automaton of a rule; None: each of its texts is too deep.

        Args:
            uses: the rules that it stands in, and how often each.
        """
        if uses.get(name, 0) > self.depth:
            return None
        key = name, frozenset((rule, count) for rule, count in uses.items() if rule in self.reached[name])
        if key not in self.known:
            if len(self.known) >= MOST:
                raise _too_large()
            inner = {**uses, name: uses.get(name, 0) + 1} if self._counts(name) else uses
            self.known[key] = self._repeated(name, inner)
        return self.known[key]

    def _repeated(self, name: str, uses: dict[str, int]) -> FSM | None:
        """A rule's forms without itself, with all that its own beginnings and ends allow around and between them."""
        parts: dict[tuple[bool, bool], list[FSM]] = {}
        for form in self.grammar.forms[name]:
            if form == (name,):
                continue
            first, last = form[:1] == (name,), len(form) > 1 and form[-1:] == (name,)
            body = self._sequence(form[first : len(form) - last], uses)
            if body is not None:
                parts.setdefault((first, last), []).append(body)
        if (False, False) not in parts:
            return None
        one = _either(parts[False, False])
        if (False, True) in parts:
            one = _joined([_any_number(_either(parts[False, True])), one])
        if (True, False) in parts:
            one = _joined([one, _any_number(_either(parts[True, False]))])
        if (True, True) in parts:
            one = _joined([one, _any_number(_joined([_either(parts[True, True]), one]))])
        return one

    def _sequence(self, form: Iterable[str], uses: dict[str, int]) -> FSM | None:
        found: list[FSM] = []
        for symbol in form:
            own = self.terminals[symbol] if symbol in self.grammar.terminals else self.rule(symbol, uses)
            if own is None:
                return None
            found.append(own)
        return _joined(found) if found else epsilon(self.alphabet)

    @cached_property
    def alphabet(self) -> Alphabet:
        """That of all terminals, so that it is computed once."""
        return Alphabet.union(*(machine.alphabet for machine in self.machines.values()))[0]

    @cached_property
    def machines(self) -> dict[str, FSM]:
        """The automaton of each pattern, over an alphabet of its own."""
        every = [*self.grammar.terminals.values(), self.grammar.ignored]
        return {pattern: interegular.parse_pattern(pattern).to_fsm() for pattern in every}

    @cached_property
    def between(self) -> FSM:
        """What may stand between terminals."""
        return self._of(self.grammar.ignored)

    @cached_property
    def terminals(self) -> dict[str, FSM]:
        """Each terminal, with what may stand behind it."""
        return {name: _joined([self._of(own), self.between]) for name, own in self.grammar.terminals.items()}

    def _of(self, pattern: str) -> FSM:
        everything = FSM(self.alphabet, {0}, 0, {0}, {0: dict.fromkeys(self.alphabet.by_transition, 0)})
        return _small(self.machines[pattern] & everything)

    @cached_property
    def reached(self) -> dict[str, set[str]]:
        """The rules that each rule holds, however deep; they may include itself."""
        forms = self.grammar.forms
        found = {name: {symbol for form in own for symbol in form if symbol in forms} for name, own in forms.items()}
        while True:
            more = {name: own.union(*(found[each] for each in own)) for name, own in found.items()}
            if more == found:
                return found
            found = more

    def _counts(self, name: str) -> bool:
        """True if uses of this rule are counted. A rule that lark makes of `*` or `+` only repeats."""
        return name in self.reached[name] and not name.startswith("__")


def _joined(parts: list[FSM]) -> FSM:
    return _small(FSM.concatenate(*parts))


def _either(parts: list[FSM]) -> FSM:
    return parts[0] if len(parts) == 1 else _small(FSM.union(*parts))


def _small(machine: FSM) -> FSM:
    if len(machine.states) > STATES:
        raise _too_large()
    return machine.reduce()


def _any_number(part: FSM) -> FSM:
    """Any number of a part's texts, one behind another.

    `FSM.star` is not used: it takes the first state as final, also where a text comes back to it.
    """
    states = frozenset[Any]

    def follow(at: tuple[states, bool], key: Any) -> tuple[states, bool]:
        now, _ = at
        ways = (part.map.get(state, {}).get(key) for state in (*now, *([part.initial] if now & part.finals else [])))
        after = frozenset(state for state in ways if state is not None)
        if not after:
            raise OblivionError
        return after, False

    first = frozenset([part.initial]), True
    return _small(crawl(part.alphabet, first, lambda at: at[1] or bool(at[0] & part.finals), follow))
