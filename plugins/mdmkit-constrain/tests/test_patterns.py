"""Automata beside Python's `re`, on random texts."""

import random
import re

import numpy as np
import pytest

from mdmkit import MdmkitError
from mdmkit_constrain import apart
from mdmkit_constrain.apart import of_pattern
from mdmkit_constrain.automaton import of_texts
from mdmkit_constrain.choices import Choices
from mdmkit_constrain.patterns import made_of
from mdmkit_constrain.tables import _reached

# One of each number of bytes in UTF-8, and some that end alike.
LETTERS = "abc1 _é\n一乀😀😁ß"
PATTERNS = (
    *("(a*b)?", "(ab|ba|c){1,3}a?b*", "[^a]*", ".*", r"(.|\n)*", r"\w+|\d", r"\W*", "[é-ü]{1,2}", "(?i)aB|c"),
    *("[一-丁]+", r"[^\d\s]+", "😀|[^一]{2}", "a{0}b{,2}", "()|a", "[a-c1]+?é", r"\.|\x61|[\d_]+", "[^😀]", r"\S+"),
    "(?:a|b)(?P<n>c)?",
)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_accepts_what_re_matches(pattern):
    rng, automaton, judge = random.Random(0), of_pattern(pattern), re.compile(pattern, re.ASCII)
    texts = ["", *("".join(rng.choices(LETTERS, k=rng.randint(1, 5))) for _ in range(600))]
    assert [text for text in texts if automaton.accepts(text) != bool(judge.fullmatch(text))] == []


def test_random_patterns_accept_what_re_matches(brute):
    rng = random.Random(1)
    for _ in range(80):
        pattern = brute.random_pattern(rng, "abcé", 4)
        automaton, judge = of_pattern(pattern), re.compile(pattern, re.ASCII)
        for _ in range(80):
            text = "".join(rng.choices("abcé", k=rng.randint(0, 8)))
            assert automaton.accepts(text) == bool(judge.fullmatch(text)), (pattern, text)


def test_no_bytes_but_those_of_a_text_are_accepted():
    automaton = of_pattern(".")
    for wrong in (b"\xc3", b"\xa9", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xff"):
        state = 0
        for byte in wrong:
            state = int(automaton.moves[state, byte])
        assert not automaton.final[state], wrong


def test_texts_and_one_more_space_before_them():
    tree = of_texts(["yes", "no", " ", "né"])
    assert [text for text in ("yes", "no", " ", "né", "ye", "", "yesno", "n") if tree.accepts(text)] == [
        *("yes", "no", " ", "né")
    ]
    spaced = tree.with_space
    assert [text for text in ("yes", " yes", "  yes", " ", "  ", " né") if spaced.accepts(text)] == [
        *("yes", " yes", "  ", " né")
    ]


def test_a_pattern_whose_automaton_explodes_is_refused_in_time():
    maker = apart.Maker(seconds=2)
    with pytest.raises(MdmkitError, match=r"'\(a\|b\)\*a\(a\|b\)\{20\}' needs more than 2 seconds"):
        maker.make("(a|b)*a(a|b){20}")
    automaton = maker.make("a{2,30}")
    assert automaton.accepts("aa") and not automaton.accepts("a")
    with pytest.raises(MdmkitError, match="is no regular expression"):
        maker.make("(a{20}")
    assert maker.make("b{20}").accepts("b" * 20)


@pytest.mark.parametrize("pattern", ["a{2,30}", "(ab|[é-ü]){1,2}c{2}", r"\{\"a\": [0-9]{1,3}\}", "x" * 50])
def test_an_automaton_from_the_other_process_is_the_same(pattern):
    here, there = made_of(pattern), apart.of_pattern(pattern)
    assert (
        (here.moves == there.moves).all()
        and (here.final == there.final).all()
        and there.moves.dtype == here.moves.dtype
    )


@pytest.mark.parametrize("pattern", [r"((\s)(([^a-z]|[^a-z])+))((?:(?:\s)+?){2,})", "(a|a)+b?(a|a)+b", "(a+)+(b+)+c"])
def test_a_pattern_that_only_python_takes_long_for_is_taken(pattern):
    automaton, judge, rng = made_of(pattern), re.compile(pattern, re.ASCII), random.Random(0)
    for _ in range(300):
        text = "".join(rng.choices(" 1ab", k=rng.randint(0, 8)))
        assert automaton.accepts(text) == bool(judge.fullmatch(text)), text


def test_a_short_pattern_that_explodes_is_refused_too(monkeypatch):
    monkeypatch.setattr(apart._maker, "seconds", 1)
    with pytest.raises(MdmkitError, match="needs more than 1 seconds"):
        of_pattern(".*a" + "." * 36)


def test_reached_states_are_those_of_a_walk():
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = int(rng.integers(1, 30))
        source, target = rng.integers(0, n, (2, int(rng.integers(0, 60))))
        first = rng.random(n) < 0.1
        wanted, before = first.copy(), None
        while before is None or not np.array_equal(before, wanted):
            before = wanted.copy()
            wanted[target[wanted[source]]] = True
        assert np.array_equal(_reached(first, source, target), wanted)


def test_choices_of_too_much_text_are_refused():
    with pytest.raises(MdmkitError, match=r"constraint\.of holds 30000 bytes of text, and 20000 are the most"):
        Choices(("a" * 30_000,))
