"""Read a grammar in the notation of lark: its rules, and the patterns of its terminals."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Any

import lark

from mdmkit import MdmkitError, shown
from mdmkit_constrain.automaton import Automaton
from mdmkit_constrain.patterns import made_of

# How many texts of a terminal are tried.
_TRIED = 60


@dataclass(frozen=True)
class Grammar:
    """A grammar. A symbol is the name of a rule or of a terminal; these have different letters.

    Attributes:
        forms: the forms of each rule, each a sequence of symbols.
        terminals: the pattern of each terminal.
        ignored: the pattern of what may stand between terminals; "" if nothing may.
        parser: lark's own.
    """

    forms: dict[str, list[tuple[str, ...]]]
    terminals: dict[str, str]
    ignored: str
    parser: lark.Lark

    def parses(self, text: str) -> bool:
        try:
            self.parser.parse(text)
        except lark.exceptions.LarkError:
            return False
        return True


def read(text: str, start: str) -> Grammar:
    """Read a grammar.

    Raises:
        MdmkitError: it is wrong; a rule has no end; or one of its terminals has no pattern that can be read for sure.
    """
    try:
        parser = lark.Lark(
            text,
            start=start,
            parser="earley",
            lexer="dynamic_complete",
            maybe_placeholders=False,
            g_regex_flags=re.ASCII,
            import_paths=[_from_lark_only],
        )
    except MdmkitError:
        raise
    except Exception as error:  # the library raises many types
        said = " ".join(str(error).split()) or type(error).__name__
        raise MdmkitError(f"constraint.grammar cannot be read as a grammar of lark: {said}") from None
    forms: dict[str, list[tuple[str, ...]]] = {}
    for rule in parser.rules:
        form = tuple(str(symbol.name) for symbol in rule.expansion)
        forms.setdefault(str(rule.origin.name), []).append(form)
    terminals = {each.name: each.pattern.to_regexp() for each in parser.terminals}
    undefined = {symbol for own in forms.values() for form in own for symbol in form} - {*forms, *terminals}
    if undefined:
        raise MdmkitError(f"constraint.grammar declares terminal {min(undefined)} without a pattern: write one.")
    _check_ends(forms)
    automata = {name: _automaton(name, pattern) for name, pattern in terminals.items()}
    ignored = sorted(set(parser.ignore_tokens))
    _check_ignored(ignored, automata, terminals)
    between = "|".join(f"(?:{terminals[name]})" for name in ignored)
    return Grammar(forms, terminals, f"(?:{between})*" if ignored else "", parser)


def _from_lark_only(base: Any, path: str) -> Any:
    """Refuse imports of other files: what they hold would not be part of the grammar, or of a run's record."""
    if base is None or not isinstance(base, str):
        raise FileNotFoundError(path)  # then lark's own grammars are tried
    raise MdmkitError(f"constraint.grammar imports {shown(path)}: only lark's own grammars, such as common, can be.")


def _check_ends(forms: dict[str, list[tuple[str, ...]]]) -> None:
    """Refuse rules that always hold a rule without an end."""
    ended: set[str] = set()
    while True:
        more = {
            name
            for name, own in forms.items()
            if name not in ended and any(all(symbol in ended or symbol not in forms for symbol in form) for form in own)
        }
        if not more:
            break
        ended |= more
    endless = sorted(set(forms) - ended)
    if endless:
        raise MdmkitError(
            f"constraint.grammar: rule {endless[0]!r} never ends, since each of its forms holds a rule that does not. "
            "Give it a form without itself."
        )


def _automaton(name: str, pattern: str) -> Automaton:
    """The automaton of a terminal. Where lark takes a part of a text that the whole pattern fits, it is refused."""
    try:
        automaton = made_of(pattern)
    except MdmkitError as error:
        raise MdmkitError(f"constraint.grammar: terminal {name} is not possible here: {error}") from None
    rng, judge = random.Random(0), re.compile(pattern, re.ASCII)
    for _ in range(_TRIED):
        text = text_of(automaton, rng)
        found = judge.match(text) if text else None
        if found is not None and found.end() < len(text):
            raise MdmkitError(
                f"constraint.grammar: terminal {name} is /{pattern}/, of which a parser reads {found.group()!r} only "
                f"where {text!r} fits. Write longer choices first, and * in place of *?."
            )
    return automaton


def text_of(automaton: Automaton, rng: random.Random) -> str:
    """A text that the automaton accepts, or "" if none was found."""
    state, found = 0, bytearray()
    while len(found) < 40 and not (automaton.final[state] and found and rng.random() < 0.3):
        ways = (automaton.moves[state] != automaton.dead).nonzero()[0]
        if not len(ways):
            break
        found.append(int(rng.choice(ways)))
        state = int(automaton.moves[state, found[-1]])
    return found.decode() if automaton.final[state] else ""


def _check_ignored(ignored: list[str], automata: dict[str, Automaton], terminals: dict[str, str]) -> None:
    """Refuse an ignored terminal that can go on with what another one begins with.

    A parser ignores as much as it can, so these texts would be other ones for it.
    """
    for name in ignored:
        further = _after_ends(automata[name])
        for other, automaton in automata.items():
            begins = set((automaton.moves[0] != automaton.dead).nonzero()[0].tolist())
            if further & begins and not (other == name and _repeats(automaton, terminals[name])):
                raise MdmkitError(
                    f"constraint.grammar ignores {name}, of which a longer text may go on with what {other} begins "
                    f"with. Let {name} end with a character of its own (a comment with its line end), or write it into "
                    "the rules."
                )


def _after_ends(automaton: Automaton) -> set[int]:
    """The bytes that may follow a text that is accepted."""
    ways = automaton.moves[automaton.final] != automaton.dead
    return set(ways.any(0).nonzero()[0].tolist())


def _repeats(automaton: Automaton, pattern: str) -> bool:
    """True if two texts of a pattern, one after the other, are one, too."""
    twice = made_of(f"(?:{pattern})+")
    return twice.moves.shape == automaton.moves.shape and bool(
        (twice.moves == automaton.moves).all() and (twice.final == automaton.final).all()
    )
