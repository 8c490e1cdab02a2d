"""DAWN equals its rule written out, position by position, with the attention of the toy computed by hand."""

import math
import random

import pytest
import torch

import mdmkit
from mdmkit import MdmkitError, Plan, Sampler
from mdmkit.testing import ToyBackbone
from mdmkit_heuristics.dawn import Dawn, independent
from mdmkit_heuristics.scores import Confidence

TOY = ToyBackbone(dtype=torch.float64)
PROMPTS = ("ab", "c", "abcde", "fedcbafedc", "aaa")


def seen(tokens):
    """Distributions and attention of a row, each a list of lists."""
    rates = 30.0 ** -(torch.arange(8, dtype=torch.float64) / 8)
    angle = torch.arange(len(tokens))[:, None] * rates
    x = TOY.embedding[torch.tensor(tokens)] + torch.cat((angle.sin(), angle.cos()), -1)
    attention = []
    for layer in TOY.layers:
        attention.append(((x @ layer["q"]) @ (x @ layer["k"]).T / math.sqrt(16)).softmax(-1))
        x = x + attention[-1] @ (x @ layer["v"])
        x = x + (x @ layer["up"]).tanh() @ layer["down"]
        x = x / x.square().mean(-1, keepdim=True).sqrt()
    logits = x @ TOY.head
    logits[:, [TOY.mask_id, *TOY.forbidden]] = -torch.inf
    return logits.softmax(-1).tolist(), (sum(attention) / len(attention)).tolist()


def literal(prompt, length, size, rule):
    """Tokens, forwards, and how many positions were of the second and third kind."""
    tokens = [ord(letter) - 96 for letter in prompt] + [TOY.mask_id] * length
    begin, forwards, kinds, written = len(prompt), 0, [0, 0], {}
    for start in range(begin, len(tokens), size):
        block = range(start, min(start + size, len(tokens)))
        while left := [i for i in block if tokens[i] == TOY.mask_id]:
            (p, a), forwards = seen(tokens), forwards + 1
            sink = [sum(a[i][j] for i in block) / len(block) > rule.sink for j in range(len(tokens))]
            edges = {
                (i, j) for i in block for j in range(len(tokens)) if i != j and a[i][j] >= rule.edge and not sink[j]
            }
            anchors = [*range(begin), *(i for i, c in written.items() if c >= rule.high)]
            c = {i: max(p[i]) for i in left}
            first = {i for i in left if c[i] >= rule.high}
            second = {i for i in left if c[i] >= rule.induced and any((i, j) in edges for j in anchors)} - first
            chosen = first | second
            rivals = {i: {j for j in left if (i, j) in edges or (j, i) in edges} for i in left}
            rest = [i for i in left if c[i] >= rule.low and i not in chosen and not rivals[i] & chosen]
            third = []
            for i in sorted(rest, key=lambda i: (-c[i], i)):
                if not rivals[i] & {*third}:
                    third.append(i)
            kinds = [kinds[0] + len(second), kinds[1] + len(third)]
            for i in (chosen | {*third}) or {min(left, key=lambda i: (-c[i], i))}:
                tokens[i], written[i] = p[i].index(c[i]), c[i]
    return tokens[begin:], forwards, kinds


RULES = {
    "paper": Dawn(),
    "easily": Dawn(high=0.4, induced=0.35, low=0.1, edge=0.1, sink=0.3),
    "anchors": Dawn(high=0.35, induced=0.0, low=1.0, edge=0.08, sink=0.3),
    "independent": Dawn(high=1.0, induced=1.0, low=0.0, edge=0.05, sink=1.0),
}


@pytest.mark.parametrize("block", [4, 12])
@pytest.mark.parametrize("name", RULES)
def test_it_decodes_as_its_rule_written_out(name, block):
    rule = RULES[name]
    sampler = Sampler(Confidence(), rule, plan=Plan(length=12, block=block))
    rows = mdmkit.decode(sampler, TOY, list(PROMPTS)).rows
    expected = [literal(prompt, 12, block, rule) for prompt in PROMPTS]
    assert [row.tokens for row in rows] == [tokens for tokens, _, _ in expected]
    assert [row.nfe for row in rows] == [forwards for _, forwards, _ in expected]
    second, third = (sum(kinds[n] for _, _, kinds in expected) for n in (0, 1))
    assert second > 0 or name in ("paper", "independent")
    assert third > 0 or name in ("paper", "anchors")


def test_independent_positions_are_those_of_one_at_a_time():
    draw = random.Random(0)
    for _ in range(200):
        n = draw.randrange(1, 9)
        value = [draw.choice((0.1, 0.2, 0.5, 0.9)) for _ in range(n)]
        eligible = [draw.random() < 0.8 for _ in range(n)]
        pairs = {(i, j) for i in range(n) for j in range(i) if draw.random() < 0.4}
        apart = pairs | {(j, i) for i, j in pairs}
        expected = []
        for i in sorted(range(n), key=lambda i: (-value[i], i)):
            if eligible[i] and not any((i, j) in apart for j in expected):
                expected.append(i)
        table = torch.tensor([[(i, j) in apart for j in range(n)] for i in range(n)])
        found = independent(torch.tensor([eligible]), torch.tensor([value]), table[None])
        assert found[0].nonzero()[:, 0].tolist() == sorted(expected)


def test_a_model_without_attention_is_refused():
    class Blind(ToyBackbone):
        offers = {}  # noqa: RUF012

    with pytest.raises(MdmkitError, match=r"select Dawn .*reads 'attention', and backbone 'Blind' does not offer it"):
        mdmkit.decode(mdmkit.compose("dawn"), Blind(), ["ab"])


@pytest.mark.parametrize("name", ["high", "induced", "low", "edge", "sink"])
def test_numbers_out_of_range_are_refused(name):
    with pytest.raises(MdmkitError, match=rf"{name}=1.5: it must be from 0 to 1"):
        Dawn(**{name: 1.5})
