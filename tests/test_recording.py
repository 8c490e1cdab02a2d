"""What a trace records of every step: replaying it gives the canvas, and its letters are the entropies."""

from __future__ import annotations

import json
import math
import runpy
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

import mdmkit
from mdmkit import Draw, Observer, Plan, Sampler
from mdmkit.canvas.prompt import Prompt
from mdmkit.testing import ByConfidence, LeastEntropyLeft, Spread, TakeQuota, ToyBackbone
from mdmkit.watch.recording import LEVELS, Recording

EXAMPLE = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "hooks" / "search.py"))


@dataclass(frozen=True)
class TwiceEach:
    """A row's second step takes back what the first wrote; the third writes other tokens than the action's."""

    rewrites: ClassVar[bool] = True

    def __call__(self, step, actions, choice):
        place, tokens = actions.take(choice)
        third = (step.tick == 2)[:, None]
        written = torch.where(third, (tokens + 1) % 5, tokens)
        canvas = step.canvas.filled(step.spread(place), step.put(step.canvas.tokens, written))
        first = step.recall("twice.first", like="window", fill=False, dtype=torch.bool)
        step.keep("twice.first", torch.where((step.tick == 0)[:, None], place, first))
        second = (step.tick == 1)[:, None] & step.active[:, None]
        return canvas.reopened(step.spread(second & first))


def sampler(lookahead=True, **more):
    stages = (ByConfidence(), Spread(3), LeastEntropyLeft()) if lookahead else (ByConfidence(), TakeQuota())
    return Sampler(*stages, **{"plan": Plan(length=8), "draw": Draw(temperature=0.8), **more})


def record(sampler, prompts, ends=(), **options):
    """Decode with a recording; each row's trace with what was recorded."""
    recording, backbone = Recording(), ToyBackbone(dtype=torch.float64)
    backbone.ends = ends
    rows = mdmkit.decode(sampler, backbone, prompts, observers=[recording], **options).rows
    return [row.trace | recording.take(row.index) for row in rows]


def replayed(row):
    """The canvas before each step and at the end."""
    states = [list(row["prompt_tokens"])]
    for step in row["steps"]:
        states.append(list(states[-1]))
        for position, token, *_ in step["written"]:
            states[-1][position] = token
    return states


@pytest.mark.parametrize("lookahead", [False, True])
@pytest.mark.parametrize("block", [None, 4])
def test_replaying_the_writes_gives_every_canvas(lookahead, block):
    for row in record(sampler(lookahead, plan=Plan(length=8, block=block)), ["ab", "c__d", "j"]):
        states = replayed(row)
        assert states[-1] == row["tokens"]
        assert len(row["steps"]) == len(row["choices"])
        written = {w[0]: tick for tick, step in enumerate(row["steps"]) for w in step["written"]}
        assert written == {t: tick for t, tick in enumerate(row["order"]) if tick >= 0}
        assert all(len(w) == 2 for step in row["steps"] for w in step["written"])


def test_tokens_that_were_taken_back_are_in_the_steps_with_their_probability():
    (row,) = record(sampler(False, commit=TwiceEach(), plan=Plan(length=6)), ["ab"])
    states = replayed(row)
    assert states[-1] == row["tokens"]
    ((back, token, probability),) = row["steps"][0]["written"]
    assert token != row["mask_id"] and 0 < probability <= 1
    assert [back, row["mask_id"]] in row["steps"][1]["written"]
    assert row["order"][back] > 1
    third = row["steps"][2]["written"]
    assert len(third) == 2 and all(row["tokens"][position] == token for position, token in third)


def test_what_an_early_stop_left_behind_was_written_by_no_step():
    draw = Draw(penalty={3: -50.0})  # the end turns up at once
    rows = record(sampler(plan=Plan(length=12, block=4), draw=draw), ["ab", "hij"], ends=(3,))
    for row in rows:
        assert replayed(row)[-1][-8:] == [row["mask_id"]] * 8 and row["tokens"][-8:] == [3] * 8
        assert replayed(row)[-1][:-8] == row["tokens"][:-8]


def test_letters_are_the_entropies_of_the_open_positions():
    class Heard(Observer):
        def __init__(self):
            self.steps = []

        def on_step(self, step, actions, choice):
            self.steps.append(step.belief.entropy[0][step.open[0]].tolist())

    heard, recording, backbone = Heard(), Recording(), ToyBackbone(dtype=torch.float64)
    run = mdmkit.decode(sampler(plan=Plan(length=8, block=4)), backbone, ["ab"], observers=[heard, recording])
    row = recording.take(0)
    assert row["entropy_scale"] == pytest.approx(math.log(backbone.vocab), abs=1e-6)
    before = replayed(run.rows[0].trace | row)
    for step, entropies, state in zip(row["steps"], heard.steps, before, strict=False):
        first, letters = step["open"]
        open_ = [t for t in range(first, len(state)) if state[t] == row["mask_id"]][: len(letters)]
        assert first == open_[0] and len(letters) == len(entropies)
        for letter, entropy in zip(letters, entropies, strict=True):
            level = 63 * math.sqrt(entropy / row["entropy_scale"])
            assert LEVELS.index(letter) == pytest.approx(level, abs=0.51)
    assert [len(entropies) for entropies in heard.steps] == [4, 3, 2, 1] * 2


def test_alternatives_go_with_their_values_and_the_taken_one_is_what_was_written():
    compared = 0
    for row in record(sampler(plan=Plan(length=8, tokens_per_step=2)), ["ab", "c__d", "j", "hi"]):
        for step, values, choice in zip(row["steps"], row["values"], row["choices"], strict=True):
            if values is None:
                continue
            compared += 1
            alternatives = step["alternatives"]
            assert [one is None for one in alternatives] == [value is None for value in values]
            assert sorted(alternatives[choice]) == sorted(w[:2] for w in step["written"])
            tokens = {str(token) for one in alternatives for _, token in one or ()}
            assert tokens <= set(row["names"])
    assert compared >= 6


def test_a_row_is_recorded_alike_alone_and_beside_others():
    prompts = [{"prompt": text, "seed": seed} for seed, text in enumerate(["ab", "c__d", "hij", "_"])]

    def recorded(rows):
        return [{key: row[key] for key in ("mask_id", "entropy_scale", "names", "steps")} for row in rows]

    together = recorded(record(sampler(), prompts))
    assert together == recorded(record(sampler(), [prompt])[0] for prompt in prompts)
    assert together == recorded(record(sampler(), prompts, batch=2))


def test_recording_changes_no_token():
    plain = mdmkit.decode(sampler(), ToyBackbone(dtype=torch.float64), ["ab", "c__d"]).rows
    assert [row["tokens"] for row in record(sampler(), ["ab", "c__d"])] == [row.trace["tokens"] for row in plain]


def test_a_search_records_the_mask_and_no_steps():
    (row,) = record(sampler(search=EXAMPLE["Calmest"](2)), ["ab"])
    assert row["mask_id"] == ToyBackbone().mask_id
    assert "steps" not in row and "entropy_scale" not in row


def test_the_trace_file_holds_the_steps_and_stays_small(tmp_path):
    from click.testing import CliRunner

    from mdmkit.cli import main

    file = tmp_path / "t.json"
    line = ["decode", "--prompt", "_*_=_______", "--trace", str(file), "--no-live", "--device", "cpu"]
    assert CliRunner().invoke(main, line).exit_code == 0
    (row,) = json.loads(file.read_text())["rows"]
    assert replayed(row)[-1] == row["tokens"]
    assert all(row["names"][str(w[1])] == row["pieces"][w[0]] for step in row["steps"] for w in step["written"])
    without = {key: value for key, value in row.items() if key not in ("steps", "names")}
    assert len(json.dumps(row)) < 2.5 * len(json.dumps(without))


def test_a_longer_row_that_joins_writes_nothing_into_the_others():
    """The canvas grows beneath the rows at work: columns that only fill the batch up are nobody's writes."""
    recording = Recording()
    engine = mdmkit.Engine(sampler(), ToyBackbone(dtype=torch.float64), 2, observers=[recording])
    prompts = [Prompt(text=text, index=i) for i, text in enumerate(["ab", "c", "abcdefghij"])]
    engine.admit(prompts[0])
    ended = engine.step()
    engine.admit(prompts[2])
    engine.admit(prompts[1])
    ended += engine.drain()
    rows = {each.row.index: each.row.trace | recording.take(each.row.index) for each in ended}
    assert sorted(rows) == [0, 1, 2]
    for index, row in rows.items():
        assert replayed(row)[-1] == row["tokens"]
        solo = Recording()
        alone = mdmkit.Engine(sampler(), ToyBackbone(dtype=torch.float64), 1, observers=[solo])
        alone.admit(prompts[index])
        alone.drain()
        assert row["steps"] == solo.take(index)["steps"]
