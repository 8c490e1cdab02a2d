"""Beliefs at open positions only: the same tokens as with beliefs everywhere, and no head for what is filled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

import mdmkit
from mdmkit import Commit, Observer, Plan, Sampler, ops
from mdmkit.stage.belief import Belief
from mdmkit.testing import ByConfidence, TakeQuota, ToyBackbone

SAMPLERS = (
    "confidence",
    "entropy",
    "margin",
    "info_gain",
    "lookum",
    "beam",
    "klass",
    "less",
    "mean_field",
    "threshold",
    "best_of_n",
)
PROMPTS = [{"prompt": "ab", "length": 9}, {"prompt": "c", "length": 14}, {"prompt": "a__b_", "length": 3}]


@dataclass(frozen=True)
class Everywhere(ByConfidence):
    reads = ("written",)


class Heads(ToyBackbone):
    """Counts the positions at which the head runs."""

    heads = 0

    def project(self, hidden):
        self.heads += hidden[..., 0].numel()
        return super().project(hidden)


class Reading(Observer):
    reads = ("written",)

    def __init__(self):
        self.flat = []

    def on_step(self, step, actions, choice):
        filled = step.member & ~step.open
        self.flat += [bool((step.belief.entropy[filled] - torch.tensor(step.belief.vocab).log()).abs().lt(1e-6).any())]


class Blind(Reading):
    reads = ()


def composed(name, **draw):
    return mdmkit.compose(name, plan={"block": 5}, draw=draw)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_tokens_and_traces_are_those_of_beliefs_everywhere(name, temperature, monkeypatch):
    sampler = composed(name, temperature=temperature, repetition_penalty=1.2)
    backbone = ToyBackbone(dtype=torch.float64)
    packed = mdmkit.decode(sampler, backbone, PROMPTS, seed=3)
    monkeypatch.setattr("mdmkit.loop.state.reads_open_only", lambda sampler: False)
    whole = mdmkit.decode(sampler, backbone, PROMPTS, seed=3)
    assert packed.tokens == whole.tokens
    for one, other in zip(packed.rows, whole.rows, strict=True):
        assert one.nfe == other.nfe
        assert one.uncertainty == pytest.approx(other.uncertainty, abs=1e-9)
        assert one.trace["order"] == other.trace["order"]
        assert one.trace["confidence"] == pytest.approx(other.trace["confidence"], abs=1e-6)


@dataclass(frozen=True)
class Odd:
    """Stops a row now and then, with positions open."""

    def __call__(self, step):
        return (step.canvas.tokens.sum(1) + step.tick) % 5 == 0


@dataclass(frozen=True)
class GrowsOnce(Commit):
    rewrites: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def __call__(self, step, actions, choice):
        canvas = step.written(*actions.take(choice))
        more = canvas.positions - canvas.lengths[:, None]
        return canvas.grown((more >= 0) & (more < 4) & ((step.tick == 1) & step.active)[:, None])


@dataclass(frozen=True)
class Unmasked:
    """Sums over all columns, also over those that are not open: they must read 0."""

    def __call__(self, step, actions, look):
        return -look(lambda belief: belief.entropy + 1).sum(-1).float()


@dataclass(frozen=True)
class Twice:
    """Reads a column's left neighbour: at the edge, the same column twice."""

    def __call__(self, step, actions, look):
        left = (torch.arange(step.width) - 1).clamp_min(0).expand(step.rows, -1)
        return -look(lambda belief: belief.entropy, "block", left).sum(-1).float()


def on_a_gpu(monkeypatch):
    """Let `ops.marked` do what it does on a GPU; returns what it is asked: open positions, and the host's bound."""
    asked = []

    def marked(flags, most):
        asked.append((int(flags.sum()), most))
        return (~flags.flatten()).to(torch.uint8).argsort(stable=True)[: max(1, most)]

    monkeypatch.setattr(ops, "marked", marked)
    return asked


def samplers():
    base = mdmkit.compose("info_gain", plan={"block": 5})
    ahead = replace(base.lookahead, scope="sequence")
    found = {name: composed(name) for name in SAMPLERS}
    found |= {f"{name} that ends": composed(name, temperature=1.0) for name in ("ebon", "esmc", "beam", "best_of_n")}
    for name in ("best_of_n", "esmc"):
        search = mdmkit.compose(name, draw={"temperature": 1.0})
        found[f"{name} that stops"] = replace(base, lookahead=ahead, search=search.search, stop=Odd(), draw=search.draw)
    found["grows"] = replace(base, lookahead=ahead, commit=GrowsOnce(), plan=Plan(block=8, room=4))
    found["reads a column twice"] = replace(base, lookahead=Twice())
    found["reads all columns"] = replace(base, lookahead=Unmasked())
    return found


@pytest.mark.parametrize("name", samplers())
def test_the_host_knows_how_many_positions_are_open(name, monkeypatch):
    """On a GPU the number of open positions comes from the host; were it too small, some would not be read."""
    sampler = samplers()[name]
    for seed in range(4):
        backbone = ToyBackbone(dtype=torch.float64)
        if name.endswith("ends"):
            backbone.ends = backbone.endings = (2,)
        with monkeypatch.context() as patch:
            expected = mdmkit.decode(sampler, backbone, PROMPTS, seed=seed)
            asked = on_a_gpu(patch)
            got = mdmkit.decode(sampler, backbone, PROMPTS, seed=seed)
        assert got.tokens == expected.tokens
        assert asked and all(count <= most for count, most in asked)
        # Without a lookahead and a search the bound is the number itself.
        if name in ("confidence", "entropy", "margin", "threshold", "klass"):
            assert all(count == most for count, most in asked)


def test_the_head_runs_once_for_each_open_position():
    backbone = Heads()
    mdmkit.decode(Sampler(ByConfidence(), TakeQuota()), backbone, [{"prompt": "ab", "length": 12}])
    assert backbone.heads == sum(range(1, 13))
    everywhere = Heads()
    mdmkit.decode(Sampler(Everywhere(), TakeQuota()), everywhere, [{"prompt": "ab", "length": 12}])
    assert everywhere.heads == 12 * 12


def test_an_observer_sees_filled_positions_if_it_says_that_it_reads_them():
    blind, reading = Blind(), Reading()
    for observer in (blind, reading):
        mdmkit.decode(Sampler(ByConfidence(), TakeQuota()), ToyBackbone(), PROMPTS[:1], observers=[observer])
    assert any(blind.flat) and not any(reading.flat)


def test_a_packed_belief_is_the_dense_one_where_it_was_read_and_flat_elsewhere():
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 7, generator=draw, dtype=torch.float64)
    logits[..., 2] = -torch.inf
    read = torch.rand(3, 4, generator=draw) < 0.5
    places = read.flatten().nonzero()[:, 0]
    packed = Belief.at_open(logits.flatten(0, 1)[places], read, places)
    more = torch.cat((places, (~read).flatten().nonzero()[:2, 0]))  # as on a GPU, where places are not exact
    spare = Belief.at_open(logits.flatten(0, 1)[more], read, more)
    dense = Belief(torch.where(read[..., None], logits, 0.0))
    tokens = torch.randint(0, 7, (3, 4, 2), generator=draw)
    uniform = torch.rand(3, 2, 4, generator=draw, dtype=torch.float64)
    order = torch.tensor([2, 0, 0])
    pairs = ((packed, dense), (packed.at(order), dense.at(order)), (spare, dense), (spare.at(order), dense.at(order)))
    for one, other in pairs:
        for name in ("logits", "argmax", "entropy", "confidence", "top2", "logp"):
            torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=1e-12)
        torch.testing.assert_close(one.logp_of(tokens), other.logp_of(tokens), rtol=0, atol=1e-12)
    for heat in (0.7, torch.tensor([0.3, 0.0, 1.5], dtype=torch.float64)):
        for belief in (packed, spare, packed.at(torch.arange(3))):
            drawn, wanted = (each.sample(uniform, heat, 0.9, 5).transpose(1, 2) for each in (belief, dense))
            assert torch.equal(drawn[read], wanted[read]) and not drawn[~read].any()
