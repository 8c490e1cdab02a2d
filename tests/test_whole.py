"""A constraint on a whole answer: made ready for the model, asked about rows before the model, given whole states."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

import mdmkit
from mdmkit import Commit, Constraint, Lookahead, MdmkitError, Plan, Sampler, Stop
from mdmkit.loop.whole import fill_canvas
from mdmkit.stage import look as looks
from mdmkit.stage.checking import check_part
from mdmkit.testing import ByConfidence, Spread, TakeQuota, ToyBackbone

ROWS = [{"prompt": "ab", "length": 6, "seed": 1}, {"prompt": "c__d_a", "seed": 2}]


class Bound(Constraint):
    """Notes what it is given, and shares one number among all columns of a state."""

    whole = True

    def __init__(self):
        self.answers, self.widths, self.refused = [], [], []

    def refuse(self, canvas, answer, rule):
        self.refused.append((int(answer.start[0]), answer.width))
        return "too many" if canvas.open.sum() > 8 else None

    def shape(self, logits, states, columns):
        assert torch.equal(states.window.columns.clamp_max(states.tokens.shape[1] - 1), columns)
        assert states.window.member.shape == logits.shape[:2]
        self.widths.append(logits.shape[1])
        lengths = states.answer.member.sum(1).tolist()
        self.answers += zip(states.answer.start.tolist(), lengths, strict=True)
        inside = states.window.member & states.window(states.open)
        total = torch.where(inside[..., None], logits, 0.0).clamp_min(-50).sum(1, keepdim=True)
        return logits + 0.01 * total

    def settle(self, step, actions):
        assert step.belief.unconstrained.shape == step.belief.logits.shape
        assert not torch.equal(step.belief.unconstrained, step.belief.logits)
        assert [int(start) for start in step.answer.start] == [2 if id_ == 0 else 1 for id_ in step.ids]
        return actions


@dataclass(frozen=True)
class Ready(Constraint):
    """What it is made ready with is kept for the test."""

    whole = True
    made: tuple = ()

    def prepare(self, backbone, never):
        bound = Bound()
        self.made[0].append((bound, backbone, never))
        return bound


def _ready():
    return Ready(([],))


def test_it_is_made_ready_once_with_the_model_and_the_tokens_that_are_never_chosen():
    ready, model = _ready(), ToyBackbone()
    sampler = Sampler(ByConfidence(), TakeQuota(), constraint=ready, draw=mdmkit.Draw(suppress=[3]))
    mdmkit.decode(sampler, model, ROWS)
    ((bound, backbone, never),) = ready.made[0]
    assert backbone is model
    assert never.nonzero()[:, 0].tolist() == [0, 3, 11, 12]
    # The answer of an infill lies between its first and its last mask.
    assert set(bound.answers) == {(2, 6), (1, 4)} and {*bound.refused} == {(2, 6), (1, 4)}


@pytest.mark.parametrize("scope", ["block", "sequence"])
def test_a_look_gives_it_whole_states_however_large_they_are(monkeypatch, scope):
    seen = {}

    class Looks(Lookahead):
        def __call__(self, step, actions, look):
            every = look(lambda belief: belief.entropy, scope)
            some = torch.tensor([[0, 2, 1]]).expand(step.rows, -1)
            rivals = actions.live & (actions.live.sum(1, keepdim=True) > 1)
            picked = look(lambda belief: belief.entropy, scope, at=some)
            assert torch.equal(picked[rivals], every[..., [0, 2, 1]][rivals])
            seen.setdefault(size, []).append(every[rivals])
            return -every.sum(-1)

    for size in (looks.LOOK_BYTES, 4 * 13):
        monkeypatch.setattr(looks, "LOOK_BYTES", size)
        ready = _ready()
        sampler = Sampler(ByConfidence(), Spread(3), Looks(), constraint=ready, plan=Plan(block=3))
        mdmkit.decode(sampler, ToyBackbone(dtype=torch.float64), [ROWS[0], {"prompt": "c", "length": 6, "seed": 2}])
        assert min(ready.made[0][0][0].widths) == 3
    whole, one_by_one = seen.values()
    assert sum(map(len, whole)) > 5
    for a, b in zip(whole, one_by_one, strict=True):
        torch.testing.assert_close(a, b)


def test_a_row_that_it_refuses_never_reaches_the_model():
    class Unseen(ToyBackbone):
        def forward(self, *rest, **more):
            raise AssertionError("the model was run")

    sampler = Sampler(ByConfidence(), TakeQuota(), constraint=_ready())
    with pytest.raises(MdmkitError, match=r"^prompt 1: constraint Ready: too many"):
        mdmkit.decode(sampler, Unseen(), [{"prompt": "ab", "length": 2}, {"prompt": "ab", "length": 9}])
    canvas, _ = Unseen().encode(mdmkit.read_prompts([{"prompt": "a", "length": 9}], 0), Plan())
    with pytest.raises(MdmkitError, match=r"^row 0: constraint Ready: too many"):
        fill_canvas(sampler, Unseen(), canvas)


def test_a_constraint_needs_a_shape_or_a_prepare():
    check_part("constraint", _ready())
    with pytest.raises(MdmkitError, match="has no method shape"):
        check_part("constraint", type("Nothing", (Constraint,), {})())


class Ends(Stop):
    def __call__(self, step):
        return step.open.any(1)


class FillsAtOnce(Ends):
    fill = "best"


class Rewrites(Commit):
    rewrites = True

    def __call__(self, step, actions, choice):
        return step.canvas


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"stop": Ends()}, "stop 'Ends' ends rows in which positions are open"),
        ({"commit": Rewrites()}, "commit 'Rewrites' rewrites tokens"),
        ({"plan": Plan(room=3)}, "plan.room=3 lets a row grow"),
    ],
)
def test_parts_that_it_does_not_see_are_refused(parts, said):
    with pytest.raises(MdmkitError, match=f"constraint 'Ready' is kept by a whole answer, and {said}"):
        Sampler(ByConfidence(), TakeQuota(), constraint=_ready(), **parts)
    part = replace(_ready(), made=())
    object.__setattr__(part, "whole", False)
    Sampler(ByConfidence(), TakeQuota(), constraint=part, **parts)


def test_a_rule_that_fills_at_once_is_refused_beside_what_may_settle_once_it_is_ready():
    part = replace(_ready(), made=())
    object.__setattr__(part, "whole", False)
    with pytest.raises(MdmkitError, match="constraint 'Ready' has to settle tokens"):
        Sampler(ByConfidence(), TakeQuota(), constraint=part, stop=FillsAtOnce())
