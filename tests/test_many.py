"""Many prompts: in units of like length, handed out in order, none of them kept; and what happens when one fails."""

import dataclasses
import gc
import itertools
import runpy
import weakref
from pathlib import Path

import pytest
import torch

import mdmkit
from mdmkit import Observer, TextStream
from mdmkit.canvas.prompt import Prompt
from mdmkit.decoding.encodings import Encodings
from mdmkit.decoding.prompts import read_prompts
from mdmkit.decoding.run import decode_batches
from mdmkit.decoding.units import UNIT, WINDOW, InOrder, units
from mdmkit.errors import MdmkitError, RowError
from mdmkit.testing import ToyBackbone
from mdmkit.testing.reference import ByConfidence, LeastEntropyLeft, Spread, TakeQuota

LETTERS = "abcdefghij"


def mixed(count):
    """Prompts of many lengths, in no order."""
    return [{"prompt": LETTERS[: 1 + i * 7 % 10], "length": 1 + i * 5 % 6} for i in range(count)]


def sampler(**parts):
    return mdmkit.compose(score=ByConfidence(), select=TakeQuota(), **parts)


class Widths(Observer):
    """Notes who joins, and of each step which rows take it."""

    def __init__(self):
        self.admitted, self.lengths, self.steps = [], [], []

    def on_admit(self, id, prompt, canvas):
        self.admitted.append(prompt.index)
        self.lengths.append(canvas.tokens.shape[1])

    def on_step(self, step, actions, choice):
        self.steps.append(step.ids)


# -- grouping --------------------------------------------------------------------------------------------------------


def of_lengths(*sizes):
    return [Prompt(ids=(1,) * size, index=index) for index, size in enumerate(sizes)]


def shared(prompts, size, done=()):
    return [[p.index for p in unit] for unit in units(prompts, size, lambda p: len(p.ids), done)]


def test_prompts_of_like_length_share_a_unit_and_the_earliest_goes_first():
    # A window of eight batches of two is two units of four batches: the eight shortest, and the eight longest.
    lengths = (9, 1, 8, 2, 7, 3, 9, 1, 8, 2, 7, 3, 9, 1, 8, 2)
    assert shared(of_lengths(*lengths), 2) == [[0, 2, 4, 6, 8, 10, 12, 14], [1, 3, 5, 7, 9, 11, 13, 15]]
    assert shared(of_lengths(*lengths, 5), 2)[2:] == [[16]]
    assert shared(of_lengths(1, 2), 1 << 70) == [[0, 1]]
    # Of equal length the earlier ones come first. Five batches are units of three and two, not of four and one.
    assert shared(of_lengths(5, 5, 1, 9, 5, 9, 1, 5, 5, 1), 2) == [[0, 1, 2, 4, 6, 9], [3, 5, 7, 8]]
    # Rows one at a time have nothing to share, and stay in order.
    assert shared(of_lengths(5, 9, 1, 9, 5), 1) == [[0, 1, 2], [3, 4]]


def test_no_prompt_changes_places_beyond_its_window():
    prompts = of_lengths(*(100 - i for i in range(100)))
    found = shared(prompts, 3)
    assert sorted(index for unit in found for index in unit) == list(range(100))
    assert [len(unit) for unit in found] == [3 * UNIT] * 8 + [4]
    for number, unit in enumerate(found):
        assert {index // (3 * WINDOW) for index in unit} == {number // (WINDOW // UNIT)}


def test_prompts_are_read_a_window_ahead_at_most():
    read = []
    endless = (read.append(i) or Prompt(ids=(1,), index=i) for i in itertools.count())
    next(units(endless, 2, lambda p: len(p.ids)))
    assert len(read) == 2 * WINDOW


def test_units_with_something_to_do_stay_as_they_were():
    prompts = of_lengths(*(1 + i * 7 % 10 for i in range(60)))
    every = shared(prompts, 2)
    assert len(every) == 8  # seven of eight prompts, and one of four
    done = {*range(37), 41, 50}
    rest = shared(prompts, 2, done)
    assert rest == [unit for unit in every if not {*unit} <= done]
    assert len(rest) < len(every) and any({*unit} & done for unit in rest)


def test_items_come_out_in_order_and_the_rest_over_the_gaps():
    held = InOrder(2, {4: "e"})
    assert held.add(3, "d") == []
    assert held.add(2, "c") == ["c", "d", "e"]
    assert held.add(9, "j") == held.add(7, "h") == []
    assert held.rest() == ["h", "j"]
    assert held.rest() == []


# -- rows do not depend on it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_tokens_uncertainty_and_nfe_do_not_depend_on_the_batch(temperature):
    choosing = mdmkit.compose(
        score=ByConfidence(),
        select=Spread(),
        lookahead=LeastEntropyLeft(),
        overrides=[f"draw.temperature={temperature}"],
    )
    backbone, prompts = ToyBackbone(dtype=torch.float64), mixed(40)
    alone = [mdmkit.decode(choosing, backbone, [p]).rows[0] for p in read_prompts(prompts, choosing.seed)]
    for batch in (1, 3, 4, None):
        rows = mdmkit.decode(choosing, backbone, prompts, batch=batch).rows
        assert [row.index for row in rows] == list(range(40))
        assert [(row.tokens, row.nfe) for row in rows] == [(row.tokens, row.nfe) for row in alone]
        assert [row.uncertainty for row in rows] == pytest.approx([row.uncertainty for row in alone], abs=1e-6)


def test_units_of_like_length_save_padding():
    """Rows of a batch are no longer padded up to its longest for as long as that runs: they leave, and others join."""
    seen, prompts = Widths(), mixed(64)
    decoded = mdmkit.decode(sampler(), ToyBackbone(), prompts, batch=8, observers=[seen])
    sizes = [len(p["prompt"]) + p["length"] for p in prompts]
    # What eight batches in the order of the prompts would compute: as wide and as long as the longest row of each.
    eights = [prompts[i : i + 8] for i in range(0, 64, 8)]
    steps = sum(max(p["length"] for p in eight) for eight in eights)
    columns = sum(
        8 * max(len(p["prompt"]) + p["length"] for p in eight) * max(p["length"] for p in eight) for eight in eights
    )
    needed = sum(size * p["length"] for size, p in zip(sizes, prompts, strict=True))
    assert decoded.columns["needed"] == needed
    assert decoded.columns["computed"] - needed < (columns - needed) / 4
    assert decoded.calls < steps
    assert sorted(seen.admitted) == list(range(64))
    # Two units of four batches; in each those with most to fill join first, and eight are at work as long as any wait.
    fills = [prompts[index]["length"] for index in seen.admitted]
    assert fills == sorted(fills[:32], reverse=True) + sorted(fills[32:], reverse=True)
    assert max(map(len, seen.steps)) == 8
    last = {id: max(i for i, ids in enumerate(seen.steps) if id in ids) for id in range(64)}
    first = {id: min(i for i, ids in enumerate(seen.steps) if id in ids) for id in range(64)}
    assert max(last[id] for id in range(32)) < min(first[id] for id in range(32, 64))  # drained before the next begins
    assert all(len(ids) == 8 for ids in seen.steps[: max(first[id] for id in range(32))])


def test_units_and_what_they_cost_come_out_one_after_the_other():
    prompts = read_prompts(mixed(20), 0)
    got = list(decode_batches(sampler(), ToyBackbone(), prompts, batch=2))
    assert [sorted(row.index for row in rows) for rows, _ in got] == [
        sorted(prompt.index for prompt in unit) for unit in units(prompts, 2, lambda p: len(p.text) + p.length)
    ]
    assert sum(calls for _, calls in got) == mdmkit.decode(sampler(), ToyBackbone(), mixed(20), batch=2).calls


# -- streaming -------------------------------------------------------------------------------------------------------


def test_stream_yields_the_rows_of_decode_in_order_and_reads_prompts_late():
    read = []
    lazily = (read.append(i) or prompt for i, prompt in enumerate(mixed(100)))
    rows = mdmkit.stream(sampler(), ToyBackbone(), lazily, batch=2)
    assert read == []
    first = next(rows)
    assert first.index == 0 and len(read) == 2 * WINDOW
    expected = mdmkit.decode(sampler(), ToyBackbone(), mixed(100), batch=2).rows
    assert [row.json() for row in (first, *rows)] == [row.json() for row in expected]


def test_stream_checks_its_arguments_at_once():
    with pytest.raises(MdmkitError, match="batch=0"):
        mdmkit.stream(sampler(), ToyBackbone(), ["a"], batch=0)
    with pytest.raises(MdmkitError, match="wants a sampler"):
        mdmkit.stream("info_gain", ToyBackbone(), ["a"])
    with pytest.raises(MdmkitError, match="wrap a single prompt"):
        mdmkit.stream(sampler(), ToyBackbone(), "a")


class Living(Observer):
    """Counts the rows that have ended and are in memory when another one joins."""

    most = 0

    def __init__(self):
        self.left = []

    def on_leave(self, id, row):
        self.left.append(weakref.ref(row))

    def on_admit(self, id, prompt, canvas):
        if len(self.left) % 7 == 0:  # at every place in a window, in time
            gc.collect(1)
        self.left = [row for row in self.left if row() is not None]
        self.most = max(self.most, len(self.left))


def test_no_row_outlives_its_window():
    living, prompts = Living(), mixed(200)
    for _ in mdmkit.stream(sampler(), ToyBackbone(), prompts, batch=2, observers=[living]):
        pass
    assert 1 <= living.most <= 2 * WINDOW


# -- each prompt is encoded once -------------------------------------------------------------------------------------


class Counting(ToyBackbone):
    """Notes which prompts it encodes; `conditioned` gives each a conditioning too."""

    conditioned = False

    def __init__(self):
        super().__init__()
        self.encoded = []

    def encode(self, prompts, plan):
        canvas, _ = super().encode(prompts, plan)
        self.encoded += [prompt.index for prompt in prompts]
        return canvas, (canvas.lengths[:, None],) if self.conditioned else None

    def select(self, conditioning, rows):
        return None if conditioning is None else (conditioning[0][rows],)


@pytest.mark.parametrize("batch", [1, 2, None])
def test_each_prompt_is_encoded_once(batch):
    backbone = Counting()
    mdmkit.decode(sampler(), backbone, mixed(40), batch=batch)
    assert sorted(backbone.encoded) == list(range(40))
    if batch:
        backbone.encoded = []
        assert len(list(mdmkit.stream(sampler(), backbone, mixed(40), batch=batch))) == 40
        assert sorted(backbone.encoded) == list(range(40))


def test_what_was_encoded_is_let_go_with_its_unit():
    encodings, prompts = Encodings(Counting(), sampler().plan), read_prompts(mixed(40), 0)
    for prompt in prompts:
        encodings.size(prompt)
    left = []
    for _ in decode_batches(sampler(), encodings.backbone, prompts, batch=2, encodings=encodings):
        left.append((len(encodings._kept), len(encodings._sizes)))
    assert left == [(number, number) for number in (32, 24, 16, 8, 0)]
    assert sorted(encodings.backbone.encoded) == list(range(40))


def test_of_prompts_with_a_conditioning_a_bounded_number_is_kept(monkeypatch):
    monkeypatch.setattr("mdmkit.decoding.encodings.CONDITIONED", 5)
    backbone = Counting()
    backbone.conditioned = True
    encodings, prompts = Encodings(backbone, sampler().plan), read_prompts(mixed(16), 0)
    for prompt in prompts:
        encodings.size(prompt)
    assert backbone.encoded == list(range(16)) and len(encodings._kept) == 5
    rows = [
        row for rows, _ in decode_batches(sampler(), backbone, prompts, batch=2, encodings=encodings) for row in rows
    ]
    again = backbone.encoded[16:]
    assert len(again) == 11 and not {*again} & {*range(5)}  # only those whose encoding was not kept
    plain = {row.index: row.json() for row in mdmkit.decode(sampler(), ToyBackbone(), mixed(16), batch=2).rows}
    assert {row.index: row.json() for row in rows} == plain


# -- a row that fails ------------------------------------------------------------------------------------------------


class Faulty(ToyBackbone):
    """Gives no numbers for rows that begin with j and have two masks left."""

    def forward(self, tokens, *rest, **options):
        out = super().forward(tokens, *rest, **options)
        bad = (tokens[:, 0] == 10) & ((tokens == self.mask_id).sum(1) == 2)
        return dataclasses.replace(out, hidden=out.hidden.masked_fill(bad[:, None, None], torch.nan))


def test_logits_that_are_no_numbers_name_the_prompt_and_leave_the_finished_rows():
    prompts = mixed(20)
    prompts[13] = {"prompt": "jab", "length": 5}
    got = []
    with pytest.raises(RowError, match=r"logits are not numbers \(NaN\) at tick 3 in row 13 ") as raised:
        got.extend(_each(mdmkit.stream(sampler(), Faulty(), prompts, batch=4), got))
    assert (raised.value.tick, raised.value.prompt) == (3, 13)
    finished = [row.index for row in got]
    assert finished == sorted(finished) and 13 not in finished
    # One row failed, and no other of its unit is lost with it, of which some were waiting behind the gap. The second
    # unit, of eight longer prompts, was never begun.
    assert finished == [0, 2, 3, 5, 6, 9, 10, 11, 12, 16, 18]
    whole = mdmkit.decode(sampler(), ToyBackbone(), mixed(20)).rows
    assert [row.tokens for row in got] == [whole[i].tokens for i in finished]


def _each(rows, into):
    for row in rows:
        into.append(row)
    return ()


# -- memory ----------------------------------------------------------------------------------------------------------


class Small(ToyBackbone):
    """Has room for so many rows in one forward."""

    room = 4
    released = 0

    def release(self):
        self.released += 1

    def forward(self, tokens, *rest, **options):
        if len(tokens) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().forward(tokens, *rest, **options)


def test_a_batch_that_does_not_fit_is_halved_for_good():
    seen, backbone = Widths(), Small()
    with pytest.warns(UserWarning, match="Out of GPU memory with 8 rows: decoding 4 at a time from here on") as said:
        rows = mdmkit.decode(sampler(), backbone, mixed(20), batch=8, observers=[seen]).rows
    assert len(said) == 1 and backbone.released == 1
    # All 20 rows are one unit: eight had joined when it began again, with four at a time and every row to come.
    assert len(seen.admitted) == 8 + 20 and sorted(seen.admitted[8:]) == list(range(20))
    assert max(map(len, seen.steps)) == 4
    assert [row.tokens for row in rows] == mdmkit.decode(sampler(), ToyBackbone(), mixed(20)).tokens


def test_a_unit_of_fewer_rows_than_slots_is_halved_from_its_own_number():
    backbone, slots = Small(), {}
    backbone.room = 1
    prompts = read_prompts([{"prompt": "ab", "length": 3}] * 2, 0)
    with pytest.warns(UserWarning, match="with 2 rows: decoding 1 at a time"):
        found = [row for rows, _ in decode_batches(sampler(), backbone, prompts, batch=8, slots=slots) for row in rows]
    assert sorted(row.index for row in found) == [0, 1] and slots == {0: 1}


@pytest.mark.parametrize("since", [0, 8, 16])
def test_slots_that_an_earlier_run_noted_are_obeyed_from_that_unit_on(since):
    """Also where the unit that they were noted of is done, and so is not decoded again."""
    prompts = read_prompts([{"prompt": "ab", "length": 3}] * 24, 0)  # three units of eight
    for done in (set(), {*range(since)}, {*range(since + 8)}):
        seen, slots = Widths(), {since: 1}
        rest = decode_batches(sampler(), ToyBackbone(), prompts, batch=2, observers=[seen], done=done, slots=slots)
        assert sorted(row.index for rows, _ in rest for row in rows) == sorted({*range(24)} - done)
        assert slots == {since: 1}
        at_once = {seen.admitted[id]: len(ids) for ids in seen.steps for id in ids}
        assert at_once == {index: 1 if index >= since else 2 for index in at_once}


def test_what_is_noted_when_memory_is_too_small_is_where_it_began():
    backbone, slots = Small(), {}
    prompts = read_prompts([{"prompt": "ab", "length": 3}] * 48, 0)
    backbone.room = 8
    coming = decode_batches(sampler(), backbone, prompts, batch=8, tell=lambda said: None, slots=slots)
    next(coming)
    assert slots == {}
    backbone.room = 4
    assert sorted(row.index for row in next(coming)[0]) == list(range(24, 48))
    assert slots == {24: 4}


def test_what_does_not_fit_after_that_is_refused_with_its_sizes():
    forked = mdmkit.compose(score=ByConfidence(), select=Spread(), lookahead=LeastEntropyLeft())
    words = (
        r"out of GPU memory with 4 rows of 12 columns, 4 alternatives each, over a vocabulary of 13, after the batch "
    )
    with (
        pytest.warns(UserWarning, match="decoding 4 at a time"),
        pytest.raises(MdmkitError, match=words + r"was halved once\. .*--batch.*select\.candidates.*plan\.length"),
    ):
        mdmkit.decode(forked, Small(), [{"prompt": "abcd", "length": 8}] * 8, batch=8)


def test_one_row_that_does_not_fit_is_refused_at_once():
    backbone = Small()
    backbone.room = 0
    with pytest.raises(MdmkitError, match=r"with 1 row of 3 columns, over a vocabulary of 13\. ") as raised:
        mdmkit.decode(sampler(), backbone, [{"prompt": "a", "length": 2}], batch=1)
    assert "--batch" not in str(raised.value) and "candidates" not in str(raised.value)


# -- the observer `stream` -------------------------------------------------------------------------------------------


class Clock(Observer):
    """The tick of each row, which counts from its own first step."""

    def __init__(self):
        self.index, self.ticks = {}, {}

    def on_admit(self, id, prompt, canvas):
        self.index[id], self.ticks[prompt.index] = prompt.index, -1

    def on_step(self, step, actions, choice):
        for id in step.ids:
            self.ticks[self.index[id]] += 1


def streamed(sampler, backbone, prompts, **options):
    """Each row's pieces as (tick, text), and the decoded rows."""
    clock, pieces, ended = Clock(), {}, []

    def sink(row, piece, last):
        pieces.setdefault(row, []).append((clock.ticks[row], piece))
        if last:
            ended.append(row)

    rows = mdmkit.decode(sampler, backbone, prompts, observers=[clock, TextStream(sink)], **options).rows
    assert sorted(ended) == [row.index for row in rows]
    return pieces, rows


def test_text_comes_at_the_tick_that_closes_the_last_gap_before_it():
    pieces, rows = streamed(sampler(), ToyBackbone(), mixed(9), batch=2)
    for row in rows:
        closed = list(itertools.accumulate(row.order, max))
        expected = [
            (tick, "".join(c for c, t in zip(row.text, closed, strict=True) if t == tick)) for tick in sorted({*closed})
        ]
        assert [piece for piece in pieces[row.index] if piece[1]] == expected
    assert any(len(p) > 2 for p in pieces.values())


def test_the_given_part_of_an_infill_is_streamed_with_it():
    pieces, rows = streamed(sampler(), ToyBackbone(), ["ab__c_"])
    assert "".join(piece for _, piece in pieces[0]) == rows[0].text
    assert pieces[0][0][1].startswith("ab")


class TwoByte(ToyBackbone):
    """Every character takes two tokens."""

    def decode(self, canvas):
        rows = zip(canvas.tokens.tolist(), canvas.shown.tolist(), strict=True)
        kept = [[t for t, keep in zip(row, keeps, strict=True) if keep] for row, keeps in rows]
        return [
            bytes(0xC3 if i % 2 == 0 else 0xA0 + t for i, t in enumerate(row)).decode(errors="replace") for row in kept
        ]


def test_half_a_character_is_never_shown():
    pieces, rows = streamed(sampler(), TwoByte(), [{"prompt": "ab", "length": 12}])
    assert len(rows[0].text) == 6
    assert "".join(piece for _, piece in pieces[0]) == rows[0].text
    assert not any("\ufffd" in piece for _, piece in pieces[0]) and len(pieces[0]) > 2


def test_under_a_commit_that_takes_back_text_is_final_once_the_row_has_left_the_block():
    path = Path(__file__).resolve().parents[1] / "examples" / "hooks" / "commit.py"
    twice = runpy.run_path(str(path))["Reconsider"](floor=1.0)  # every token is written, masked, and written again
    rewriting = sampler(commit=twice, overrides=["plan.block=4", "draw.temperature=1.0"])
    pieces, rows = streamed(rewriting, ToyBackbone(), [{"prompt": "ab", "length": 8}])
    assert max(rows[0].order) == 9
    # The first block's five steps are ticks 0 to 4; that it is left shows at the next one.
    assert pieces[0] == [(5, rows[0].text[:4]), (9, rows[0].text[4:])]


def test_one_row_is_printed_as_it_grows_and_several_by_lines(capsys):
    text = mdmkit.decode(sampler(), ToyBackbone(), ["ab"], observers=[TextStream()]).texts[0]
    assert capsys.readouterr().err == f"{text}\n"
    texts = mdmkit.decode(sampler(), ToyBackbone(), ["ab", "abc", "a"], batch=2, observers=[TextStream()]).texts
    said = capsys.readouterr().err
    assert sorted(said.splitlines()) == [f"[{index}] {text}" for index, text in enumerate(texts)]


class Picture(ToyBackbone):
    def decode(self, canvas):
        return list(canvas.tokens)


def test_what_is_no_text_is_refused():
    with pytest.raises(MdmkitError, match="stream prints text, and this model decodes to Tensor"):
        mdmkit.decode(sampler(), Picture(), ["ab"], observers=[TextStream()])


# -- progress --------------------------------------------------------------------------------------------------------


def test_the_progress_bar_knows_the_whole_from_the_start():
    import io

    from rich.console import Console

    from mdmkit.cli.live import Meter

    prompts = mixed(30)
    masks = sum(prompt["length"] for prompt in prompts)
    meter, totals = Meter(Console(file=io.StringIO()), 30, masks), []

    class Totals(Observer):
        def on_leave(self, id, row):
            totals.append((meter.bar.tasks[0].total, meter.bar.tasks[0].fields["done"]))

    mdmkit.decode(sampler(), ToyBackbone(), prompts, batch=4, observers=[meter, Totals()])
    assert {total for total, _ in totals} == {masks}
    assert totals[-1][1] == 30 and meter.bar.tasks[0].completed == masks
