"""DAEDAL equals its rule written out; rows grow to their bound, and those that hold given tokens do not grow."""

import pytest
import torch

import mdmkit
from mdmkit import MdmkitError, Plan, Sampler
from mdmkit.testing import ToyBackbone
from mdmkit_heuristics.daedal import DaedalFill, DaedalGrow
from mdmkit_heuristics.scores import Confidence

TOY = ToyBackbone(dtype=torch.float64)
MASK = TOY.mask_id
PROMPTS = ("ab", "c", "abcde", "fedcbafedc", "aaa")


def seen(tokens):
    """Distributions of a row, a list of lists."""
    row = torch.tensor([tokens])
    out = TOY.forward(row, torch.ones_like(row).bool(), None, positions=torch.arange(len(tokens))[None])
    logits = TOY.project(out.hidden)[0]
    logits[:, [MASK, *TOY.forbidden]] = -torch.inf
    return logits.softmax(-1).tolist()


def literal(prompt, length, room, fill, grow):
    """The row's tokens, forwards, and what happened: additions of stage 1, insertions, tokens that have moved."""
    tokens = [ord(letter) - 96 for letter in prompt] + [MASK] * length
    begin, limit, forwards = len(prompt), len(prompt) + length + room, 0
    added = inserted = moved = 0

    def certainty(p):
        ends = [i for i in range(begin, len(tokens)) if p[i].index(max(p[i])) == grow.end]
        return sum(max(p[i]) for i in ends[-grow.span :]) / grow.span

    p, forwards = seen(tokens), 1
    while certainty(p) < grow.enough and len(tokens) < limit:
        tokens += [MASK] * min(grow.more, limit - len(tokens))
        p, forwards, added = seen(tokens), forwards + 1, added + 1
    if grow.tail and len(tokens) < limit:
        tokens += [grow.end] * min(grow.tail, limit - len(tokens))
        p, forwards = seen(tokens), forwards + 1
    while True:
        left = [i for i, token in enumerate(tokens) if token == MASK]
        stop = begin + ((left[0] - begin) // fill.size + 1) * fill.size
        inside = [i for i in left if i < stop]
        c = [max(each) for each in p]
        chosen = [i for i in inside if c[i] > fill.threshold] or [max(inside, key=lambda i: (c[i], -i))]
        doubted = [i for i in inside if i not in chosen and c[i] < grow.low]
        for i in chosen:
            tokens[i] = p[i].index(c[i])
        if doubted and certainty(p) < grow.full and len(tokens) < limit:
            at = min(doubted, key=lambda i: (c[i], i))
            inserted, moved = inserted + 1, moved + sum(token != MASK for token in tokens[at + 1 :])
            tokens[at + 1 : at + 1] = [MASK] * min(grow.more - 1, limit - len(tokens))
        if MASK not in tokens:
            return tokens, forwards, (added, inserted, moved)
        p, forwards = seen(tokens), forwards + 1


RULES = {
    "usual": (DaedalFill(0.6, 6), DaedalGrow(end=4, enough=0.4, full=0.5, low=0.5, more=3, span=4, tail=2)),
    "no tail": (DaedalFill(0.5, 5), DaedalGrow(end=8, enough=0.4, full=0.6, low=0.45, more=4, span=3, tail=0)),
    "inserts often": (DaedalFill(0.9, 32), DaedalGrow(end=4, enough=0.0, full=1.0, low=0.5, more=2, span=8, tail=3)),
    "long at once": (DaedalFill(0.4, 4), DaedalGrow(end=3, enough=1.0, full=0.0, low=0.9, more=5, span=32, tail=9)),
}


@pytest.mark.parametrize("room", [0, 1, 7, 20])
@pytest.mark.parametrize("name", RULES)
def test_it_decodes_as_its_rule_written_out(name, room):
    fill, grow = RULES[name]
    sampler = Sampler(Confidence(), fill, commit=grow, plan=Plan(length=10, room=room, early_stop=False))
    rows = mdmkit.decode(sampler, TOY, list(PROMPTS)).rows
    expected = [literal(prompt, 10, room, fill, grow) for prompt in PROMPTS]
    assert [row.trace["tokens"] for row in rows] == [tokens for tokens, _, _ in expected]
    assert [row.nfe for row in rows] == [forwards for _, forwards, _ in expected]
    assert all(len(row.tokens) <= 10 + room for row in rows)
    if room == 20:
        added, inserted, moved = (sum(counts) for counts in zip(*(each for _, _, each in expected), strict=True))
        assert added > 0 or name == "inserts often"
        assert (inserted > 0 and moved > 0) or name == "long at once"


def test_a_row_that_holds_given_tokens_does_not_grow():
    """Its other tokens would have to move past them. Beside it another row grows."""
    sampler = Sampler(Confidence(), DaedalFill(), commit=DaedalGrow(end=1, more=4), plan=Plan(length=6, room=12))
    rows = mdmkit.decode(sampler, TOY, ["a__b___c_", "ab"]).rows
    tokens = rows[0].trace["tokens"]
    assert [tokens[i] for i in (0, 3, 7)] == [1, 2, 3]
    assert [len(row.trace["tokens"]) for row in rows] == [9, 2 + 6 + 12]


def test_a_row_that_grows_in_one_block_of_the_plan_only_is_refused():
    sampler = Sampler(Confidence(), DaedalFill(), commit=DaedalGrow(end=1), plan=Plan(length=8, block=4, room=4))
    with pytest.raises(MdmkitError, match=r"commit DaedalGrow failed at tick 0.*set plan\.block=null, or plan\.room=0"):
        mdmkit.decode(sampler, TOY, ["ab"])


def test_a_model_with_attention_by_blocks_is_refused():
    class Blocks(ToyBackbone):
        attention = "block"

    sampler = Sampler(Confidence(), DaedalFill(), commit=DaedalGrow(end=1), plan=Plan(length=8, room=4))
    with pytest.raises(MdmkitError, match="commit daedal: this model has attention by blocks"):
        mdmkit.decode(sampler, Blocks(), ["ab"])


@pytest.mark.parametrize(
    ("ends", "words"),
    [((), r"it names no end token of its own\. Set it: --set commit\.end=ID"), ((1, 5), r"are 1, 5\. .*commit\.end=1")],
)
def test_an_end_token_of_another_model_is_refused(ends, words):
    toy = ToyBackbone()
    toy.ends = ends
    with pytest.raises(MdmkitError, match=words):
        mdmkit.decode(mdmkit.compose("daedal"), toy, ["ab"])


def test_a_token_that_the_model_may_not_write_is_refused():
    with pytest.raises(MdmkitError, match="commit daedal: end=0 is not the token with which this model ends an answer"):
        mdmkit.decode(mdmkit.compose("daedal", commit={"end": 0}), TOY, ["ab"])


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (lambda: DaedalFill(threshold=1.5), r"select daedal: threshold=1\.5: it must be from 0 to 1"),
        (lambda: DaedalFill(size=0), "select daedal: size=0: a block has at least 1 position"),
        (lambda: DaedalGrow(enough=-1), "commit daedal: enough=-1: it must be from 0 to 1"),
        (lambda: DaedalGrow(full=2), "commit daedal: full=2: it must be from 0 to 1"),
        (lambda: DaedalGrow(low=2), "commit daedal: low=2: it must be from 0 to 1"),
        (lambda: DaedalGrow(end=-1), "commit daedal: end=-1: it must be at least 0"),
        (lambda: DaedalGrow(more=1), "commit daedal: more=1: it must be at least 2"),
        (lambda: DaedalGrow(span=0), "commit daedal: span=0: it must be at least 1"),
        (lambda: DaedalGrow(tail=-1), "commit daedal: tail=-1: it must be at least 0"),
    ],
)
def test_parameters_out_of_range_are_refused(part, words):
    with pytest.raises(MdmkitError, match=words):
        part()
