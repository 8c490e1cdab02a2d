"""Grammars: lark's own parser accepts every text, and every short text that it accepts is possible."""

import itertools
import random
import re
import time

import lark
import pytest

from mdmkit import MdmkitError, Prompt, compose, decode
from mdmkit.testing import ToyBackbone
from mdmkit_constrain import apart
from mdmkit_constrain.apart import of_grammar
from mdmkit_constrain.grammar import Grammar

JSON = r"""
root: value
value: object | array | STRING | NUMBER | "true" | "false" | "null"
array: "[" [value ("," value)*] "]"
object: "{" [pair ("," pair)*] "}"
pair: STRING ":" value
STRING: /"([^"\\\x00-\x1f]|\\["\\\/bfnrt])*"/
NUMBER: /-?(0|[1-9][0-9]*)(\.[0-9]+)?/
WS: /[ \n]+/
%ignore WS
"""
# Grammars, the letters of their texts, and the length up to which all texts are tried.
SMALL = {
    "brackets": ('root: "(" root ")" root |', "()", 9),
    "both ends": ('root: root "+" root | "-" root | root "!" | "x" | "(" root ")"', "x+-!(", 5),
    "list": ('root: "[" [root ("," root)*] "]" | "a"', "[],a", 6),
    "ignored": ('root: "(" root ")" | NAME+\nNAME: /[ab]+/\nWS: /[ ]+/\n%ignore WS', "(a) ", 6),
    "ignored, of two kinds": ('root: "a" "b"? root?\n%ignore " "\n%ignore /#[ab]*;/', "ab #;", 5),
    "as many": ('root: "a" root "b" | "c"~0..2', "abc", 7),
    "mutual": ('root: b "x" | "y"\nb: root "z" | "w" root', "xyzw", 6),
    "no end of its own": ("root: root root | root | X\nX: /ab?/", "abc", 6),
    "terminals that overlap": ('root: ("if" | NAME) ("=" root)?\nNAME: /[a-i]+/', "if=", 6),
    "template": ('root: pair{root} | "a"\npair{x}: "<" x x ">"', "<>a", 7),
    "case and classes": (r'root: "Aa"i root? | /\d/ | /[^a1]/', "aA1é", 5),
    "nothing": ('root: "a"*', "ab", 5),
}


def _lark(grammar):
    return lark.Lark(grammar, start="root", parser="earley", lexer="dynamic_complete", g_regex_flags=re.ASCII)


def _parses(judge, text):
    try:
        judge.parse(text)
    except lark.exceptions.LarkError:
        return False
    return True


@pytest.mark.parametrize("name", SMALL)
def test_a_grammar_has_the_texts_that_lark_accepts(name):
    """With a depth that no text of this length needs: both directions."""
    grammar, letters, most = SMALL[name]
    automaton, judge, accepted = of_grammar(grammar, "root", most), _lark(grammar), 0
    for length in range(most + 1):
        for text in map("".join, itertools.product(letters, repeat=length)):
            assert automaton.accepts(text) == _parses(judge, text), text
            accepted += automaton.accepts(text)
    assert accepted >= 4


@pytest.mark.parametrize("depth", range(4))
def test_depth_is_how_often_a_rule_stands_in_itself(depth):
    automaton = of_grammar('root: "(" root ")" | root "," root | "x"', "root", depth)
    for deep in range(6):
        text = "(" * deep + "x" + ")" * deep
        assert automaton.accepts(text) == (deep <= depth)
        assert automaton.accepts(f"{text},x,{text},{text}") == (deep <= depth)


def test_every_depth_is_a_part_of_the_next():
    judge = _lark(JSON)
    automata = [of_grammar(JSON, "root", depth) for depth in range(3)]
    for text, deep in {
        "3": 0,
        "[]": 0,
        "[1, 2]": 1,
        '{"a": {}}': 1,
        "[[1]]": 2,
        '{"a" :[{}]}\n': 2,
        "[[[1]]]": 3,
    }.items():
        assert _parses(judge, text)
        assert [automaton.accepts(text) for automaton in automata] == [deep <= depth for depth in range(3)], text


@pytest.mark.parametrize("grammars", [6, pytest.param(20, marks=pytest.mark.slow)])
def test_random_grammars(grammars):
    """Texts of 5 letters: none of these rules is empty, so none stands in itself more than 4 times."""
    rng, maker, compared = random.Random(0), apart.Maker(seconds=2), 0
    refused = []
    for _ in range(grammars):
        grammar = _random_grammar(rng)
        try:
            automaton, judge = maker.make([grammar, "root", 4]), _lark(grammar)
        except MdmkitError as error:
            refused.append(str(error))
            continue
        for length in range(6):
            for text in map("".join, itertools.product("ab(", repeat=length)):
                assert automaton.accepts(text) == _parses(judge, text), (grammar, text)
        compared += 1
    assert compared >= grammars // 2
    assert all("is too large" in said or "needs more than 2 seconds" in said for said in refused), refused


def _random_grammar(rng):
    names = ["root", "one", "two"]

    def form():
        symbols = rng.choices([*names, '"a"', '"b"', '"("', '"a"?', '("b" | one)*'], k=rng.randint(1, 3))
        return " ".join(symbols)

    return "\n".join(f'{name}: {form()} | {form()} | "{letter}"' for name, letter in zip(names, "ab(", strict=True))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("sampler", ["confidence", "info_gain"])
def test_every_text_that_is_decoded_is_one(sampler, temperature):
    grammar = 'root: "(" root ")" root | "[" list "]" | "a" | "b" root\nlist: root | list "," root'
    judge = _lark(grammar)
    made = compose(
        sampler,
        constraint={"name": "grammar", "grammar": grammar, "depth": 3},
        plan={"length": 12, "tokens_per_step": 3},
        draw={"temperature": temperature},
    )
    rows = decode(made, Brackets(), [Prompt(text="", seed=i, index=i) for i in range(12)]).rows
    assert all(len(row.text) == 12 and _parses(judge, row.text) for row in rows), [row.text for row in rows]


class Brackets(ToyBackbone):
    """The toy with brackets in place of letters."""

    def __init__(self):
        super().__init__(vocab=11)

    def render(self, token):
        return ".ab()[],cd."[token]

    def texts(self):
        return [None, *(c.encode() for c in "ab()[],cd"), None]


# -- files, and what is refused --------------------------------------------------------------------------------------


def test_a_file_holds_the_grammar(tmp_path):
    (tmp_path / "few.lark").write_text('start: "a" start? "b"\n', encoding="utf-8")
    rule = {"name": "grammar", "grammar": str(tmp_path / "few.lark"), "start": "start", "depth": 2}
    (row,) = decode(compose("confidence", constraint=rule, plan={"length": 6}), ToyBackbone(), [""]).rows
    assert row.text == "aaabbb"
    assert "the grammar" in _refused_by_model(rule)
    with pytest.raises(MdmkitError, match="is no file: No such file"):
        Grammar(str(tmp_path / "many.lark"))


def _refused_by_model(rule):
    with pytest.raises(MdmkitError) as caught:
        decode(compose("confidence", constraint=rule, plan={"length": 7}), ToyBackbone(), [""])
    return str(caught.value)


@pytest.mark.parametrize(
    ("grammar", "said"),
    [
        ('root: "a', "cannot be read as a grammar of lark"),
        ('other: "a"', "root"),
        ("root: a", "'a'"),
        ('root: "a" | one\none: "b" one', "rule 'one' never ends"),
        ("root: X\n%declare X", "X"),
        ("root: X\nX: /a*/", "zero-width"),
        ('root: X "c"\nX: /a|ab/', "terminal X is /a|ab/, of which a parser reads 'a' only where 'ab' fits"),
        ('root: X "c"\nX: /a+?/', "terminal X"),
        ("root: X\nX: /(?<!b)a/", "terminal X is not possible here"),
        ("%import common.ESCAPED_STRING\nroot: ESCAPED_STRING", "terminal ESCAPED_STRING is not possible here"),
        ("%import .secret (x)\nroot: x", "only lark's own grammars"),
        ("%import nothing.x\nroot: x", "cannot be read as a grammar of lark"),
        ('root: "a" "b"\nCOMMENT: /#[ab]*/\n%ignore COMMENT', "ignores COMMENT"),
        ('root: "a" " b"\n%ignore /[ ]+/', "what"),
        ('root: "(" root ")" | one\none: "[" root one "]"', "never ends"),
    ],
)
def test_a_grammar_that_cannot_be_kept_is_refused_by_name(grammar, said):
    with pytest.raises(MdmkitError) as caught:
        compose("confidence", constraint={"name": "grammar", "grammar": grammar})
    assert said in str(caught.value) and "constraint.grammar" in str(caught.value)


def test_a_depth_that_is_none_is_refused():
    assert of_grammar('root: "(" root ")" | "z"', "root", 0).accepts("z")
    with pytest.raises(MdmkitError, match=r"constraint\.depth is -1"):
        Grammar('root: "a"', depth=-1)


def test_an_expansion_that_is_too_large_is_refused_in_time(monkeypatch):
    monkeypatch.setattr(apart._maker, "seconds", 2)
    wide = "root: " + " ".join(f'[a{i} "{i}"]' for i in range(40)) + "\n" + "\n".join(f'a{i}: "{i}"' for i in range(40))
    began = time.monotonic()
    with pytest.raises(MdmkitError, match=r"constraint\.grammar is too large"):
        Grammar(wide)
    assert time.monotonic() - began < 15
    with pytest.raises(MdmkitError, match="100000 are the most"):
        Grammar("root: /a/ //" + "x" * 100_000)
