"""A corpus table for the toy model, and the slow way to decode it: position by position, with a rule written out."""

from __future__ import annotations

import math

import pytest
import torch

import mdmkit
from mdmkit import Plan, Sampler
from mdmkit.testing import ToyBackbone
from mdmkit_heuristics.frequency import count


@pytest.fixture(scope="session")
def toy_table(tmp_path_factory):
    """The path of a table in which letter k occurs 3·k times, but k = 4 never."""
    pieces = [[k] * (3 * k) for k in range(1, 11) if k != 4]
    path = tmp_path_factory.mktemp("corpus") / "toy.json"
    count(pieces, ToyBackbone(), "toy:0", "made up").save(path)
    return str(path)


TOY = ToyBackbone(dtype=torch.float64)
PROMPTS = ("ab", "c", "abcde", "fedcbafedc")


def probabilities(tokens):
    """Each position's distribution, as lists; what may not be chosen has none."""
    row = torch.tensor([tokens])
    positions = torch.arange(len(tokens))[None]
    out = TOY.forward(row, torch.ones_like(row).bool(), None, positions=positions)
    logits = TOY.project(out.hidden)[0]
    logits[:, [TOY.mask_id, *TOY.forbidden]] = -torch.inf
    return logits.softmax(-1).tolist()


class Moment:
    """One step of one row: what a literal rule may look at. Columns are counted from the start of the block."""

    def __init__(self, p, tokens, start, size, quota, memory):
        self.quota, self.memory, self.size = quota, memory, size
        self.p = p[start : start + size]
        self.tokens = tokens[start : start + size]
        self.open = [i for i in range(size) if self.tokens[i] == TOY.mask_id]
        self.written = [i for i in range(size) if i not in self.open]
        self.best = [max(range(TOY.vocab), key=lambda v, p=p: p[v]) for p in self.p]
        self.c = [max(p) for p in self.p]
        self.h = [-sum(q * math.log(q) for q in p if q > 0) for p in self.p]

    def top(self, n, among=None, by=None):
        by = self.c if by is None else by
        return sorted(self.open if among is None else among, key=lambda i: (-by[i], i))[:n]


def decode(prompt, rule, length=8, block=None, steps=None, remask=None):
    """Tokens and number of forwards. `rule(moment)` gives the columns to fill, or {column: token}."""
    tokens = [ord(letter) - 96 for letter in prompt]
    begin = len(tokens)
    tokens += [TOY.mask_id] * length
    sizes = [min(block or length, length - at) for at in range(0, length, block or length)]
    targets = Plan(steps=steps).targets(sizes)
    forwards, memory = 0, {}
    for j, size in enumerate(sizes):
        start, taken = begin + j * (block or length), 0
        memory = {key: value for key, value in memory.items() if key.startswith("row")}
        while TOY.mask_id in tokens[start : start + size]:
            forwards += 1
            p = probabilities(tokens)
            number = tokens[start : start + size].count(TOY.mask_id)
            allowed = targets[j][taken] if taken < len(targets[j]) else 0
            moment = Moment(p, tokens, start, size, max(1, number - allowed), memory)
            chosen = rule(moment)
            fill = chosen if isinstance(chosen, dict) else {i: moment.best[i] for i in chosen}
            assert fill
            again = remask(moment, fill) if remask else []
            for i, token in fill.items():
                tokens[start + i] = token
            for i in again:
                tokens[start + i] = TOY.mask_id
            taken += 1
    return tokens[begin:], forwards


def compare(rule, score, select, commit=None, remask=None, blocks=(None, 4, 5), steps=(None, 3), length=10):
    """Decode every prompt both ways; returns how many forwards they took, to see that the rule did something."""
    counts = []
    for block in blocks:
        for number in steps:
            stages = {"score": score, "select": select, **({"commit": commit} if commit else {})}
            sampler = Sampler(plan=Plan(length=length, block=block, steps=number), **stages)
            expected = [decode(prompt, rule, length, block, number, remask) for prompt in PROMPTS]
            decoded = mdmkit.decode(sampler, TOY, list(PROMPTS))
            assert decoded.tokens == [tokens for tokens, _ in expected]
            assert [row.nfe for row in decoded.rows] == [forwards for _, forwards in expected]
            counts += [forwards for _, forwards in expected]
    return counts


@pytest.fixture(name="compare", scope="session")
def _compare():
    return compare
