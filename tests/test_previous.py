"""A model that hears what it said of a state before: always of that row, that branch and those columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

import mdmkit
from mdmkit import Commit, Guidance, Output, Plan, Sampler, Stop
from mdmkit.testing import ByConfidence, LeastEntropyLeft, Spread, TakeQuota, ToyBackbone

PROMPTS = [
    {"prompt_ids": [1, 4], "length": 7, "seed": 1},
    {"prompt_ids": [2, 4, 5], "length": 9, "seed": 2},
    {"prompt_ids": [3], "length": 5, "seed": 3},
]


class Hears(ToyBackbone):
    """Says, of each row, its first token; of each column, its position; of each pair of columns, both together.

    `known` collects all that it hears which is not 0, beside what it should be. A cache only narrows its columns.
    """

    offers: ClassVar = {"row": "row", "column": "column", "pair": "key"}
    feeds_back = True
    shadows = False
    caches = frozenset({"none", "prefix", "dual"})

    def __init__(self):
        super().__init__()
        self.heard, self.right = 0, []

    def forward(self, tokens, valid, conditioning, *, positions, cache=None, extras=(), previous=None):
        free = torch.arange(len(tokens)) >= len(tokens) // 2 if (tokens == self.mask_id).all(1).any() else None
        width = int(positions.max()) + 1
        says = {
            "row": self.whose(tokens, positions, cache, free),
            "column": positions.double() + 1,
            "pair": (positions + 1)[..., None] * torch.arange(1, width + 1).double(),
        }
        if previous is not None:
            for name, x in says.items():
                was = previous[name]
                if name == "pair":
                    assert was.shape[:2] == x.shape[:2] and was.shape[2] >= width
                    was = was[..., :width]
                assert was.shape == x.shape
                known = (was != 0) & (valid.view(*valid.shape, *[1] * (x.dim() - 2)) if x.dim() > 1 else x > 0)
                self.heard += int(known.sum())
                self.right.append(bool((was == x)[known].all()))
        hidden = super().forward(tokens, valid, conditioning, positions=positions).hidden
        return Output(hidden, says)

    def whose(self, tokens, positions, cache, free):
        """A number for each row: its first token if it is among the columns, else 0 (which is not compared)."""
        return torch.where(positions[:, 0] == 0, tokens[:, 0], 0).double()


class HearsBranches(Hears):
    """Says which branch a row is of: without its prompt the first column holds the mask."""

    def whose(self, tokens, positions, cache, free):
        return torch.where(tokens[:, 0] == self.mask_id, 7.0, 3.0).double()


@dataclass(frozen=True)
class Opens(Commit):
    """Write, as a commit that may also write something else."""

    rewrites: ClassVar[bool] = True

    def __call__(self, step, actions, choice):
        return step.written(*actions.take(choice))


@dataclass(frozen=True)
class Early(Stop):
    fill: ClassVar[str] = "best"

    def __call__(self, step):
        return step.tick >= 4


COMPARES = (ByConfidence(), Spread(3), LeastEntropyLeft())
SAMPLERS = {
    "greedy": Sampler(ByConfidence(), TakeQuota()),
    "rewrites": Sampler(ByConfidence(), TakeQuota(), commit=Opens()),
    "compares": Sampler(*COMPARES),
    "compares, rewrites": Sampler(*COMPARES, commit=Opens()),
    "compares, in blocks": Sampler(*COMPARES, plan=Plan(block=4)),
    "a beam": replace(mdmkit.compose("beam"), plan=Plan(block=4)),
    "particles": replace(mdmkit.compose("esmc"), plan=Plan(block=4)),
    "filled at once": Sampler(ByConfidence(), TakeQuota(), stop=Early()),
}


@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_state_is_told_what_was_said_of_its_own_row_and_columns(name, cache):
    backbone = Hears()
    sampler = replace(SAMPLERS[name], cache=cache)
    together = mdmkit.decode(sampler, backbone, PROMPTS, batch=2)
    assert backbone.heard > 100 and all(backbone.right)
    alone = [mdmkit.decode(sampler, Hears(), [prompt]).rows[0] for prompt in PROMPTS]
    assert [row.tokens for row in together.rows] == [row.tokens for row in alone]


@pytest.mark.parametrize("name", SAMPLERS)
def test_under_guidance_each_branch_is_told_what_was_said_of_it(name):
    backbone = HearsBranches()
    mdmkit.decode(replace(SAMPLERS[name], guidance=Guidance(2.0)), backbone, PROMPTS)
    assert backbone.heard > 100 and all(backbone.right)


def test_what_a_part_reads_of_pairs_of_columns_is_as_wide_as_the_row():
    widths = []

    @dataclass(frozen=True)
    class Reads(ByConfidence):
        reads: ClassVar = ("pair",)

        def __call__(self, step):
            pair = step.extra["pair"]
            assert pair.shape == (*step.open.shape, step.canvas.tokens.shape[1])
            own = (step.position + 1)[..., None] * torch.arange(1, pair.shape[-1] + 1)
            assert bool(((pair == own) | (pair == 0))[step.member].all())
            widths.append(pair.shape)
            return step.confidence

    for cache in ("none", "prefix", "dual"):
        for rest in ((TakeQuota(),), COMPARES[1:]):
            mdmkit.decode(Sampler(Reads(), *rest, plan=Plan(block=4), cache=cache), Hears(), PROMPTS, batch=2)
    assert len(widths) > 20


class Counts(ToyBackbone):
    """Says, of each row and of each of its columns, how often it was forwarded; `heard` collects what it hears."""

    offers: ClassVar = {"row": "row", "column": "column"}
    feeds_back = True
    shadows = False

    def __init__(self):
        super().__init__()
        self.heard = []

    def forward(self, tokens, valid, conditioning, *, positions, cache=None, extras=(), previous=None):
        before = previous or {"row": torch.zeros(len(tokens)), "column": torch.zeros(tokens.shape)}
        assert all(bool((column[own] == row).all()) for row, column, own in zip(*before.values(), valid, strict=True))
        self.heard.append(before["row"].tolist())
        hidden = super().forward(tokens, valid, conditioning, positions=positions).hidden
        return Output(hidden, {name: x + 1 for name, x in before.items()})


def test_what_was_said_of_a_row_stays_when_another_row_joins():
    backbone = Counts()
    engine = mdmkit.Engine(Sampler(ByConfidence(), TakeQuota()), backbone, 2)
    early, late = mdmkit.read_prompts(PROMPTS[:2], 0)
    engine.admit(early)
    for _ in range(3):
        engine.step()
    engine.admit(late)
    for _ in range(2):
        engine.step()
    assert backbone.heard == [[0], [1], [2], [3, 0], [4, 1]]
