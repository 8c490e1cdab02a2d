"""The contract suites hold for the reference stages and the toy model, and refuse stages that break a law."""

from __future__ import annotations

import inspect
import itertools
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
import torch

from mdmkit import Observer, Output, Recording, ops
from mdmkit.canvas.prompt import Prompt
from mdmkit.errors import MdmkitError
from mdmkit.loop.runner import Asked
from mdmkit.model.cache import Cache
from mdmkit.settings.plan import Plan
from mdmkit.stage.actions import Actions
from mdmkit.stage.look import States
from mdmkit.stage.stop import EndToken
from mdmkit.stage.write import Write
from mdmkit.testing import (
    BackboneContract,
    ByConfidence,
    CommitContract,
    ConstraintContract,
    HostSync,
    LeastEntropyLeft,
    LookaheadContract,
    NoiseToy,
    ObserverContract,
    ScoreContract,
    SearchContract,
    SelectContract,
    Spread,
    StopContract,
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


class TestEndToken(StopContract):
    def make(self) -> EndToken:
        return EndToken((3, 5))


class TestRecording(ObserverContract):
    component = Recording


class TestToyBackbone(BackboneContract):
    prompts: ClassVar = ["ab", "c__d", "abcdefg", [1, 2, 11, 3]]

    @pytest.fixture
    def backbone(self) -> ToyBackbone:
        return ToyBackbone()


class TestNoiseToy(BackboneContract):
    """A model without a mask."""

    prompts: ClassVar = ["ab", "cd", "abcdefg", [1, 2, 3]]

    @pytest.fixture
    def backbone(self) -> NoiseToy:
        return NoiseToy()


class OneByOne(ToyBackbone):
    """Cannot pad, and says so."""

    shadows = False
    offers: ClassVar = {}
    pads = False

    def forward(self, tokens, valid, conditioning, *, positions, cache=None):
        assert valid.all(), "a row is padded"
        return super().forward(tokens, valid, None, positions=positions)


class TestOneByOne(BackboneContract):
    prompts: ClassVar = ["ab", "c__d", "abcdefg"]

    @pytest.fixture
    def backbone(self) -> OneByOne:
        return OneByOne()


class Addressed(ToyBackbone):
    """Has a conditioning: each prompt's length moves all of its states."""

    shadows = False
    offers: ClassVar = {}

    def encode(self, prompts, plan):
        canvas, _ = super().encode(prompts, plan)
        return canvas, (canvas.lengths.to(self.device, self.head.dtype)[:, None],)

    def forward(self, tokens, valid, conditioning, *, positions, cache=None):
        out = super().forward(tokens, valid, None, positions=positions)
        return Output(out.hidden * conditioning[0][..., None].cos())

    def select(self, conditioning, rows):
        return (conditioning[0][rows],)


class TestAddressed(BackboneContract):
    prompts: ClassVar = ["ab", "c__d", "abcdefg"]

    @pytest.fixture
    def backbone(self) -> Addressed:
        return Addressed()


# Stages that remember, each in one of the ways that `step.recall` offers.


@dataclass(frozen=True)
class Rising:
    """Confidence, and how far it rose over the row's last step; rows that have just joined have risen by nothing."""

    def __call__(self, step):
        before = step.recall("rising.confidence", "column", fill=-1.0)
        now = step.confidence.float()
        step.keep("rising.confidence", step.put(before, now))
        own = step.window(before)
        return now + torch.where(own >= 0, now - own, 0.0)


class TestRising(ScoreContract):
    component = Rising


@dataclass(frozen=True)
class Patient:
    """Waits two steps of a block before it counts what it saw there; counted from the window's start."""

    def __call__(self, step):
        steps = step.recall("patient.steps", until="block", fill=0)
        seen = step.recall("patient.seen", "window", until="block", fill=0.0)
        step.keep("patient.steps", steps + 1)
        step.keep("patient.seen", seen + step.confidence.float())
        return torch.where(steps[:, None] > 1, seen, step.confidence.float())


class TestPatient(ScoreContract):
    component = Patient


@dataclass(frozen=True)
class SecondThoughts:
    """Writes, and opens once again what it writes in the row's second step."""

    rewrites = True

    def __call__(self, step, actions, choice):
        count = step.recall("second_thoughts.count", fill=0)
        step.keep("second_thoughts.count", count + step.active)
        again = actions.take(choice)[0] & (count == 1)[:, None]
        return Write()(step, actions, choice).reopened(step.spread(again))


class TestSecondThoughts(CommitContract):
    component = SecondThoughts


@dataclass(frozen=True)
class Lingering(Write):
    """Goes on in a full block, and makes its largest id one less each time."""

    rewrites: ClassVar[bool] = True
    lingers: ClassVar[int] = 2

    def __call__(self, step, actions, choice):
        canvas = super().__call__(step, actions, choice)
        held = step.window(canvas.tokens)
        own = step.member & step.window(canvas.editable) & ~step.window(canvas.open) & step.full[:, None]
        lower = own & (held > 1) & (step.active & ~step.open.any(1))[:, None]
        return canvas.filled(step.spread(lower), step.put(canvas.tokens, held - 1))


@dataclass(frozen=True)
class ThreeSteps:
    """Ends a row after three steps."""

    fill: ClassVar[str] = "best"

    def __call__(self, step):
        count = step.recall("three_steps.count", fill=0) + 1
        step.keep("three_steps.count", count)
        return count >= 3


class TestThreeSteps(StopContract):
    component = ThreeSteps


@dataclass(frozen=True)
class NoEcho:
    """No generated token equals a neighbour."""

    def shape(self, logits, states, columns):
        last = states.tokens.shape[1] - 1
        ids = torch.arange(logits.shape[-1], device=logits.device)
        for side in (-1, 1):
            place = columns + side
            there = place.clamp(0, last)
            known = (place == there) & ~states.open.gather(1, there)
            same = (states.tokens.gather(1, there)[..., None] == ids) & known[..., None]
            logits = logits.masked_fill(same, -torch.inf)
        return logits

    def settle(self, step, actions):
        both = actions.place[..., 1:] & actions.place[..., :-1]
        echo = both & (actions.tokens[..., 1:] == actions.tokens[..., :-1])
        place = actions.place.clone()
        place[..., 1:] &= ~echo
        return replace(actions, place=place)


class TestNoEcho(ConstraintContract):
    component = NoEcho

    def holds(self, tokens):
        return all(one != other for one, other in itertools.pairwise(tokens))


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
class NotANumberWhereCertain:
    def __call__(self, step):
        doubt = 1 - step.confidence
        return step.confidence * (doubt / doubt)


@dataclass(frozen=True)
class AsksTheHost:
    def __call__(self, step):
        return step.confidence * (2.0 if step.open.any() else 1.0)


@dataclass(frozen=True)
class Averages:
    """Is moved by what stands in the window and is not the row's own block."""

    def __call__(self, step):
        return step.confidence - step.confidence.nan_to_num(0.0).mean(1, keepdim=True)


@dataclass(frozen=True)
class RemembersByTheBatch:
    """Looks at what the row at its place in the batch did before, whoever that was."""

    def __call__(self, step):
        now = step.confidence.float()
        before = step.shared.get("confidence", now)
        step.shared["confidence"] = now
        width, rows = min(now.shape[1], before.shape[1]), min(len(now), len(before))
        out = now.clone()
        out[:rows, :width] -= before[:rows, :width].nan_to_num(0.0)
        return out


@dataclass(frozen=True)
class MisspeltTrait:
    readz: ClassVar[tuple] = ()

    def __call__(self, step):
        return step.confidence


BROKEN_SCORES = {
    ScaledByTheBatch: "test_each_row_alone_is_as_in_the_batch",
    ScaledByTheWindow: "test_more_columns_and_a_wider_window_do_not_matter",
    CountsColumns: "test_more_columns_and_a_wider_window_do_not_matter",
    Averages: "test_more_columns_and_a_wider_window_do_not_matter",
    RemembersByTheBatch: "test_a_row_that_joins_is_as_alone",
    MisspeltTrait: "test_its_constants_are_traits_of_its_kind",
    Dice: "test_same_call_gives_the_same",
    WritesIntoTheBelief: "test_inputs_are_not_written_to",
    RemembersOnItself: "test_inputs_are_not_written_to",
    Thawed: "test_is_a_frozen_dataclass_with_defaults",
    DoublesItsParameter: "test_parameters_survive_a_config",
    NotANumber: "test_scores_every_open_position",
    NotANumberWhereCertain: "test_decodes_with_a_model_that_is_certain",
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
        rows = range(step.rows)
        reaches = [Cache().step(0, 0, int(length)) for length in step.canvas.lengths]
        states = States(step.canvas.tokens, step.canvas.open, torch.arange(step.rows))
        asked = Asked(states, rows, reaches, [(0, reach.stop) for reach in reaches], step.tick)
        look.runner.forward(asked, step.canvas, 1)
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
        return canvas.filled(~canvas.editable, torch.ones_like(canvas.tokens))


@dataclass(frozen=True)
class RemasksUnannounced:
    def __call__(self, step, actions, choice):
        place, tokens = actions.take(choice)
        keep = Actions.single(place & (step.confidence > 0.5), tokens)
        return Write()(step, keep, torch.zeros_like(choice))


@dataclass(frozen=True)
class ClosesWithoutAToken:
    """The right tokens, and other open places."""

    def __call__(self, step, actions, choice):
        canvas = Write()(step, actions, choice)
        return replace(canvas, open=canvas.open & ~step.spread(step.member))


@dataclass(frozen=True)
class WritesTheMaskAsAToken:
    rewrites: ClassVar[bool] = True

    def __call__(self, step, actions, choice):
        canvas = Write()(step, actions, choice)
        place = step.spread(actions.take(choice)[0])
        return replace(canvas, tokens=canvas.tokens.masked_fill(place, canvas.mask_id))


@dataclass(frozen=True)
class WritesBesideTheBlock:
    rewrites: ClassVar[bool] = True

    def __call__(self, step, actions, choice):
        canvas = Write()(step, actions, choice)
        return canvas.filled(canvas.open & ~step.spread(step.member), torch.ones_like(canvas.tokens))


@dataclass(frozen=True)
class LingersQuietly(Lingering):
    rewrites: ClassVar[bool] = False


BROKEN_COMMITS = {
    OverwritesThePrompt: "test_prompt_and_given_context_never_change",
    RemasksUnannounced: "test_writes_the_action_unless_it_says_otherwise",
    ClosesWithoutAToken: "test_writes_the_action_unless_it_says_otherwise",
    WritesTheMaskAsAToken: "test_an_open_place_holds_the_blank_and_a_filled_one_a_token",
    WritesBesideTheBlock: "test_columns_outside_the_block_and_idle_rows_never_change",
    LingersQuietly: "test_what_lingers_or_grows_rewrites",
}


@dataclass(frozen=True)
class EndsTheBatch:
    def __call__(self, step):
        return (step.tick.sum() > 30).expand(step.rows)


@dataclass(frozen=True)
class SaysHowMuch:
    def __call__(self, step):
        return step.belief.entropy.sum(1)


@dataclass(frozen=True)
class Stirs:
    """Does more than saying: what is written afterwards is another thing."""

    fill: ClassVar[str] = "rest"

    def __call__(self, step):
        return step.tick > 3


BROKEN_STOPS = {
    EndsTheBatch: "test_each_row_alone_is_as_in_the_batch",
    SaysHowMuch: "test_says_one_thing_per_row",
    Stirs: "test_what_it_leaves_open_is_filled_as_its_trait_says",
}


@dataclass(frozen=True)
class AllowsEverything:
    def shape(self, logits, states, columns):
        return logits.nan_to_num(neginf=0.0)


@dataclass(frozen=True)
class ForbidsEverything:
    def shape(self, logits, states, columns):
        return logits.masked_fill(states.open.gather(1, columns)[..., None], -torch.inf)


@dataclass(frozen=True)
class FirstOfTheCall:
    """Takes the first column of the call for the first of the block."""

    def shape(self, logits, states, columns):
        return torch.cat((logits[:, :1] - 1.0, logits[:, 1:]), 1)


@dataclass(frozen=True)
class ByNumber:
    def shape(self, logits, states, columns):
        return logits - states.rows[:, None, None]


@dataclass(frozen=True)
class SettlesToNothing:
    def shape(self, logits, states, columns):
        return logits

    def settle(self, step, actions):
        return replace(actions, place=torch.zeros_like(actions.place))


@dataclass(frozen=True)
class OnlyA(NoEcho):
    def shape(self, logits, states, columns):
        return logits

    def settle(self, step, actions):
        return replace(actions, tokens=torch.ones_like(actions.tokens))


BROKEN_CONSTRAINTS = {
    AllowsEverything: "test_shapes_logits_and_allows_nothing_that_was_forbidden",
    ForbidsEverything: "test_shapes_logits_and_allows_nothing_that_was_forbidden",
    FirstOfTheCall: "test_a_part_of_the_columns_is_shaped_as_in_the_whole",
    ByNumber: "test_several_states_of_one_row_are_shaped_each_by_itself",
    SettlesToNothing: "test_settles_what_was_proposed",
}

BROKEN = [
    (contract, stage, law)
    for contract, stages in (
        (ScoreContract, BROKEN_SCORES),
        (SelectContract, BROKEN_SELECTS),
        (LookaheadContract, BROKEN_LOOKAHEADS),
        (CommitContract, BROKEN_COMMITS),
        (StopContract, BROKEN_STOPS),
        (ConstraintContract, BROKEN_CONSTRAINTS),
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


def test_a_row_that_does_not_keep_its_constraint_is_seen():
    suite = type("Suite", (TestNoEcho,), {"component": OnlyA})()
    with pytest.raises(AssertionError, match="does not keep the constraint"):
        suite.test_decoded_rows_keep_it(0.0)


class Scribbles(Observer):
    def on_step(self, step, actions, choice):
        step.canvas.seed.add_(1)


class Rolls(Observer):
    def on_step(self, step, actions, choice):
        torch.rand(1)


class WaitsForTheEnd(Observer):
    def on_step(self, step, actions, choice):
        pass

    def on_end(self, canvas, trace):
        pass


class Deaf(Observer):
    pass


class Trips(Observer):
    """Takes an id for the place of a row among those of the decode."""

    def __init__(self):
        self.rows = []

    def on_admit(self, id, prompt, canvas):
        assert id == len(self.rows)
        self.rows.append(canvas)

    def on_leave(self, id, row):
        assert id == 0


BROKEN_OBSERVERS = {
    Scribbles: "test_it_writes_into_nothing_that_it_is_shown",
    Rolls: "test_it_changes_nothing",
    WaitsForTheEnd: "test_it_listens_to_something_that_is_said",
    Deaf: "test_it_listens_to_something_that_is_said",
    Trips: "test_it_is_told_of_every_row_once",
}


@pytest.mark.parametrize(("observer", "law"), BROKEN_OBSERVERS.items(), ids=[o.__name__ for o in BROKEN_OBSERVERS])
def test_an_observer_that_breaks_a_law_fails_the_test_of_that_law(observer, law):
    test = getattr(type("Suite", (ObserverContract,), {"component": observer})(), law)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test(**{"name": "greedy"} if "name" in inspect.signature(test).parameters else {})


class Causal(ToyBackbone):
    """Sees nothing to the right: each row's states are those of its prefixes."""

    def forward(self, tokens, valid, conditioning, *, positions, cache=None):
        ends = range(1, tokens.shape[1] + 1)
        parts = [
            super(Causal, self).forward(tokens[:, :n], valid[:, :n], None, positions=positions[:, :n]) for n in ends
        ]
        return Output(torch.stack([part.hidden[:, -1] for part in parts], 1))


class AttendsToPadding(ToyBackbone):
    def forward(self, tokens, valid, conditioning, *, positions, cache=None):
        return super().forward(tokens, torch.ones_like(valid), None, positions=positions)


class CountsPadding(ToyBackbone):
    """Counts a row's places from the end of the batch's columns."""

    def forward(self, tokens, valid, conditioning, *, positions, cache=None):
        return super().forward(tokens, valid, None, positions=tokens.shape[1] - positions)


class PadsOnTheLeft(ToyBackbone):
    def encode(self, prompts, plan):
        canvas, _ = super().encode(prompts, plan)
        order = (torch.arange(canvas.tokens.shape[1]) + canvas.lengths[:, None]) % canvas.tokens.shape[1]
        turned = {name: getattr(canvas, name).gather(1, order) for name in ("tokens", "open", "editable", "valid")}
        return replace(canvas, **turned), None


class ReturnsATensor(ToyBackbone):
    def forward(self, tokens, valid, conditioning, *, positions, cache=None):
        return super().forward(tokens, valid, None, positions=positions).hidden


class JoinsBackwards(Addressed):
    def join(self, parts):
        return super().join(parts[::-1])


class PretendsACache(ToyBackbone):
    """Says it keeps frozen columns, and sees only those that are computed."""

    caches = frozenset({"none", "prefix"})

    def forward(self, tokens, valid, conditioning, *, positions, cache=None):
        shift = 0 if cache is None else len(tokens)
        return super().forward(tokens, valid, None, positions=positions + shift)


class WearsOut(ToyBackbone):
    caches = frozenset({"none", "prefix"})
    cache = "prefix"


class AveragesTheBatch(ToyBackbone):
    def project(self, hidden):
        return super().project(hidden - hidden.mean(0, keepdim=True))


class KeepsItsLogits(ToyBackbone):
    def project(self, hidden):
        key = (hidden.shape, float(hidden.double().sum()))
        kept = self.__dict__.setdefault("kept", {})
        if key not in kept:
            kept[key] = super().project(hidden)
        return kept[key]


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
    PadsOnTheLeft: "test_encode_lays_prompts_out",
    ReturnsATensor: "test_shapes_of_hidden_and_logits",
    JoinsBackwards: "test_prompts_are_joined_as_they_are_encoded_together",
    PretendsACache: "test_ragged_rows_decode_as_alone_under_every_cache",
    WearsOut: "test_ids_and_caches_are_known",
    KeepsItsLogits: "test_head_returns_logits_that_may_be_changed",
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
        return toy.project(toy.forward(tokens, canvas.valid, None, positions=positions).hidden)[0, 2]

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


@dataclass(frozen=True)
class Elsewhere:
    """A search that answers with the first particle of the batch, whoever's it is."""

    particles: int = 2

    def move(self, step, actions, values, choice, look):
        return torch.arange(step.rows, device=choice.device), choice

    def best(self, canvas, trace, kept):
        return torch.zeros(len(canvas.tokens), dtype=torch.long)


def test_a_search_that_names_no_particle_of_its_row_is_seen():
    suite = type("Suite", (SearchContract,), {"component": Elsewhere})()
    with pytest.raises(AssertionError, match="one particle for each row"):
        suite.test_names_a_particle_of_each_row_from_what_is_there()


def test_a_moment_holds_the_traps_it_promises():
    moment = make_moment(3)
    mask = moment.backbone.mask_id
    assert moment.open.any(1).tolist() == [True, False, False, True, True, True, True]
    data = (moment.canvas.tokens == mask) & ~moment.canvas.open
    assert data.any(1).all()
    assert (data & (moment.columns > 0))[:, 8:].any(), "given context inside a block"
    assert not moment.canvas.open[1].any()
    assert moment.canvas.open[2].any()
    lengths = moment.canvas.lengths
    assert moment.canvas.valid.tolist() == (torch.arange(moment.columns) < lengths[:, None]).tolist()
    assert len(set(lengths.tolist())) > 1
    assert (moment.quota <= moment.open.sum(1)).all()
    assert (moment.quota[moment.busy] >= 1).all()
    assert moment.scores[~moment.open].min() > moment.scores[moment.open].max()
    live = moment.actions().live.sum(1)
    assert {0, 1, 3} <= set(live.tolist()), "idle rows, rows with one alternative, rows that compare"


def test_rows_of_a_moment_stand_at_windows_of_their_own():
    apart, level = make_moment(0), make_moment(2)
    assert apart.where.same is None and len(set(apart.where.start.tolist())) == 3
    assert level.where.same == 9
    step = apart.step()
    assert set(step.member.sum(1).tolist()) == {5, 7}, "blocks of two lengths"
    outside = step.window(apart.canvas.valid.logical_not())
    assert step.belief.logits[outside].isnan().all(), "nothing may be read off what is outside the row"
    assert set((step.taken == 0).tolist()) == {True, False}
    wide = apart.wider(2).step()
    assert wide.width == step.width + 2
    assert not wide.member[:, -2:].any() and not wide.open[:, -2:].any()
    (alone,) = apart.rows([3]).spans
    assert apart.rows([3]).step().width == alone[1] - alone[0] == 5


class TestLingering(CommitContract):
    component = Lingering
