"""A fault of one row, or of the model's own code, leaves the engine able to go on: no row is stuck, none is lost."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import mdmkit
from mdmkit import AsyncEngine, Engine, MdmkitError, Observer, Search, read_prompts
from mdmkit.testing import ByConfidence, TakeQuota, ToyBackbone

GOLDEN = Path(__file__).parent / "golden"
ASKED = read_prompts(["ab", {"prompt": "abc", "length": 0}, "a", "cd"], 1)
SECONDS = 10.0


def sampler(**parts):
    return mdmkit.compose(**{"score": ByConfidence(), "select": TakeQuota(), "plan": {"length": 6}, **parts})


def engine_with(backbone, prompts=ASKED, slots=2, observers=(), **parts):
    engine = Engine(sampler(**parts), backbone, slots, observers=observers)
    for prompt in prompts:
        engine.admit(prompt)
    return engine


def drained(engine, steps=100):
    """All rows that end; an engine that never becomes idle is a fault of its own."""
    out = []
    for _ in range(steps):
        if not engine.busy:
            return {each.id: each for each in out}
        out += engine.step()
    raise AssertionError(f"still busy after {steps} steps, at work: {engine.at_work}")


class NoText(ToyBackbone):
    """Cannot decode a row of three columns."""

    def decode(self, canvas):
        if int(canvas.lengths[0]) == 3:
            raise ValueError("no text")
        return super().decode(canvas)


class DeafToFull(Observer):
    """Fails for the row that had nothing to fill."""

    def on_leave(self, id, row):
        if id == 1:
            raise ValueError("no such row")


@pytest.mark.parametrize(
    ("backbone", "observers", "words"),
    [
        (NoText(), (), "backbone 'NoText' failed in decode: ValueError: no text"),
        (ToyBackbone(), (DeafToFull(),), "observer DeafToFull failed in on_leave"),
    ],
)
def test_a_prompt_with_nothing_to_fill_fails_alone(backbone, observers, words):
    ended = drained(engine_with(backbone, observers=observers))
    assert sorted(ended) == [0, 1, 2, 3]
    assert words in str(ended[1].error)
    for id_ in (0, 2, 3):
        assert ended[id_].row.tokens == mdmkit.decode(sampler(), ToyBackbone(), [ASKED[id_]]).tokens[0]


def test_its_task_gets_the_error_and_its_neighbours_their_rows():
    async def everybody(front):
        tasks = (asyncio.wait_for(front.generate(prompt), SECONDS) for prompt in ASKED)
        return await asyncio.gather(*tasks, return_exceptions=True)

    with AsyncEngine(Engine(sampler(), NoText(), 2)) as front:
        rows = asyncio.run(everybody(front))
    assert isinstance(rows[1], MdmkitError) and "failed in decode" in str(rows[1])
    assert [row.text for row in (rows[0], *rows[2:])] == [
        mdmkit.decode(sampler(), ToyBackbone(), [ASKED[id_]]).texts[0] for id_ in (0, 2, 3)
    ]


class Conditioned(ToyBackbone):
    """Has a conditioning, and a method that fails: from its second call on."""

    def __init__(self, fails, **options):
        super().__init__(**options)
        self.fails, self.calls = fails, 0

    def _called(self, method):
        if method == self.fails:
            self.calls += 1
            if self.calls > 1:
                raise ValueError(f"no {method}")

    def encode(self, prompts, plan):
        self._called("encode")
        canvas, _ = super().encode(prompts, plan)
        return canvas, [prompt.index for prompt in prompts]

    def join(self, parts):
        self._called("join")
        return [each for part in parts for each in part]

    def select(self, conditioning, rows):
        return [conditioning[row] for row in rows.tolist()]


def test_rows_that_cannot_join_end_with_the_models_error_and_those_at_work_go_on():
    asked = read_prompts([{"prompt": "ab", "length": n} for n in (9, 3, 4, 2)], 1)
    ended = drained(engine_with(Conditioned("join"), asked))
    assert sorted(ended) == [0, 1, 2, 3]
    failed = [id_ for id_, each in ended.items() if each.error is not None]
    assert failed and 0 not in failed and 1 not in failed
    for id_ in failed:
        assert "backbone 'Conditioned' failed in join: ValueError: no join" in str(ended[id_].error)


@pytest.mark.parametrize("run", [mdmkit.decode, lambda *given: list(mdmkit.stream(*given))])
def test_an_encode_that_fails_is_named(run):
    with pytest.raises(MdmkitError, match="backbone 'Conditioned' failed in encode: ValueError: no encode"):
        run(sampler(), Conditioned("encode"), ["ab", "c"])


@dataclass(frozen=True)
class Undecided(Search):
    """Never says which particle is the answer."""

    particles: int = 2

    def move(self, step, actions, values, choice, look):
        return torch.arange(len(choice)), choice

    def best(self, canvas, trace, kept):
        raise ValueError("cannot choose")


def test_a_row_whose_answer_cannot_be_chosen_is_not_at_work_for_ever():
    engine = engine_with(ToyBackbone(), ASKED[:1], search=Undecided())
    with pytest.raises(MdmkitError, match="search Undecided"):
        engine.drain()
    assert engine.at_work == []
    (ended,) = engine.drain()
    assert "search Undecided" in str(ended.error) and not engine.busy


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Engine("confidence", ToyBackbone(), 1), "this wants a sampler, not 'confidence'"),
        (lambda: Engine(sampler(), "toy:0", 1), "this wants a model, not 'toy:0'"),
        (lambda: Engine(sampler(), ToyBackbone(), 1, observers="stream"), "observers='stream'"),
        (lambda: Engine(sampler(), ToyBackbone(), 1, observers=["stream"]), "has no method of an observer"),
        (lambda: Engine(sampler(), ToyBackbone(), 1, observers=Observer()), "it must be a list of observers"),
        (lambda: Engine(sampler(), ToyBackbone(), 1, observers=[Observer]), "observer Observer is a class"),
        (lambda: AsyncEngine(sampler()), "AsyncEngine runs an engine, not Sampler"),
    ],
)
def test_an_engine_is_refused_what_decode_is_refused(make, words):
    with pytest.raises(MdmkitError) as caught:
        make()
    assert words in str(caught.value)


class Breaks(ToyBackbone):
    """Fails in one of its forwards."""

    def __init__(self, at, **options):
        super().__init__(**options)
        self.at, self.calls = at, 0

    def forward(self, *given, **more):
        self.calls += 1
        if self.calls == self.at:
            raise ValueError("no forward")
        return super().forward(*given, **more)


@pytest.mark.parametrize("preset", ["confidence", "info_gain"])
@pytest.mark.parametrize("at", [1, 2, 4])
def test_after_a_failed_step_its_rows_have_ended_and_those_that_wait_are_decoded(preset, at):
    asked = read_prompts([{"prompt": "ab", "length": n, "seed": n} for n in (5, 6, 4, 3)], 1)
    engine = Engine(mdmkit.compose(preset), Breaks(at), 2)
    for prompt in asked:
        engine.admit(prompt)
    with pytest.raises(MdmkitError, match="backbone 'Breaks' failed in forward: ValueError: no forward"):
        engine.drain()
    ended = drained(engine)
    assert "no forward" in str(ended[0].error) and "no forward" in str(ended[1].error)
    for id_ in (2, 3):
        assert ended[id_].row.tokens == mdmkit.decode(mdmkit.compose(preset), ToyBackbone(), [asked[id_]]).tokens[0]


class Joins(Conditioned):
    """Has a conditioning, and no guidance: its `join` gets what `encode` and `select` returned, and nothing else."""

    def join(self, parts):
        return [each for part in parts for each in part]


def test_join_gets_conditionings_only():
    asked = read_prompts([{"prompt": "ab", "length": n, "seed": n} for n in (5, 6, 4, 3)], 1)
    rows = mdmkit.decode(sampler(), Joins(None), asked, batch=2).rows
    assert [row.tokens for row in rows] == mdmkit.decode(sampler(), ToyBackbone(), asked).tokens


class Damaged(ToyBackbone):
    """Gives NaN at the call that is numbered."""

    at = 0

    def project(self, hidden):
        self.at -= 1
        return super().project(hidden) * (torch.nan if self.at == 0 else 1.0)


@pytest.mark.parametrize("name", ["beam", "best_of_n", "lookum_smc", "info_gain"])
@pytest.mark.parametrize("at", [2, 3, 4])
def test_the_model_is_to_blame_for_nan_whatever_reads_it(name, at):
    backbone = Damaged()
    backbone.at = at
    with pytest.raises(MdmkitError, match=r"the model's logits are not numbers \(NaN\)"):
        mdmkit.decode(mdmkit.compose(name, plan={"block": 8}), backbone, [{"prompt": "ab", "length": 9}], seed=1)


@pytest.mark.parametrize("cache", ["none", "dual", "prefix"])
@pytest.mark.parametrize("name", ["confidence", "info_gain"])
def test_nan_in_a_slot_does_not_reach_its_next_row(cache, name):
    backbone = mdmkit.load(str(GOLDEN / "llada"), device="cpu", mask_id=125)
    with torch.no_grad():
        backbone.network.model.get_input_embeddings().weight[7] = torch.nan
    composed = mdmkit.compose(name, cache=cache, plan={"block": 4, "early_stop": False})
    bad = {"prompt_ids": [7] * 40, "length": 12}
    beside, after = (
        {"prompt_ids": [*range(20, 50)], "length": 40},
        {"prompt_ids": [*range(9, 21)], "length": 8, "seed": 3},
    )
    engine = Engine(composed, backbone, 2)
    for prompt in read_prompts([bad, beside, after], 0):
        engine.admit(prompt)
    ended = drained(engine, 200)
    assert "NaN" in str(ended[0].error)
    assert ended[1].row is not None and ended[2].row is not None
    assert ended[2].row.tokens == mdmkit.decode(composed, backbone, [after]).tokens[0]


@dataclass(frozen=True)
class Fails(ByConfidence):
    def __call__(self, step):
        if int(step.tick.max()) == 6:
            raise ValueError("boom")
        return super().__call__(step)


def test_a_part_that_fails_is_named_though_columns_were_stored():
    backbone = mdmkit.load(str(GOLDEN / "sdar"), device="cpu", mask_id=125, block_length=4)
    engine = engine_with(backbone, [mdmkit.Prompt(ids=(5,) * 9, length=20)], score=Fails(), cache="block")
    with pytest.raises(MdmkitError, match=r"score Fails.*boom"):
        drained(engine)
    assert engine.state.runner.store


@dataclass(frozen=True)
class Overwrites:
    """Confidence, and late a stray write into the canvas that it reads."""

    def __call__(self, step):
        step.canvas.tokens[:, :1].masked_fill_((step.tick == 3)[:, None], 1)
        return step.confidence


@pytest.mark.parametrize("prompts", [["cd"], ["cd", "efg", "ab"]])
def test_a_part_that_writes_into_the_prompt_is_found(prompts):
    ended = drained(engine_with(ToyBackbone(), read_prompts(prompts, 1), score=Overwrites()))
    for number, prompt in enumerate(prompts):
        if prompt[0] == "a":  # what was written stood there before
            assert ended[number].error is None
        else:
            said = str(ended[number].error)
            assert said.startswith(f"prompt {number}: its own tokens have changed")
            assert "score Overwrites" in said and "commit Write" in said
