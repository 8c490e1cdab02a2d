"""A look shows the very states, columns and random numbers that it was asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

import mdmkit
from mdmkit import Constraint, Lookahead, Plan, Sampler
from mdmkit.testing import ByConfidence, LeastEntropyLeft, NoiseToy, Spread, TakeQuota, ToyBackbone

PROMPTS = [{"prompt": "ab", "length": 6, "seed": 1}, {"prompt": "abc", "length": 9, "seed": 2}]


@dataclass(frozen=True)
class OneOfFour(Spread):
    """Might propose four alternatives, and proposes the best one only."""

    def __call__(self, step, scores):
        actions = super().__call__(step, scores)
        return replace(actions, live=actions.live & (torch.arange(self.candidates) == 0))


@pytest.mark.parametrize("block", [None, 4])
def test_a_lone_next_state_has_the_noise_of_the_step_that_reads_its_belief(block):
    """So a sampler that looks before the commit decodes like one that looks after it, also without a mask."""
    plan, backbone = Plan(block=block), NoiseToy(dtype=torch.float64)
    after = mdmkit.decode(Sampler(ByConfidence(), TakeQuota(), plan=plan), backbone, PROMPTS)
    before = mdmkit.decode(Sampler(ByConfidence(), OneOfFour(), LeastEntropyLeft(), plan=plan), backbone, PROMPTS)
    assert before.tokens == after.tokens
    assert [row.order for row in before.rows] == [row.order for row in after.rows]
    assert [row.uncertainty for row in before.rows] == pytest.approx([row.uncertainty for row in after.rows])
    assert [row.nfe for row in before.rows] == [row.nfe for row in after.rows]


@pytest.mark.parametrize("toy", [ToyBackbone, NoiseToy])
def test_looking_again_at_the_next_states_shows_the_same(toy):
    compared = []

    class Twice(LeastEntropyLeft):
        def __call__(self, step, actions, look):
            rivals = actions.live & (actions.live.sum(1, keepdim=True) > 1)
            first = look(lambda belief: belief.entropy)[rivals]
            second = look.again(*step.states(actions))(lambda belief: belief.entropy)[rivals]
            torch.testing.assert_close(second, first)
            compared.append(len(first))
            return super().__call__(step, actions, look)

    sampler = Sampler(ByConfidence(), Spread(3), Twice(), plan=Plan(block=4))
    mdmkit.decode(sampler, toy(dtype=torch.float64), PROMPTS)
    assert sum(compared) > 10


@dataclass(frozen=True)
class ByColumn(Constraint):
    """Make one letter likelier, another one in each column."""

    def shape(self, logits, states, columns):
        return logits + 3.0 * (torch.arange(logits.shape[-1]) == 1 + columns[..., None] % 10)


@pytest.mark.parametrize("scope", ["block", "sequence"])
def test_columns_that_are_read_alone_are_shaped_like_among_the_others(scope):
    read = []

    class Some(Lookahead):
        def __call__(self, step, actions, look):
            all_ = look(lambda belief: belief.confidence, scope)
            last = all_.shape[-1] - 1
            at = torch.tensor([last, 0, 2]).expand(step.rows, -1)
            some = look(lambda belief: belief.confidence, scope, at=at)
            torch.testing.assert_close(some, all_[..., [last, 0, 2]])
            read.append(some.shape)
            return all_.sum(-1)

    sampler = Sampler(ByConfidence(), Spread(3), Some(), constraint=ByColumn(), plan=Plan(block=4))
    mdmkit.decode(sampler, ToyBackbone(dtype=torch.float64), PROMPTS)
    assert len(read) >= 5 and {shape[-1] for shape in read} == {3}


class HeadIsLast(ToyBackbone):
    """Applies its head inside `forward`, so that `project` has nothing to do; `copies` returns a copy all the same."""

    def __init__(self, copies):
        super().__init__(dtype=torch.float64)
        self.copies = copies

    def forward(self, *given, **more):
        out = super().forward(*given, **more)
        return replace(out, hidden=out.hidden @ self.head)

    def project(self, hidden):
        return hidden.clone() if self.copies else hidden


@dataclass(frozen=True)
class ReadsTwice(Lookahead):
    """What is read again must be the same."""

    def __call__(self, step, actions, look):
        for read in (look.now, look):
            first, again = (read(lambda belief: belief.logits.clamp_min(-1e9).sum(-1)) for _ in range(2))
            assert torch.equal(first, again)
        return LeastEntropyLeft()(step, actions, look)


def test_hidden_states_that_are_the_logits_already_are_not_changed_by_the_logit_policy():
    sampler = Sampler(ByConfidence(), Spread(3), ReadsTwice(), draw=mdmkit.Draw(penalty={3: 0.7}))
    plain, shared = (mdmkit.decode(sampler, HeadIsLast(copies), ["______"], seed=2) for copies in (True, False))
    assert shared.tokens == plain.tokens
    assert [row.uncertainty for row in shared.rows] == [row.uncertainty for row in plain.rows]


@dataclass(frozen=True)
class Counts(Lookahead):
    """Values that depend on how often the row was compared."""

    def __call__(self, step, actions, look):
        count = step.recall("counts", fill=0)
        step.keep("counts", count + 1)
        return ((count[:, None] + torch.arange(actions.live.shape[1])) % 3 == 0).double()


def test_what_a_lookahead_remembers_of_a_row_does_not_depend_on_its_neighbours():
    plan = {"block": 4}
    composed = replace(mdmkit.compose("info_gain", plan=plan, select={"bypass": None}), lookahead=Counts())
    asked = [{"prompt": "ab", "length": 6, "seed": 0}, {"prompt": "abc", "length": 9, "seed": 1}]
    model = ToyBackbone(dtype=torch.float64)
    together = mdmkit.decode(composed, model, asked).rows
    for prompt, row in zip(asked, together, strict=True):
        (alone,) = mdmkit.decode(composed, model, [prompt]).rows
        assert (alone.tokens, alone.order) == (row.tokens, row.order)
