"""A constraint on a whole answer: made ready for the model, asked about rows before the model, given whole states."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest
import torch

import mdmkit
from mdmkit import Commit, Constraint, Lookahead, MdmkitError, Plan, Sampler, States, Stop, Window
from mdmkit.loop.whole import fill_canvas
from mdmkit.stage import look as looks
from mdmkit.stage.checking import check_part
from mdmkit.testing import ByConfidence, Spread, TakeQuota, ToyBackbone

ROWS = [{"prompt": "ab", "length": 6, "seed": 1}, {"prompt": "c__d_a", "seed": 2}]


class Bound(Constraint):
    """Notes what it is given, and shares one number among all open columns of a state."""

    whole = True

    def __init__(self):
        self.answers, self.widths, self.refused, self.noted = [], [], [], 0

    def refuse(self, canvas, answer, rule):
        self.refused.append((int(answer.start[0]), answer.width))
        return "too many" if canvas.open.sum() > 8 else None

    def shape(self, logits, states, columns):
        assert torch.equal(states.window.columns.clamp_max(states.tokens.shape[1] - 1), columns)
        m, width = states.window.member.shape
        open_ = states.window.member & states.window(states.open)
        # All open ones, and one at least.
        assert states.places.tolist() == (open_.flatten().nonzero()[:, 0].tolist() or [0])
        assert len(states.places) == len(logits)
        self.widths.append(width)
        if states.notes is not None:
            states.notes["bound.first"] = logits[:, 1]
        lengths = states.answer.member.sum(1).tolist()
        self.answers += zip(states.answer.start.tolist(), lengths, strict=True)
        total = logits.new_zeros(m, logits.shape[1]).index_add(0, states.places // width, logits.clamp_min(-50))
        return logits + 0.01 * total[states.places // width]

    def settle(self, step, actions):
        assert step.belief.unconstrained.shape == step.belief.logits.shape
        assert not torch.equal(step.belief.unconstrained, step.belief.logits)
        for noted in step.belief.notes.values():  # there are none where a part reads filled positions
            noted = step.belief.spread(noted)
            assert torch.equal(noted[step.open], step.belief.unconstrained[step.open][:, 1])
            self.noted += 1
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


class Counts(ToyBackbone):
    """Counts the positions at which the head runs."""

    def __init__(self):
        super().__init__(dtype=torch.float64)
        self.projected = []

    def project(self, hidden):
        self.projected.append(hidden.shape[:-1].numel())
        return super().project(hidden)


@pytest.mark.parametrize("whole", [True, False])
def test_under_a_rule_on_whole_answers_the_head_runs_at_open_positions_only(whole):
    class ByColumn(Constraint):
        def shape(self, logits, states, columns):
            return logits - columns[..., None]

    model = Counts()
    sampler = Sampler(ByConfidence(), TakeQuota(), constraint=_ready() if whole else ByColumn(), plan=Plan(steps=3))
    mdmkit.decode(sampler, model, [{"prompt": "ab", "length": 6}])
    assert model.projected == ([6, 4, 2] if whole else [6, 6, 6])


def test_what_shape_notes_of_a_belief_reaches_settle_and_nothing_is_noted_of_a_look():
    asked = []

    class Notes(Bound):
        def shape(self, logits, states, columns):
            asked.append(states.notes is None)
            return super().shape(logits, states, columns)

    class Looks(Lookahead):
        def __call__(self, step, actions, look):
            return -look(lambda belief: belief.entropy).sum(-1)

    notes = Notes()
    sampler = Sampler(ByConfidence(), Spread(3), Looks(), constraint=notes, plan=Plan(steps=3))
    mdmkit.decode(sampler, ToyBackbone(), ROWS)
    assert notes.noted == asked.count(False) == 3 and asked.count(True) >= 2


def test_a_filled_position_keeps_its_belief():
    seen = []

    @dataclass(frozen=True)
    class Reads(ByConfidence):
        reads = ("written",)

        def __call__(self, step):
            belief, filled = step.belief, step.member & ~step.open
            assert torch.equal(belief.logits[filled], belief.unconstrained[filled])
            assert not torch.equal(belief.logits[step.open], belief.unconstrained[step.open])
            seen.append(int(filled.sum()))
            return super().__call__(step)

    sampler = Sampler(Reads(), TakeQuota(), constraint=_ready(), plan=Plan(steps=3))
    mdmkit.decode(sampler, ToyBackbone(), ROWS)
    assert max(seen) > 2


def test_some_of_the_states_have_their_own_places():
    open_ = torch.tensor([[True, False, True], [False, False, True], [True, True, False]])
    window = Window.of([(1, 4)] * 3, torch.device("cpu"))
    places = open_.flatten().nonzero()[:, 0]
    tokens = torch.arange(12).view(3, 4)
    states = States(tokens, tokens > 0, torch.arange(3), window, places=places)
    some = states.at(torch.tensor([2, 0]))
    assert states.entries(torch.tensor([2, 0])).tolist() == [0, 1, 3, 4]
    # Those of row 0, which is second now, come first, as its logits do.
    assert some.places.tolist() == [3, 5, 0, 1]


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
        ({"stop": Ends()}, "stop 'Ends' leaves positions of the answer open"),
        ({"commit": Rewrites()}, "commit 'Rewrites' replaces tokens"),
        ({"plan": Plan(room=3)}, "plan.room=3 lets a row grow"),
    ],
)
def test_parts_that_it_does_not_see_are_refused(parts, said):
    with pytest.raises(MdmkitError, match=f"constraint 'Ready' is kept by a whole answer, and {said}"):
        Sampler(ByConfidence(), TakeQuota(), constraint=_ready(), **parts)
    part = replace(_ready(), made=())
    object.__setattr__(part, "whole", False)
    Sampler(ByConfidence(), TakeQuota(), constraint=part, **parts)


class NoTwins(Constraint):
    """No token twice in a row; of two that would be filled together the left one is."""

    def shape(self, logits, states, columns):
        known = torch.nn.functional.pad(states.tokens.masked_fill(states.open, 0), (1, 1))
        for beside in (known.gather(1, columns), known.gather(1, columns + 2)):
            logits = logits.scatter(-1, beside[..., None], -torch.inf)
        return logits

    def settle(self, step, actions):
        twin = (actions.tokens[..., 1:] == actions.tokens[..., :-1]) & actions.place[..., :-1]
        place = actions.place.clone()
        place[..., 1:] &= ~twin
        return replace(actions, place=place)


def test_a_rule_that_fills_at_once_lets_a_constraint_settle_until_nothing_is_open():
    sampler = Sampler(
        ByConfidence(), TakeQuota(), constraint=NoTwins(), stop=FillsAtOnce(), plan=Plan(logprobs="reveal")
    )
    rows = mdmkit.decode(sampler, Same(), [{"prompt": "", "length": 8, "seed": 1}, {"prompt": "b", "length": 5}]).rows
    for row in rows:
        tokens = [row.trace["tokens"][t] for t in range(len(row.trace["tokens"]))]
        assert all(a != b for a, b in itertools.pairwise(tokens)) and row.stopped == "FillsAtOnce"
    # One step, and more than one forward for what is left.
    assert max(rows[0].order) > 1 and rows[0].nfe == max(rows[0].order) + 1


class Same(ToyBackbone):
    """It finds the same token the best one everywhere, and then the next."""

    def project(self, hidden):
        return super().project(hidden) * 0 - torch.arange(self.vocab).to(hidden)


class Spoils(NoTwins):
    def settle(self, step, actions):
        return replace(actions, place=actions.place & (step.tick < 1)[:, None, None])


def test_a_constraint_that_settles_nothing_there_is_named():
    sampler = Sampler(ByConfidence(), TakeQuota(), constraint=Spoils(), stop=FillsAtOnce())
    with pytest.raises(MdmkitError, match="constraint Spoils left a row no alternative that fills a position"):
        mdmkit.decode(sampler, ToyBackbone(), [{"prompt": "", "length": 4}])
