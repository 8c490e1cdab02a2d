"""The contract suites hold for the reference stages and the toy model, and refuse stages that break a law."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch

from mdmkit import ops
from mdmkit.canvas.prompt import Prompt
from mdmkit.errors import MdmkitError
from mdmkit.settings.plan import Plan
from mdmkit.stage.actions import Actions
from mdmkit.stage.write import Write
from mdmkit.testing import (
    BackboneContract,
    ByConfidence,
    CommitContract,
    HostSync,
    LeastEntropyLeft,
    LookaheadContract,
    ScoreContract,
    SelectContract,
    Spread,
    TakeQuota,
    ToyBackbone,
    call_without_host,
    make_moment,
    make_step,
)


class TestByConfidence(ScoreContract):
    component = ByConfidence


class TestTakeQuota(SelectContract):
    component = TakeQuota


class TestSpread(SelectContract):
    def make(self) -> Spread:
        return Spread(3)


class TestLeastEntropyLeft(LookaheadContract):
    component = LeastEntropyLeft


class TestWrite(CommitContract):
    component = Write


class TestToyBackbone(BackboneContract):
    prompts: ClassVar = ["ab", "c__d", "abcdefg", [1, 2, 11, 3]]

    @pytest.fixture
    def backbone(self) -> ToyBackbone:
        return ToyBackbone()


# Each of these stages breaks one law; the contract's test of that law has to fail.


@dataclass(frozen=True)
class ScaledByTheBatch:
    def __call__(self, step):
        return step.confidence / step.confidence.max()


@dataclass(frozen=True)
class ScaledByTheWindow:
    def __call__(self, step):
        return step.confidence / step.confidence.sum(1, keepdim=True)


@dataclass(frozen=True)
class CountsColumns:
    def __call__(self, step):
        return (
            -torch.arange(step.width, device=step.open.device).float().expand(step.rows, -1)
            - step.canvas.tokens.shape[1]
        )


@dataclass(frozen=True)
class Dice:
    def __call__(self, step):
        return torch.rand_like(step.confidence)


@dataclass(frozen=True)
class WritesIntoTheBelief:
    def __call__(self, step):
        return step.belief.confidence.mul_(2.0)


@dataclass(frozen=True)
class RemembersOnItself:
    seen: dict = field(default_factory=dict)

    def __call__(self, step):
        self.seen["rows"] = step.rows
        return step.confidence


@dataclass
class Thawed:
    def __call__(self, step):
        return step.confidence


@dataclass(frozen=True)
class DoublesItsParameter:
    weight: float = 1.0

    def __post_init__(self):
        object.__setattr__(self, "weight", 2 * self.weight)

    def __call__(self, step):
        return step.confidence * self.weight


@dataclass(frozen=True)
class NotANumber:
    def __call__(self, step):
        return step.confidence * torch.nan


@dataclass(frozen=True)
class AsksTheHost:
    def __call__(self, step):
        return step.confidence * (2.0 if step.open.any() else 1.0)


BROKEN_SCORES = {
    ScaledByTheBatch: "test_each_row_alone_is_as_in_the_batch",
    ScaledByTheWindow: "test_padding_and_a_wider_window_do_not_matter",
    CountsColumns: "test_padding_and_a_wider_window_do_not_matter",
    Dice: "test_same_call_gives_the_same",
    WritesIntoTheBelief: "test_inputs_are_not_written_to",
    RemembersOnItself: "test_inputs_are_not_written_to",
    Thawed: "test_is_a_frozen_dataclass_with_defaults",
    DoublesItsParameter: "test_parameters_survive_a_config",
    NotANumber: "test_scores_every_open_position",
    AsksTheHost: "test_never_waits_for_the_device",
}


@dataclass(frozen=True)
class IgnoresOpen:
    def __call__(self, step, scores):
        return Actions.single(ops.top(scores, torch.ones_like(step.open), step.quota), step.tokens)


@dataclass(frozen=True)
class FillsIdleRows:
    def __call__(self, step, scores):
        return Actions.single(ops.top(scores, torch.ones_like(step.open), step.quota.clamp_min(1)), step.tokens)


@dataclass(frozen=True)
class OnlyTheSure:
    def __call__(self, step, scores):
        return Actions.single(step.open & (step.confidence > 0.9), step.tokens)


@dataclass(frozen=True)
class WritesTheMask:
    def __call__(self, step, scores):
        return Actions.single(ops.top(scores, step.open, step.quota), torch.full_like(step.tokens, step.canvas.mask_id))


@dataclass(frozen=True)
class CallsItselfGreedy:
    def __call__(self, step, scores):
        return Spread(2)(step, scores)


BROKEN_SELECTS = {
    IgnoresOpen: "test_fills_open_positions_only",
    FillsIdleRows: "test_an_idle_row_proposes_nothing",
    OnlyTheSure: "test_the_first_alternative_fills_something_in_every_row_that_can",
    WritesTheMask: "test_never_chooses_a_forbidden_token",
    CallsItselfGreedy: "test_actions_have_their_shapes",
}


@dataclass(frozen=True)
class RunsTheModelAgain:
    def __call__(self, step, actions, look):
        look._believe.__self__.forward(step.canvas.tokens, torch.arange(step.rows, device=step.open.device))
        return actions.place.sum(-1).float()


@dataclass(frozen=True)
class ValuesOverTheBatch:
    def __call__(self, step, actions, look):
        filled = actions.place.sum(-1).float()
        return filled - filled.mean()


BROKEN_LOOKAHEADS = {
    RunsTheModelAgain: "test_runs_no_forward_of_its_own",
    ValuesOverTheBatch: "test_each_row_alone_is_as_in_the_batch",
}


@dataclass(frozen=True)
class OverwritesThePrompt:
    def __call__(self, step, actions, choice):
        canvas = Write()(step, actions, choice)
        return canvas.with_tokens(canvas.tokens.masked_fill(~canvas.editable, 1))


@dataclass(frozen=True)
class RemasksUnannounced:
    def __call__(self, step, actions, choice):
        place, tokens = actions.take(choice)
        keep = Actions.single(place & (step.confidence > 0.5), tokens)
        return Write()(step, keep, torch.zeros_like(choice))


BROKEN_COMMITS = {
    OverwritesThePrompt: "test_prompt_and_given_context_never_change",
    RemasksUnannounced: "test_writes_the_action_unless_it_says_otherwise",
}

BROKEN = [
    (contract, stage, law)
    for contract, stages in (
        (ScoreContract, BROKEN_SCORES),
        (SelectContract, BROKEN_SELECTS),
        (LookaheadContract, BROKEN_LOOKAHEADS),
        (CommitContract, BROKEN_COMMITS),
    )
    for stage, law in stages.items()
]


@pytest.mark.parametrize(("contract", "stage", "law"), BROKEN, ids=[stage.__name__ for _, stage, _ in BROKEN])
def test_a_stage_that_breaks_a_law_fails_the_test_of_that_law(contract, stage, law):
    suite = type("Suite", (contract,), {"component": stage})()
    test = getattr(suite, law)
    arguments = {"temperature": 0.0} if "temperature" in inspect.signature(test).parameters else {}
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test(**arguments)


class Causal(ToyBackbone):
    """Sees nothing to the right: each row's states are those of its prefixes."""

    def forward(self, tokens, valid, conditioning, *, positions, cache=None):
        ends = range(1, tokens.shape[1] + 1)
        parts = [
            super(Causal, self).forward(tokens[:, :n], valid[:, :n], None, positions=positions[:, :n]) for n in ends
        ]
        return torch.stack([part[:, -1] for part in parts], 1)


class AttendsToPadding(ToyBackbone):
    def forward(self, tokens, valid, conditioning, *, positions, cache=None):
        return super().forward(tokens, torch.ones_like(valid), None, positions=positions)


class CountsPadding(ToyBackbone):
    def forward(self, tokens, valid, conditioning, *, positions, cache=None):
        return super().forward(tokens, valid, None, positions=torch.arange(tokens.shape[1]).expand_as(tokens))


class AveragesTheBatch(ToyBackbone):
    def project(self, hidden):
        return super().project(hidden - hidden.mean(0, keepdim=True))


class WrapsStrangeIds(ToyBackbone):
    def _ids(self, prompt):
        return [i % self.vocab for i in super()._ids(prompt)]


class AnswersOnce(ToyBackbone):
    def decode(self, canvas):
        return super().decode(canvas)[:1]


class InventsACache(ToyBackbone):
    caches = frozenset({"none", "magic"})


class MaskBeyondTheVocabulary(ToyBackbone):
    def __init__(self):
        super().__init__()
        self.mask_id = self.vocab


BROKEN_BACKBONES = {
    Causal: "test_a_position_sees_the_token_that_follows_it",
    AttendsToPadding: "test_padding_is_never_read",
    CountsPadding: "test_each_row_alone_is_as_in_the_padded_batch",
    AveragesTheBatch: "test_each_row_alone_is_as_in_the_padded_batch",
    WrapsStrangeIds: "test_ids_outside_the_vocabulary_are_refused",
    AnswersOnce: "test_decodes_to_the_end_and_says_one_thing_per_row",
    InventsACache: "test_ids_and_caches_are_known",
    MaskBeyondTheVocabulary: "test_ids_and_caches_are_known",
}


@pytest.mark.parametrize(("model", "law"), BROKEN_BACKBONES.items(), ids=[m.__name__ for m in BROKEN_BACKBONES])
def test_a_backbone_that_breaks_a_law_fails_the_test_of_that_law(model, law):
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(TestToyBackbone(), law)(model())


def _branch(step):
    return step.confidence if step.open.any() else step.belief.entropy


def _boolean_index(step):
    return step.confidence[step.open].sum() + step.confidence


SYNCS = {
    "item": lambda step: step.confidence * step.quota.sum().item(),
    "tolist": lambda step: step.confidence * len(step.quota.tolist()),
    "branch": _branch,
    "boolean index": _boolean_index,
    "nonzero": lambda step: step.open.nonzero(),
    "cpu": lambda step: step.confidence.cpu(),
    "to cpu": lambda step: step.confidence.to("cpu"),
    "numpy": lambda step: step.confidence.numpy(),
    "made on the host": lambda step: step.confidence + torch.arange(step.width),
}


@pytest.mark.parametrize("stage", SYNCS.values(), ids=SYNCS)
def test_a_stage_that_waits_for_the_device_is_refused(stage):
    with pytest.raises(HostSync, match=r"\w"):
        call_without_host(stage, make_step())


def test_a_stage_that_fails_for_another_reason_shows_its_own_error():
    with pytest.raises(ZeroDivisionError):
        call_without_host(lambda step: 1 / 0, make_step())


def test_a_contract_test_cannot_be_replaced():
    with pytest.raises(TypeError, match=r'replaces a test of the contract.*xfail\(reason="…"\)'):
        type("Weaker", (ScoreContract,), {"test_same_call_gives_the_same": lambda self: None})
    with pytest.raises(TypeError, match="replaces a test"):
        type("Weaker", (ScoreContract,), {"test_decodes_to_the_end": None})

    def replacement(self):
        pass

    skipped = pytest.mark.skip(reason="slow")(replacement)
    with pytest.raises(TypeError, match="replaces a test"):
        type("Weaker", (ScoreContract,), {"test_decodes_to_the_end": skipped})
    mixin = type("Mixin", (), {"test_decodes_to_the_end": lambda self: None})
    with pytest.raises(TypeError, match="replaces a test"):
        type("Weaker", (mixin, ScoreContract), {})

    @pytest.mark.xfail
    def no_reason(self):
        pass

    with pytest.raises(TypeError, match="replaces a test"):
        type("Weaker", (ScoreContract,), {"test_decodes_to_the_end": no_reason})


def test_an_expected_failure_still_runs_the_test_of_the_contract():
    @pytest.mark.xfail(reason="scales over the batch")
    def marked(self):
        pass

    name = BROKEN_SCORES[ScaledByTheBatch]
    suite = type("Known", (ScoreContract,), {"component": ScaledByTheBatch, name: marked})
    test = getattr(suite, name)
    (mark,) = [m for m in test.pytestmark if m.name == "xfail"]
    assert mark.kwargs == {"reason": "scales over the batch", "strict": True}
    assert [m.args[0] for m in test.pytestmark if m.name == "parametrize"] == ["temperature"]
    with pytest.raises(AssertionError):
        getattr(suite(), name)(0.0)
    again = type("Deeper", (suite,), {})
    assert getattr(again, name) is test


def test_the_toy_reads_every_visible_token_and_its_own_place():
    toy = ToyBackbone(dtype=torch.float64)
    canvas, _ = toy.encode([Prompt(text="ab__c_")], Plan())

    def logits(tokens, positions=canvas.positions):
        return toy.project(toy.forward(tokens, canvas.valid, None, positions=positions))[0, 2]

    here = logits(canvas.tokens)
    for column in (0, 1, 4):
        other = canvas.tokens.clone()
        other[0, column] = 9
        assert (logits(other) - here).abs().max() > 1e-3
    swapped = canvas.tokens[:, [1, 0, 2, 3, 4, 5]]
    assert (logits(swapped) - here).abs().max() > 1e-3


def test_the_toy_is_its_seed():
    one, same, other = ToyBackbone.load("toy:4"), ToyBackbone(seed=4), ToyBackbone.load("toy:5")
    assert torch.equal(one.head, same.head)
    assert not torch.equal(one.head, other.head)
    with pytest.raises(MdmkitError, match="toy:0"):
        ToyBackbone.load("toy:x")


def test_the_toy_writes_what_it_read():
    toy = ToyBackbone()
    canvas, _ = toy.encode([Prompt(text="ab_c"), Prompt(text="jj", length=3)], Plan())
    assert toy.decode(canvas) == ["ab_c", "___"]
    with pytest.raises(MdmkitError, match="'z'"):
        toy.encode([Prompt(text="z")], Plan())


def test_a_moment_holds_the_traps_it_promises():
    moment = make_moment(3)
    mask = moment.backbone.mask_id
    assert moment.open.any(1).tolist() == [True, False, False, True, True, True, True]
    assert ((moment.canvas.tokens == mask) & ~moment.canvas.editable).any(1).all()
    assert not moment.canvas.masked[1].any()
    assert moment.canvas.masked[2].any()
    assert not moment.canvas.valid.all()
    assert (moment.quota <= moment.open.sum(1)).all()
    assert (moment.quota[moment.busy] >= 1).all()
    assert moment.scores[~moment.open].min() > moment.scores[moment.open].max()
    live = moment.actions().live.sum(1)
    assert {0, 1, 3} <= set(live.tolist()), "idle rows, rows with one alternative, rows that compare"
