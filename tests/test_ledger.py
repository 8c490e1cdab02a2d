"""What steps wrote comes into the trace for several steps at once: the trace is that of one step at a time."""

import dataclasses

import pytest
import torch

import mdmkit
from mdmkit import Sampler
from mdmkit.loop import ledger
from mdmkit.testing import ByConfidence, TakeQuota, ToyBackbone

PROMPTS = [{"prompt": "ab", "length": 9}, {"prompt": "c", "length": 24}, {"prompt": "a__b_", "length": 3}]
PROMPTS += [{"prompt": "cab", "length": 17}]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ["confidence", "threshold", "info_gain", "remdm", "saber", "beam", "best_of_n"])
def test_the_trace_does_not_depend_on_how_many_steps_are_kept(name, batch, monkeypatch):
    sampler = mdmkit.compose(name, plan={"block": 8})
    backbone = ToyBackbone(dtype=torch.float64)
    several = mdmkit.decode(sampler, backbone, PROMPTS, seed=3, batch=batch)
    monkeypatch.setattr(ledger, "MOST", 1)
    one = mdmkit.decode(sampler, backbone, PROMPTS, seed=3, batch=batch)
    assert several.tokens == one.tokens
    assert [row.trace for row in several.rows] == [row.trace for row in one.rows]


def test_more_steps_than_are_kept():
    prompt = {"prompt": "a", "length": 3 * ledger.MOST}
    row = mdmkit.decode(mdmkit.compose("confidence"), ToyBackbone(), [prompt]).rows[0]
    assert sorted(row.trace["order"])[-3 * ledger.MOST :] == list(range(3 * ledger.MOST))


class Buffered(TakeQuota):
    """Hands out the same tensor at every step."""

    def __call__(self, step, scores):
        actions = super().__call__(step, scores)
        kept = step.shared.setdefault("buffered.place", torch.zeros_like(actions.place))
        return dataclasses.replace(actions, place=kept.copy_(actions.place))


def test_a_select_may_use_its_tensors_again():
    prompt = [{"prompt": "ab", "length": 7}]
    own, again = (
        mdmkit.decode(Sampler(ByConfidence(), select), ToyBackbone(), prompt) for select in (TakeQuota(), Buffered())
    )
    assert own.tokens == again.tokens and own.trace == again.trace
