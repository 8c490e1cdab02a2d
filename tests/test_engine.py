"""The engine: prompts are admitted at any time, rows come out as they end, and none of it shows in what they are."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

import mdmkit
from mdmkit import Engine, Observer, Write
from mdmkit.canvas.prompt import Prompt
from mdmkit.decoding.prompts import read_prompts
from mdmkit.errors import MdmkitError, RowError
from mdmkit.loop import engine as engine_module
from mdmkit.testing import ToyBackbone
from mdmkit.testing.reference import ByConfidence, LeastEntropyLeft, Spread, TakeQuota


def sampler(**parts):
    return mdmkit.compose(**{"score": ByConfidence(), "select": TakeQuota(), **parts})


def prompts_of(*sizes):
    """Prompts that have so many masks to fill, behind one letter or a few."""
    letters = "abcdefghij"
    asked = [{"prompt": letters[i % 3 : 1 + i % 3 + i % 4], "length": n} for i, n in enumerate(sizes)]
    return read_prompts(asked, 0)


class Heard(Observer):
    def __init__(self):
        self.said, self.together = [], []

    def on_start(self, sampler, backbone):
        self.said.append(("start",))

    def on_admit(self, id, prompt, canvas):
        self.said.append(("admit", id))

    def on_step(self, step, actions, choice):
        self.together.append(list(step.ids))

    def on_leave(self, id, row):
        self.said.append(("leave", id))


# -- admitting and ending --------------------------------------------------------------------------------------------


def test_rows_come_out_in_the_order_in_which_they_end():
    heard = Heard()
    engine = Engine(sampler(), ToyBackbone(), 3, observers=[heard])
    assert not engine.busy and engine.step() == []
    ids = [engine.admit(prompt) for prompt in prompts_of(5, 2, 3, 1)]
    assert ids == [0, 1, 2, 3] and engine.busy and engine.calls == 0
    steps = []
    while engine.busy:
        steps.append([ended.id for ended in engine.step()])
    # A token a step: row 1 has two to fill, row 2 three, and row 3 its one after row 1 has left.
    out = [id for step in steps for id in step]
    assert steps[:2] == [[], [1]] and sorted(out[1:3]) == [2, 3] and out[-1] == 0 and sorted(out) == ids
    assert heard.said[:4] == [("start",), ("admit", 0), ("admit", 1), ("admit", 2)]
    assert heard.said.index(("admit", 3)) == heard.said.index(("leave", 1)) + 1
    assert [said[1] for said in heard.said if said[0] == "leave"] == out
    assert max(map(len, heard.together)) == 3
    assert engine.step() == [] and engine.drain() == []


def test_the_ids_count_from_first_and_a_prompt_may_be_encoded_before():
    engine = Engine(sampler(), ToyBackbone(), 2, first=7)
    one = engine.encode(Prompt(text="ab", length=3))
    assert one.columns == 5 and one.canvas.tokens.device.type == "cpu"
    assert [engine.admit(one), engine.admit(one)] == [7, 8]
    first, second = sorted(engine.drain(), key=lambda ended: ended.id)
    assert (first.id, second.id) == (7, 8) and first.row == second.row and first.error is None


def test_a_prompt_with_nothing_to_fill_ends_at_once_and_takes_no_slot():
    heard = Heard()
    engine = Engine(sampler(), ToyBackbone(), 1, observers=[heard])
    given = engine.encode(Prompt(text="ab", length=2))
    none = torch.zeros_like(given.canvas.open)
    canvas = dataclasses.replace(given.canvas.filled(given.canvas.open, given.canvas.tokens), open=none, editable=none)
    full, other = engine.admit(dataclasses.replace(given, canvas=canvas)), engine.admit(prompts_of(4)[0])
    (ended,) = engine.step()
    assert ended.id == full and (ended.row.nfe, ended.row.tokens, ended.row.order) == (0, [], [])
    assert heard.together == [[other]]
    assert heard.said == [("start",), ("admit", full), ("leave", full), ("admit", other)]
    assert [each.id for each in engine.drain()] == [other]


def test_what_cannot_be_encoded_is_refused_and_others_go_on():
    engine = Engine(sampler(), ToyBackbone(), 2)
    good = engine.admit(Prompt(text="ab", length=2))
    with pytest.raises(MdmkitError, match="the toy reads"):
        engine.admit(Prompt(text="AB", length=2))
    assert [ended.id for ended in engine.drain()] == [good]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"slots": 0}, r"slots=0: it is how many rows are decoded together, a whole number from 1\."),
        ({"slots": 2.5}, r"slots=2\.5: it is how many rows"),
        ({"slots": "2"}, "slots='2': it is how many rows"),
        ({"slots": True}, "slots=True: it is how many rows"),
        ({"columns": 0}, r"columns=0: it is the number of columns of all rows together, .* or None for no limit\."),
        ({"columns": "x"}, "columns='x': it is the number of columns"),
        ({"columns": 8.0}, r"columns=8\.0: it is the number of columns"),
    ],
)
def test_sizes_that_are_no_whole_numbers_from_one_are_refused(options, words):
    with pytest.raises(MdmkitError, match=words):
        Engine(sampler(), ToyBackbone(), **{"slots": 2, **options})


@pytest.mark.parametrize("timeout", [0, 0.0, -1, "2", True, float("nan")])
def test_a_timeout_that_is_no_number_of_seconds_above_zero_is_refused(timeout):
    engine = Engine(sampler(), ToyBackbone(), 2)
    with pytest.raises(MdmkitError, match=rf"timeout={timeout!r}: it is a number of seconds above 0, or None"):
        engine.admit(Prompt(text="ab", length=2), timeout)
    assert not engine.busy


@pytest.mark.parametrize("given", ["ab", [1, 2], {"prompt": "ab"}, None])
def test_what_is_no_prompt_is_refused_with_the_way_to_make_one(given):
    engine = Engine(sampler(), ToyBackbone(), 2)
    for takes in (engine.admit, engine.encode):
        with pytest.raises(
            MdmkitError, match=r"the engine takes a prompt, not .*: wrap a text as mdmkit\.Prompt\(text="
        ):
            takes(given)
    assert not engine.busy


def test_encoding_beforehand_and_observing_change_nothing():
    prompts = prompts_of(4, 7, 1, 3)
    plain = Engine(sampler(), ToyBackbone(), 2)
    watched = Engine(sampler(), ToyBackbone(), 2, observers=[Heard()])
    for prompt in prompts:
        plain.admit(prompt)
        watched.admit(watched.encode(prompt))
    assert [each.row for each in plain.drain()] == [each.row for each in watched.drain()]
    assert plain.calls == watched.calls


# -- giving up -------------------------------------------------------------------------------------------------------


def test_a_row_is_cancelled_wherever_it_is_and_its_slot_is_free_at_once():
    heard = Heard()
    engine = Engine(sampler(), ToyBackbone(), 2, observers=[heard])
    at_work, other, waiting, last = (engine.admit(prompt) for prompt in prompts_of(9, 6, 5, 2))
    assert engine.step() == []
    assert engine.cancel(waiting) and engine.cancel(at_work)
    assert not engine.cancel(waiting) and not engine.cancel(at_work) and not engine.cancel(99)
    ended = engine.step()
    assert {each.id: str(each.error) for each in ended} == {
        at_work: "prompt 0 was cancelled.",
        waiting: "prompt 2 was cancelled.",
    }
    assert all(each.row is None for each in ended)
    assert ("admit", last) in heard.said and ("admit", waiting) not in heard.said
    rest = engine.drain()
    assert [each.id for each in rest] == [last, other] and all(each.error is None for each in rest)
    alone = mdmkit.decode(sampler(), ToyBackbone(), [prompts_of(9, 6)[1]]).rows[0]
    assert rest[1].row.tokens == alone.tokens and rest[1].row.nfe == alone.nfe
    assert not engine.cancel(other)


def test_a_row_that_runs_out_of_time_is_given_up_waiting_or_at_work(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(engine_module.time, "monotonic", lambda: now[0])
    engine = Engine(sampler(), ToyBackbone(), 1)
    late, never, patient = (
        engine.admit(prompt, timeout) for prompt, timeout in zip(prompts_of(5, 5, 2), (2.0, 1.0, None), strict=True)
    )
    assert engine.step() == []
    now[0] = 101.0
    assert [(each.id, str(each.error)) for each in engine.step()] == [(never, "prompt 1 ran out of time.")]
    now[0] = 101.5
    assert engine.step() == []
    now[0] = 102.0
    assert [(each.id, str(each.error)) for each in engine.step()] == [(late, "prompt 0 ran out of time.")]
    (rest,) = engine.drain()
    assert rest.id == patient and rest.error is None


def test_a_row_with_time_enough_is_not_given_up():
    engine = Engine(sampler(), ToyBackbone(), 1)
    engine.admit(Prompt(text="ab", length=3), timeout=600.0)
    (ended,) = engine.drain()
    assert ended.error is None and len(ended.row.tokens) == 3


# -- columns ---------------------------------------------------------------------------------------------------------


def test_a_prompt_waits_until_its_columns_are_free_and_those_behind_it_wait_too():
    heard = Heard()
    engine = Engine(sampler(), ToyBackbone(), 4, columns=12, observers=[heard])
    sizes = {}
    for prompt in read_prompts([{"prompt": "a", "length": n} for n in (4, 2, 6, 1)], 0):
        encoded = engine.encode(prompt)
        sizes[engine.admit(encoded)] = encoded.columns
    assert sizes == {0: 5, 1: 3, 2: 7, 3: 2}
    engine.step()
    assert heard.together[0] == [0, 1]  # 5 + 3 + 7 are more than 12, and nobody overtakes
    ended = engine.drain()
    assert sorted(each.id for each in ended) == [0, 1, 2, 3] and all(each.error is None for each in ended)
    assert all(sum(sizes[id] for id in ids) <= 12 for ids in heard.together)
    assert [0, 2] in heard.together or [2, 0] in heard.together  # as soon as row 1 has left
    assert heard.said.index(("admit", 2)) > heard.said.index(("leave", 1))


def test_a_prompt_that_would_never_fit_is_refused():
    engine = Engine(sampler(), ToyBackbone(), 4, columns=6)
    with pytest.raises(MdmkitError, match=r"prompt 3 needs 7 columns, and the engine has 6 for all rows together\."):
        engine.admit(Prompt(text="ab", length=5, index=3))
    assert not engine.busy
    engine.admit(Prompt(text="ab", length=4))
    assert len(engine.drain()) == 1


@dataclass(frozen=True)
class MayGrow(Write):
    """Writes as any commit does; its rows may grow."""

    grows: ClassVar[bool] = True
    rewrites: ClassVar[bool] = True


# Of a row of 10 columns: what it takes, and how the error says so.
TAKES = {
    "length": ({}, 10, ""),
    "room": ({"commit": MayGrow(), "plan": {"room": 50}}, 60, " ((10 + 50 of plan.room) × 1 particles × 1 "),
    "particles": ({"search": {"name": "esmc", "particles": 3}}, 30, " ((10 + 0 of plan.room) × 3 particles × 1 "),
    "guidance": ({"guidance": {"scale": 2.0}}, 20, " ((10 + 0 of plan.room) × 1 particles × 2 branches of guidance)"),
    "all": (
        {
            "commit": MayGrow(),
            "plan": {"room": 50},
            "search": {"name": "esmc", "particles": 3},
            "guidance": {"scale": 2.0},
        },
        360,
        " ((10 + 50 of plan.room) × 3 particles × 2 branches of guidance)",
    ),
}


@pytest.mark.parametrize("name", TAKES)
def test_a_row_takes_its_room_its_particles_and_both_branches_of_guidance(name):
    parts, takes, reckoned = TAKES[name]
    many = sampler(**parts)
    engine = Engine(many, ToyBackbone(), 8, columns=takes - 1)
    with pytest.raises(MdmkitError, match=re.escape(f"prompt 0 needs {takes} columns{reckoned}")):
        engine.admit(Prompt(text="ab", length=8))
    assert engine.columns_of(engine.encode(Prompt(text="ab", length=8))) == takes
    for columns, together in ((2 * takes - 1, 1), (2 * takes, 2), (3 * takes + 1, 3)):
        engine = Engine(many, ToyBackbone(), 8, columns=columns)
        for _ in range(4):
            engine.admit(Prompt(text="ab", length=8))
        engine.step()
        assert len(engine.state.places) == together
        assert len(engine.drain()) == 4


# -- half the slots --------------------------------------------------------------------------------------------------


def test_an_engine_with_half_the_slots_keeps_the_order_of_its_rows_and_counts_on():
    heard = Heard()
    engine = Engine(sampler(), ToyBackbone(), 4, observers=[heard])
    asked = prompts_of(4, 4, 4, 4, 4)
    for prompt in asked:
        engine.admit(prompt)
    assert engine.step() == [] and engine.step() == []
    assert engine.calls == 2 and engine.at_work == [0, 1, 2, 3]
    heard.said.clear()
    assert engine.halve() and engine.slots == 2
    assert engine.calls == 2 and engine.at_work == []
    rows = {ended.id: ended.row for ended in engine.drain()}
    assert [id for said, id in heard.said if said == "admit"] == [0, 1, 2, 3, 4]
    assert engine.calls == 2 + 4 * 3  # two rows, two, and one, in four steps each
    for id, prompt in enumerate(asked):
        alone = mdmkit.decode(sampler(), ToyBackbone(), [prompt]).rows[0]
        assert (rows[id].tokens, rows[id].order, rows[id].nfe) == (alone.tokens, alone.order, alone.nfe)


# -- a row that fails ------------------------------------------------------------------------------------------------


class Faulty(ToyBackbone):
    """Gives no numbers for a row that begins with j and has two masks left."""

    def forward(self, tokens, *rest, **options):
        out = super().forward(tokens, *rest, **options)
        bad = (tokens[:, 0] == 10) & ((tokens == self.mask_id).sum(1) == 2)
        return dataclasses.replace(out, hidden=out.hidden.masked_fill(bad[:, None, None], torch.nan))


@pytest.mark.parametrize("lookahead", [False, True])
def test_a_row_that_fails_comes_out_as_an_error_and_the_others_go_on(lookahead):
    parts = {"select": Spread(), "lookahead": LeastEntropyLeft()} if lookahead else {}
    engine = Engine(sampler(**parts), Faulty(dtype=torch.float64), 3)
    asked = read_prompts(
        [{"prompt": p, "length": n} for p, n in (("ab", 6), ("jab", 4), ("c", 5), ("jj", 3), ("d", 2))], 0
    )
    for prompt in asked:
        engine.admit(prompt)
    ended = {each.id: each for each in engine.drain()}
    assert sorted(ended) == [0, 1, 2, 3, 4]
    for failed in (1, 3):
        error = ended[failed].error
        assert isinstance(error, RowError) and ended[failed].row is None
        assert error.prompt == failed
        # Two are left before tick `length` − 2; a lookahead that compares may see that state a tick before.
        ticks = [asked[failed].length - 2 - seen for seen in range(1 + lookahead)]
        assert error.tick in ticks and str(error).startswith("the model's logits are not numbers (NaN) at tick ")
    for fine in (0, 2, 4):
        alone = mdmkit.decode(sampler(**parts), ToyBackbone(dtype=torch.float64), [asked[fine]]).rows[0]
        got = ended[fine]
        assert got.error is None and (got.row.tokens, got.row.order, got.row.nfe) == (
            alone.tokens,
            alone.order,
            alone.nfe,
        )


class Odd(LeastEntropyLeft):
    def __call__(self, step, actions, look):
        return super().__call__(step, actions, look) * torch.nan


def test_a_lookahead_is_blamed_for_what_it_makes_of_good_logits():
    engine = Engine(sampler(select=Spread(), lookahead=Odd()), ToyBackbone(), 1)
    engine.admit(Prompt(text="ab", length=4))
    (ended,) = engine.drain()
    assert "lookahead Odd" in str(ended.error) and "gave values that are not numbers (NaN)" in str(ended.error)


# -- a row does not know when it came, nor who is beside it ----------------------------------------------------------


KINDS = {
    "confidence": ("confidence", []),
    "confidence at a temperature": ("confidence", ["draw.temperature=0.9"]),
    "lookahead": ("info_gain", ["draw.temperature=0.6"]),
    "blocks": ("confidence", ["plan.block=3", "plan.tokens_per_step=2"]),
    "lookahead in blocks": ("info_gain", ["plan.block=4"]),
}

SIZES = (7, 2, 12, 3, 5, 1, 9, 4)


@dataclass(frozen=True)
class Schedule:
    """When each prompt is admitted: before which step."""

    slots: int
    at: tuple[int, ...]


SCHEDULES = {
    "all at once, one slot": Schedule(1, (0,) * 8),
    "more than there are slots": Schedule(3, (0,) * 8),
    "late, one by one": Schedule(8, (0, 1, 2, 3, 5, 8, 9, 13)),
    "into slots that others left": Schedule(2, (0, 0, 2, 4, 6, 8, 10, 12)),
    "the short one first, the longest beside it later": Schedule(4, (0, 0, 3, 0, 1, 1, 2, 0)),
    "with pauses": Schedule(2, (0, 0, 30, 30, 60, 60, 60, 90)),
}


def rows_of(ended):
    assert all(each.error is None for each in ended)
    return {each.row.index: each.row for each in ended}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("kind", KINDS)
def test_tokens_order_and_nfe_are_those_of_the_row_alone(kind, schedule):
    preset, overrides = KINDS[kind]
    choosing, backbone = mdmkit.compose(preset, overrides=overrides), ToyBackbone(dtype=torch.float64)
    prompts = prompts_of(*SIZES)
    engine = Engine(choosing, backbone, schedule.slots)
    ended, step = [], 0
    while engine.busy or step <= max(schedule.at):
        for prompt, at in zip(prompts, schedule.at, strict=True):
            if at == step:
                engine.admit(prompt)
        ended += engine.step()
        step += 1
    rows = rows_of(ended)
    assert sorted(rows) == list(range(len(prompts)))
    for prompt in prompts:
        alone = mdmkit.decode(choosing, backbone, [prompt]).rows[0]
        got = rows[prompt.index]
        assert (got.tokens, got.order, got.nfe, got.row_tokens, got.stopped) == (
            alone.tokens,
            alone.order,
            alone.nfe,
            alone.row_tokens,
            alone.stopped,
        )
        assert got.trace["choices"] == alone.trace["choices"]
        assert got.uncertainty == pytest.approx(alone.uncertainty, abs=1e-9)


def test_the_slot_of_a_row_that_left_or_was_cancelled_keeps_nothing_of_it():
    choosing, backbone = mdmkit.compose("info_gain", overrides=["plan.block=4"]), ToyBackbone(dtype=torch.float64)
    engine, prompts = Engine(choosing, backbone, 2), prompts_of(*SIZES)
    gone = engine.admit(prompts[2])
    for prompt in (prompts[0], prompts[6], prompts[7]):
        engine.admit(prompt)
    for _ in range(3):
        assert engine.step() == []
    assert engine.cancel(gone)
    ended = [each for each in engine.drain() if each.id != gone]
    rows = rows_of(ended)
    assert sorted(rows) == [0, 6, 7]
    for index, got in rows.items():
        alone = mdmkit.decode(choosing, backbone, [prompts[index]]).rows[0]
        assert (got.tokens, got.order, got.nfe) == (alone.tokens, alone.order, alone.nfe)
