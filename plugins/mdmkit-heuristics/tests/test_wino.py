"""WINO equals its rule written out, with the shadow block as columns of the sequence itself."""

import math

import pytest
import torch

import mdmkit
from mdmkit import MdmkitError, Plan, Sampler
from mdmkit.testing import ToyBackbone
from mdmkit_heuristics.scores import Confidence
from mdmkit_heuristics.wino import WinoFill, WinoVerify

TOY = ToyBackbone(dtype=torch.float64)
PROMPTS = ("ab", "c", "abcde", "fedcbafedc", "aaa")


def attended(tokens, start, size):
    """Distributions of the row's columns and of the shadows of [start, start + size), each a list of lists."""
    length = len(tokens)
    ids = torch.tensor([*tokens, *[TOY.mask_id] * size])
    at = torch.tensor([*range(length), *range(start, start + size)])
    sees = torch.zeros(length + size, length + size, dtype=torch.bool)
    sees[:, :length] = True
    for i in range(size):
        sees[length + i, start + i] = False
        sees[length + i, length:] = True
    rates = 30.0 ** -(torch.arange(8, dtype=torch.float64) / 8)
    angle = at[:, None] * rates
    x = TOY.embedding[ids] + torch.cat((angle.sin(), angle.cos()), -1)
    for layer in TOY.layers:
        match = (x @ layer["q"]) @ (x @ layer["k"]).T / math.sqrt(16)
        x = x + match.masked_fill(~sees, -torch.inf).softmax(-1) @ (x @ layer["v"])
        x = x + (x @ layer["up"]).tanh() @ layer["down"]
        x = x / x.square().mean(-1, keepdim=True).sqrt()
    logits = x @ TOY.head
    logits[:, [TOY.mask_id, *TOY.forbidden]] = -torch.inf
    p = logits.softmax(-1).tolist()
    return p[:length], p[length:]


def literal(prompt, length, block, fill, verify):
    """Tokens, forwards, and how many positions were masked again."""
    tokens = [ord(letter) - 96 for letter in prompt]
    begin, forwards, again = len(tokens), 0, 0
    tokens += [TOY.mask_id] * length
    for start in range(begin, begin + length, block):
        size = min(block, begin + length - start)
        last = 30
        while left := [i for i in range(start, start + size) if tokens[i] == TOY.mask_id]:
            (p, shadow), forwards = attended(tokens, start, size), forwards + 1
            sure = [i for i in left if max(p[i]) > fill.threshold] or [max(left, key=lambda i: (max(p[i]), -i))]
            most = min(max(int(len(left) * fill.share), fill.least), fill.most)
            accepted = sorted(sure, key=lambda i: (-max(p[i]), i))[:most]
            kept = {i: shadow[i - start][tokens[i]] for i in range(start, start + size) if i not in left}
            doubted = sorted((i for i in kept if kept[i] < verify.threshold), key=lambda i: (kept[i], i))
            for i in accepted:
                tokens[i] = p[i].index(max(p[i]))
            for i in doubted[: last - 1] if len(accepted) > 1 else ():
                tokens[i], again = TOY.mask_id, again + 1
            last = len(accepted)
    return tokens[begin:], forwards, again


RULES = {
    "paper": (WinoFill(), WinoVerify()),
    "easily": (WinoFill(threshold=0.2), WinoVerify(0.5)),
    "bounded": (WinoFill(threshold=0.1, share=0.5, least=2, most=4), WinoVerify(0.9)),
    "doubts all": (WinoFill(threshold=0.25, least=3), WinoVerify(1.0)),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("block", [16, 5])
def test_rows_are_those_of_the_rule(name, block):
    fill, verify = RULES[name]
    plan = Plan(length=16, block=block)
    decoded = mdmkit.decode(Sampler(Confidence(), fill, commit=verify, plan=plan), TOY, list(PROMPTS))
    expected = [literal(prompt, 16, block, fill, verify) for prompt in PROMPTS]
    assert [row.tokens for row in decoded.rows] == [tokens for tokens, _, _ in expected]
    assert [row.nfe for row in decoded.rows] == [forwards for _, forwards, _ in expected]
    assert all(forwards <= 16 for _, forwards, _ in expected)
    # A block of five is filled before its first token can be doubted, unless few positions are filled at once.
    assert any(again for _, _, again in expected) == ((name, block) not in {("paper", 5), ("easily", 5)})
    assert min(forwards for _, forwards, _ in expected) < 16


def test_what_nothing_doubts_is_plain_threshold_decoding():
    fill = WinoFill(threshold=0.3, share=1.0, most=100)
    rows = mdmkit.decode(
        Sampler(Confidence(), fill, commit=WinoVerify(0.0), plan=Plan(length=12)), TOY, list(PROMPTS)
    ).rows
    assert [row.tokens for row in rows] == [literal(p, 12, 12, fill, WinoVerify(0.0))[0] for p in PROMPTS]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (lambda: WinoFill(threshold=1.5), "threshold=1.5"),
        (lambda: WinoFill(share=-0.1), "share=-0.1"),
        (lambda: WinoFill(least=0), "1 ≤ least ≤ most"),
        (lambda: WinoFill(least=9, most=8), "1 ≤ least ≤ most"),
        (lambda: WinoVerify(threshold=-1.0), "threshold=-1.0"),
    ],
)
def test_parameters_out_of_range_are_refused(part, words):
    with pytest.raises(MdmkitError, match=words):
        part()
