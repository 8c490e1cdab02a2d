"""Many prompts: grouped by length, handed out in order, none of them kept; and what happens when one of them fails."""

import gc
import itertools
import runpy
from pathlib import Path

import pytest
import torch

import mdmkit
from mdmkit import Observer, TextStream
from mdmkit.canvas.prompt import Prompt
from mdmkit.canvas.row import Row
from mdmkit.decoding.prompts import read_prompts
from mdmkit.decoding.units import WINDOW, InOrder, grouped
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
    """Notes the shape of each batch, and how much of it is padding."""

    def __init__(self):
        self.shapes, self.padding, self.prompts = [], 0, []

    def on_batch(self, prompts):
        self.prompts.append([prompt.index for prompt in prompts])

    def on_start(self, sampler, backbone, canvas):
        self.shapes.append(tuple(canvas.tokens.shape))
        self.padding += int((~canvas.valid).sum())


# -- grouping --------------------------------------------------------------------------------------------------------


def of_lengths(*sizes):
    return [Prompt(ids=(1,) * size, index=index) for index, size in enumerate(sizes)]


def test_prompts_of_like_length_share_a_batch_and_the_earliest_goes_first():
    batches = list(grouped(of_lengths(9, 1, 8, 2, 7, 3), 2, lambda p: len(p.ids)))
    assert [[p.index for p in batch] for batch in batches] == [[0, 2], [1, 3], [4, 5]]
    assert [len(batch) for batch in grouped(of_lengths(1, 2), 1 << 70, lambda p: len(p.ids))] == [2]
    batches = list(grouped(of_lengths(5, 9, 1, 9, 5), 2, lambda p: len(p.ids)))
    assert [[p.index for p in batch] for batch in batches] == [[0, 2], [1, 4], [3]]


def test_no_prompt_changes_places_beyond_its_window():
    prompts = of_lengths(*(100 - i for i in range(100)))
    batches = list(grouped(prompts, 3, lambda p: len(p.ids)))
    assert sorted(p.index for batch in batches for p in batch) == list(range(100))
    for number, batch in enumerate(batches):
        assert {p.index // (3 * WINDOW) for p in batch} == {number // WINDOW}


def test_prompts_are_read_a_window_ahead_at_most():
    read = []
    endless = (read.append(i) or Prompt(ids=(1,), index=i) for i in itertools.count())
    next(grouped(endless, 2, lambda p: len(p.ids)))
    assert len(read) == 2 * WINDOW


def test_batches_with_something_to_do_stay_as_they_were():
    prompts = of_lengths(*(1 + i * 7 % 10 for i in range(60)))
    all_batches = [[p.index for p in batch] for batch in grouped(prompts, 4, lambda p: len(p.ids))]
    done = {*range(37), 41, 50}
    rest = [[p.index for p in batch] for batch in grouped(prompts, 4, lambda p: len(p.ids), done)]
    assert rest == [batch for batch in all_batches if not {*batch} <= done]
    assert len(rest) < len(all_batches)


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


def test_grouping_saves_padding():
    seen, prompts = Widths(), mixed(64)
    mdmkit.decode(sampler(), ToyBackbone(), prompts, batch=8, observers=[seen])
    sizes = [len(p["prompt"]) + p["length"] for p in prompts]
    in_order = sum(8 * max(sizes[i : i + 8]) - sum(sizes[i : i + 8]) for i in range(0, 64, 8))
    assert len(seen.shapes) == 8
    assert seen.padding < in_order / 4
    assert sorted(i for batch in seen.prompts for i in batch) == list(range(64))


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
    """Counts the rows that are in memory when a batch begins."""

    most = batches = 0

    def on_start(self, sampler, backbone, canvas):
        self.batches += 1
        if self.batches % 7:  # at every place in a window, in time
            return
        gc.collect()
        self.most = max(self.most, sum(type(thing) is Row for thing in gc.get_objects()))


def test_no_row_outlives_its_window():
    living, prompts = Living(), mixed(200)
    for _ in mdmkit.stream(sampler(), ToyBackbone(), prompts, batch=2, observers=[living]):
        pass
    assert 1 <= living.most <= 2 * WINDOW


# -- a row that fails ------------------------------------------------------------------------------------------------


class Faulty(ToyBackbone):
    """Gives no numbers for rows that begin with j and have two masks left."""

    def forward(self, tokens, valid, conditioning, *, positions, cache=None):
        hidden = super().forward(tokens, valid, conditioning, positions=positions, cache=cache)
        first = tokens.gather(1, valid.long().argmax(1, keepdim=True))[:, 0]
        bad = (first == 10) & ((tokens == self.mask_id).sum(1) == 2)
        return hidden.masked_fill(bad[:, None, None], torch.nan)


def test_logits_that_are_no_numbers_name_the_prompt_and_leave_the_finished_rows():
    prompts = mixed(20)
    prompts[13] = {"prompt": "jab", "length": 5}
    got = []
    with pytest.raises(RowError, match=r"logits are not numbers \(NaN\) at tick 3 in row 13 ") as raised:
        got.extend(_each(mdmkit.stream(sampler(), Faulty(), prompts, batch=4), got))
    assert (raised.value.tick, raised.value.prompt) == (3, 13)
    finished = [row.index for row in got]
    assert finished == sorted(finished) and 13 not in finished
    # Batches hold the sixteen positions or less that are alike, and rows behind the gap were waiting.
    assert max(finished) > 13 and len(finished) % 4 == 0
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

    def forward(self, tokens, *rest, **options):
        if len(tokens) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().forward(tokens, *rest, **options)


def test_a_batch_that_does_not_fit_is_halved_for_good():
    seen = Widths()
    with pytest.warns(UserWarning, match="Out of GPU memory with 8 rows: decoding 4 at a time from here on") as said:
        rows = mdmkit.decode(sampler(), Small(), mixed(20), batch=8, observers=[seen]).rows
    assert len(said) == 1
    assert [rows for rows, _ in seen.shapes] == [8, 4, 4, 4, 4, 4]
    assert [row.tokens for row in rows] == mdmkit.decode(sampler(), ToyBackbone(), mixed(20)).tokens


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
    tick = -1

    def on_start(self, sampler, backbone, canvas):
        self.tick = -1

    def on_step(self, step, actions, choice):
        self.tick += 1


def streamed(sampler, backbone, prompts, **options):
    """Each row's pieces as (tick, text), and the decoded rows."""
    clock, pieces, ended = Clock(), {}, []

    def sink(row, piece, last):
        pieces.setdefault(row, []).append((clock.tick, piece))
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
        def on_end(self, canvas, trace):
            totals.append((meter.bar.tasks[0].total, meter.bar.tasks[0].fields["done"]))

    mdmkit.decode(sampler(), ToyBackbone(), prompts, batch=4, observers=[meter, Totals()])
    assert {total for total, _ in totals} == {masks}
    assert totals[-1][1] == 30 and meter.bar.tasks[0].completed == masks
