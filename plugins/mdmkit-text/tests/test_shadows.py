"""Shadow columns on real families: they change nothing of the row, and at an open place they say what it says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

import mdmkit
from mdmkit import Guidance, Plan, Sampler, Score
from mdmkit.testing import ByConfidence, TakeQuota

GOLDEN = Path(__file__).parents[3] / "tests" / "golden"
BLOCKS = {"block_length": 8}
CASES = [
    ("llada", {}, ("none", "prefix", "dual")),
    ("lladamoe", {"mask_id": 125}, ("none", "dual")),
    ("sdar", BLOCKS, ("none", "block")),
    ("llada2", {"mask_id": 125, **BLOCKS}, ("none", "block")),
]
PROMPTS = [
    {"prompt_ids": [5, 6, 7], "length": 9},
    {"prompt_ids": [8] * 6, "length": 16},
    {"prompt_ids": [9, 4], "length": 3},
]


def probabilities(belief):
    return belief.logits.double().softmax(-1)


@dataclass(frozen=True)
class Compared(Score):
    """Confidence; notes how far the shadows are from the places that they stand for, at open places and at filled."""

    open: list[float]
    filled: list[float]
    reads: ClassVar[tuple[str, ...]] = ("shadow",)

    def __call__(self, step):
        far = (probabilities(step.shadow) - probabilities(step.belief)).abs().amax(-1)
        self.open.append(float(torch.where(step.open, far, 0.0).max()))
        self.filled.append(float(torch.where(step.member & ~step.open, far, 0.0).max()))
        return step.belief.confidence


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize(
    ("name", "options", "cache"), [(name, options, cache) for name, options, caches in CASES for cache in caches]
)
def test_shadows_agree_with_open_places_under_every_cache_and_leave_the_row_alone(name, options, cache, guidance):
    backbone = mdmkit.load(str(GOLDEN / name), device="cpu", **options)
    shared = {"plan": Plan(block=8, early_stop=False), "cache": cache, "guidance": Guidance(guidance)}
    open_, filled = [], []
    found = mdmkit.decode(Sampler(Compared(open_, filled), TakeQuota(), **shared), backbone, PROMPTS)
    plain = mdmkit.decode(Sampler(ByConfidence(), TakeQuota(), **shared), backbone, PROMPTS)
    assert max(open_) < 1e-5
    assert max(filled) > 0.1  # there a shadow does not see what stands in its place
    assert found.tokens == plain.tokens
    assert found.nfe == plain.nfe


def test_a_model_with_shifted_logits_has_none():
    assert not mdmkit.load(str(GOLDEN / "dream"), device="cpu").shadows
