"""A plugin of the first edition is told in one paragraph what to write instead."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import mdmkit
from mdmkit import MdmkitError, Plan, Sampler
from mdmkit.testing import ByConfidence, LeastEntropyLeft, Spread, TakeQuota, ToyBackbone


@dataclass(frozen=True)
class Old:
    """Does what `use` says, as a score, commit or lookahead of the first edition did."""

    use: str

    def __call__(self, step, *rest):
        if self.use == "span":
            return step.confidence[:, step.span]
        if self.use == "memory":
            return step.memory.get("mine", step.confidence)
        if self.use == "masked":
            return step.canvas.masked.float()
        if self.use == "with_tokens":
            return step.canvas.with_tokens(step.canvas.tokens)
        return rest[-1].masked.float()


class Bare(ToyBackbone):
    def forward(self, *args, **kwargs):
        return super().forward(*args, **kwargs).hidden


class Batches(mdmkit.Observer):
    def on_batch(self, prompts):
        pass


@pytest.mark.parametrize(
    ("use", "kind", "instead"),
    [
        ("span", "score", r"step\.window\(x\)"),
        ("memory", "score", r"step\.recall\(name"),
        ("masked", "score", r"canvas\.open"),
        ("with_tokens", "commit", r"canvas\.filled\(place, tokens\)"),
        ("look", "lookahead", r"look\.open\("),
    ],
)
def test_what_a_stage_read_has_a_new_name(use, kind, instead):
    stages = {"score": ByConfidence(), "select": Spread(3), "lookahead": LeastEntropyLeft(), kind: Old(use)}
    with pytest.raises(MdmkitError, match=instead) as told:
        mdmkit.decode(Sampler(**stages, plan=Plan(length=5)), ToyBackbone(), ["ab"])
    assert "first edition" in str(told.value) and "\n" not in str(told.value)


def test_a_bare_tensor_from_forward_and_batches_to_hear_of():
    sampler = Sampler(ByConfidence(), TakeQuota(), plan=Plan(length=3))
    with pytest.raises(MdmkitError, match=r"returned Tensor from forward, as in the first edition: .*mdmkit\.Output"):
        mdmkit.decode(sampler, Bare(), ["ab"])
    with pytest.raises(MdmkitError, match=r"observer Batches has on_batch.*Write on_admit"):
        mdmkit.decode(sampler, ToyBackbone(), ["ab"], observers=[Batches()])
