"""A run of many prompts that is cut short: what is finished is kept, and `--resume` ends with the same file."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys

import pytest
import warm
from click.testing import CliRunner
from damaging import damaged, without_keys
from refusing import refused

from mdmkit.cli import main
from mdmkit.decoding.units import UNIT, WINDOW
from mdmkit.installed import registry
from mdmkit.testing import ToyBackbone

PLUGIN = '''
import dataclasses
import gc
import os
import signal
import sys

import torch

from mdmkit import Component, Observer, hookimpl
from mdmkit.canvas.row import Row
from mdmkit.testing import ToyBackbone
from mdmkit.testing.reference import ByConfidence, TakeQuota


class Toy(ToyBackbone):
    """Stops like Ctrl-C in a given forward, gives no numbers in another, or has room for so many rows."""

    calls = 0

    def forward(self, *args, **options):
        self.calls += 1
        if self.calls >= int(os.environ.get("ROOM_FROM", 0)) and len(args[0]) > int(os.environ.get("ROOM", 99)):
            raise torch.OutOfMemoryError("CUDA out of memory")
        if self.calls == int(os.environ.get("STOP_AT", 0)):
            raise KeyboardInterrupt
        hidden = super().forward(*args, **options)
        if self.calls == int(os.environ.get("NAN_AT", 0)):  # of the first row alone
            bad = torch.arange(len(args[0]))[:, None, None] == 0
            return dataclasses.replace(hidden, hidden=hidden.hidden.masked_fill(bad, torch.nan))
        return hidden


class Killed(Observer):
    """Dies in the third step after a given number of rows has been admitted, as by kill -9."""

    rows = steps = 0

    def on_admit(self, *row):
        self.rows += 1

    def on_step(self, *step):
        self.steps += self.rows >= int(os.environ["KILL_AT"])
        if self.steps == 3:
            os.kill(os.getpid(), signal.SIGKILL)


def alive():
    gc.collect()
    return sum(type(thing) is Row for thing in gc.get_objects())


class Living(Observer):
    """Says how many rows more than at the start are in memory when every ninth row joins."""

    rows = 0

    def on_start(self, *run):
        self.before = alive()

    def on_admit(self, *row):
        self.rows += 1
        if self.rows % 9 == 0:
            print("living", alive() - self.before, file=sys.stderr)


class Resident(Observer):
    """Says how much memory the process holds when every sixteenth row joins, MiB."""

    rows = -1

    def on_admit(self, *row):
        self.rows += 1
        if self.rows % 16:
            return
        with open("/proc/self/statm") as sizes:
            print("resident", int(sizes.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20, file=sys.stderr)


class Admitted(Observer):
    def on_admit(self, id, prompt, canvas):
        print("admitted", prompt.index, file=sys.stderr)


class Crowded(ByConfidence):
    """Scores by how many rows are beside it, which no honest part does: it stands for the last bits of floats."""

    def __call__(self, step):
        places = torch.arange(step.open.shape[1])
        return super().__call__(step) + 10.0 * (places if step.rows % 2 else -places)


@hookimpl
def mdmkit_backbone():
    return [Component("toy", Toy)]


@hookimpl
def mdmkit_observer():
    return [Component("killed", Killed), Component("living", Living), Component("admitted", Admitted),
            Component("resident", Resident)]


@hookimpl
def mdmkit_score():
    return [Component("by_confidence", ByConfidence), Component("crowded", Crowded)]


@hookimpl
def mdmkit_select():
    return [Component("take_quota", TakeQuota)]
'''


def furnish(folder):
    """Put a plugin, a greedy config and 60 prompts of mixed length into a directory."""
    (folder / "toys.py").write_text(PLUGIN)
    (folder / "greedy.yaml").write_text("score: by_confidence\nselect: take_quota\n")
    prompts = [{"prompt": "abcdefghij"[: 1 + i * 7 % 10], "length": 1 + i * 5 % 6} for i in range(60)]
    (folder / "p.jsonl").write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory with what `furnish` puts there, and in it."""
    monkeypatch.chdir(tmp_path)
    furnish(tmp_path)
    return tmp_path


BASE = ["decode", "--plugin", "toys.py", "--model", "toy:0", "--no-live", "--device", "cpu", "--batch", "4"]
BASE += ["--config", "greedy.yaml", "--prompts", "p.jsonl"]


@pytest.fixture
def decode(place, monkeypatch):
    """Run `mdmkit decode` on the 60 prompts in batches of 4; later options win; names in capitals go to the model."""

    def call(*options, **environment):
        monkeypatch.setattr(registry, "_default", None)  # every command is a process of its own
        given = [*BASE, *map(str, options)]
        return CliRunner().invoke(main, given, env={key: str(value) for key, value in environment.items()})

    return call


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Where a run that nothing disturbs left `whole.jsonl` and its record; for all tests, who only copy them."""
    folder = tmp_path_factory.mktemp("undisturbed")
    furnish(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(registry, "_default", None)
        result = CliRunner().invoke(main, [*BASE, "--output", "whole.jsonl"])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def whole(place, undisturbed):
    """The bytes of a run that nothing disturbs, whose output and record lie here."""
    for name in ("whole.jsonl", "whole.jsonl.run.json"):
        shutil.copy2(undisturbed / name, place / name)
    return (place / "whole.jsonl").read_bytes()


def indices(file):
    return [json.loads(line)["index"] for line in file.read_text().splitlines()]


def admitted(result):
    """The rows that a command decoded, with the observer `admitted`, in that order."""
    return [int(line.split()[1]) for line in result.stderr.splitlines() if line.startswith("admitted")]


def kill(place, output, at, *options, **environment):
    """Run the 60 prompts in a process of its own, and kill it when so many rows have been admitted."""
    base = [*BASE, "--observer", "killed", "--output", output]
    added = {"KILL_AT": str(at), "OMP_NUM_THREADS": "1", **environment}
    killed = warm.mdmkit(*base, *options, cwd=place, env=os.environ | added)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    return killed


# -- kill -9 ---------------------------------------------------------------------------------------------------------


def test_two_hundred_prompts_killed_in_the_middle_end_in_the_same_file(place, decode):
    draw = random.Random(0)
    products = [f"{draw.randint(2, 9)}*{draw.randint(2, 9)}={'_' * draw.choice((2, 3, 5, 7))}" for _ in range(200)]
    (place / "puzzles.jsonl").write_text("".join(json.dumps(text) + "\n" for text in products))
    given = ["--model", "zoo:puzzles", "--batch", "8", "--prompts", "puzzles.jsonl", "--output"]
    base = ["decode", "--plugin", "toys.py", "--no-live", "--device", "cpu", "--config", "greedy.yaml"]
    options = ("out.jsonl", "--observer", "killed")
    killed = warm.mdmkit(*base, *given, *options, env=os.environ | {"KILL_AT": "100", "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL
    before = (place / "out.jsonl").read_bytes()
    finished = before.count(b"\n")
    assert 64 <= finished < 96 and before.endswith(b"\n")  # the first window, and some of the second
    # Three units of four batches are finished; what of the third waits for the fourth is in the record.
    waiting = json.loads((place / "out.jsonl.run.json").read_text())["waiting"]
    assert finished + len(waiting) == 96

    (place / "out.jsonl").write_bytes(before + b'{"index": 199, "pro')
    result = decode(*given, "out.jsonl", "--resume", "--observer", "admitted")
    assert "104 rows, " in result.stdout and "96 rows were there before" in result.stdout
    assert len(admitted(result)) == 104  # the unit that was at work, and those after it
    assert decode(*given, "whole.jsonl").exit_code == 0
    assert (place / "out.jsonl").read_bytes() == (place / "whole.jsonl").read_bytes()
    assert indices(place / "out.jsonl") == list(range(200))


@pytest.mark.parametrize("at", [2, 17, 33, 44, 58])
def test_a_kill_anywhere_repeats_one_unit_at_most(decode, place, whole, at):
    """Units are of 16 rows here, the last one of 12; a row that is admitted twice was decoded twice, or begun."""
    kill(place, "out.jsonl", at)
    finished = (at - 1) // (4 * UNIT) * 4 * UNIT
    result = decode("--output", "out.jsonl", "--resume", "--observer", "admitted")
    assert result.exit_code == 0, result.output
    assert (place / "out.jsonl").read_bytes() == whole
    assert len(admitted(result)) == 60 - finished
    assert json.loads((place / "out.jsonl.run.json").read_text())["waiting"] == []


@pytest.mark.parametrize("first", [True, False])
def test_a_kill_after_memory_was_too_small_ends_in_the_same_bytes(decode, place, first):
    """Half of the slots from a unit on, in the record, and obeyed where there is room for all of them again."""
    # Rows of one block are decoded as one batch of few or many: under a mean over the batch that shows in the tokens.
    lean = ["--observer", "admitted", "--output"]
    room = {"ROOM": "2"} if first else {"ROOM_FROM": "30", "ROOM": "2"}
    once = decode(*lean, "whole.jsonl", "--set", "score=crowded", **room)
    assert "decoding 2 at a time" in once.stderr and once.exit_code == 0
    plain = decode(*lean, "plain.jsonl", "--set", "score=crowded")
    assert plain.exit_code == 0 and (place / "plain.jsonl").read_bytes() != (place / "whole.jsonl").read_bytes()
    whole = (place / "whole.jsonl").read_bytes()

    began = admitted(once)
    again = next(i for i in range(1, len(began)) if began[i] in began[:i])  # the unit begins again
    unit = min(began[again : again + 4 * UNIT])
    for at in (again + 3, again + 18, len(began) - 5):  # in that unit, in the next one, and in the last
        for file in place.glob("out*"):
            file.unlink()
        kill(place, "out.jsonl", at, "--set", "score=crowded", **room)
        record = json.loads((place / "out.jsonl.run.json").read_text()) if (place / "out.jsonl").exists() else {}
        if record:
            assert record["slots"] == {str(unit): 2}
            room_now = {}  # there is room again, and the record says how it was
        else:
            room_now = room  # nothing was finished, nothing is on record: it begins anew
        result = decode(*lean, "out.jsonl", "--resume", "--set", "score=crowded", **room_now)
        assert result.exit_code == 0, result.output
        assert (place / "out.jsonl").read_bytes() == whole
        if record:
            assert len(admitted(result)) <= 60 - (at - 4 * UNIT) + 4 * UNIT
            assert json.loads((place / "out.jsonl.run.json").read_text())["slots"] == {str(unit): 2}


# -- --resume --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [0, 1, 700, 5000, -1])
def test_a_file_cut_anywhere_ends_the_same(decode, place, whole, cut):
    decode("--output", "out.jsonl")
    (place / "out.jsonl").write_bytes(whole[:cut])
    result = decode("--output", "out.jsonl", "--resume")
    assert result.exit_code == 0, result.output
    assert (place / "out.jsonl").read_bytes() == whole
    assert f"{60 - whole[:cut].count(10)} rows, " in result.stdout


@pytest.mark.parametrize("stop", [1, 12, 52])  # before any, in the second unit of a window, in that of the next one
def test_rows_that_waited_when_ctrl_c_came_are_kept_and_not_decoded_again(decode, place, whole, stop):
    result = decode("--output", "out.jsonl", STOP_AT=stop)
    assert result.exit_code == 130
    kept = indices(place / "out.jsonl") if (place / "out.jsonl").exists() else []
    assert f"Stopped: {len(kept)} of 60 rows are finished" in result.stderr
    assert ("--resume continues" in result.stderr) == bool(kept)
    assert kept == sorted(kept) and (stop == 1 or kept != list(range(len(kept))))  # there are gaps
    # A second run is cut short before it finishes anything; what waits is still there afterwards.
    assert decode("--output", "out.jsonl", "--resume", STOP_AT=1).exit_code == 130
    assert (indices(place / "out.jsonl") if kept else []) == kept
    result = decode("--output", "out.jsonl", "--resume", "--observer", "admitted")
    assert (place / "out.jsonl").read_bytes() == whole
    # Rows are admitted unit by unit: none of a unit that was finished, and what is decoded is what was lacking.
    assert sorted(admitted(result)) == sorted({*range(60)} - {*kept})
    assert f"{60 - len(kept)} rows, " in result.stdout
    assert json.loads((place / "out.jsonl.run.json").read_text())["waiting"] == []


def test_a_kill_while_waiting_rows_are_moved_loses_none(decode, place, whole):
    """The worst moment: they are in the record, and no longer in the file."""
    decode("--output", "out.jsonl", STOP_AT=12)
    kept = indices(place / "out.jsonl")
    head = next(i for i in range(60) if i not in kept)
    from mdmkit.cli.resuming import reopen
    from mdmkit.cli.rows import check_row

    record = json.loads((place / "out.jsonl.run.json").read_text())
    assert sorted(reopen(place / "out.jsonl", record["run"], check_row).done) == kept
    lines = (place / "out.jsonl").read_bytes().splitlines(keepends=True)
    (place / "out.jsonl").write_bytes(b"".join(lines[:head]))
    result = decode("--output", "out.jsonl", "--resume")
    assert f"{60 - len(kept)} rows, " in result.stdout
    assert (place / "out.jsonl").read_bytes() == whole


def test_a_row_that_was_written_waits_no_longer(decode, place, whole):
    """A kill after the last rows were written, and before the record was, leaves them in both."""
    file = place / "whole.jsonl.run.json"
    before = file.read_bytes()
    last = json.loads(whole.splitlines()[-1])
    file.write_text(json.dumps(json.loads(before) | {"waiting": [last]}))
    assert "0 rows, 0 tokens" in decode("--output", "whole.jsonl", "--resume").stdout
    assert file.read_bytes() == before and (place / "whole.jsonl").read_bytes() == whole


def test_an_output_killed_before_its_record_was_written_begins_anew(decode, place, whole):
    (place / "out.jsonl").write_bytes(b"")
    result = decode("--output", "out.jsonl", "--resume")
    assert result.exit_code == 0, result.output
    assert (place / "out.jsonl").read_bytes() == whole
    assert json.loads((place / "out.jsonl.run.json").read_text())["run"]["prompts"]["number"] == 60


def test_what_is_replaced_loses_its_record_before_its_rows(decode, place, whole, monkeypatch):
    """A kill between the two would leave rows of the one run with the record of the other."""
    states = []

    def kill(path, run, *rest):
        states.append((path.read_bytes(), (place / "whole.jsonl.run.json").exists()))
        raise KeyboardInterrupt

    monkeypatch.setattr("mdmkit.cli.record.write_record", kill)
    assert decode("--output", "whole.jsonl", "--overwrite", "--seed", 3).exit_code == 130
    assert states == [(b"", False)]


def test_resuming_what_is_finished_changes_nothing_and_what_never_began_begins(decode, place, whole):
    result = decode("--output", "whole.jsonl", "--resume")
    assert "0 rows, 0 tokens" in result.stdout and "60 rows were there before." in result.stdout
    assert (place / "whole.jsonl").read_bytes() == whole
    assert decode("--output", "new.jsonl", "--resume").exit_code == 0
    assert (place / "new.jsonl").read_bytes() == whole


def test_the_batch_may_change_between_the_runs(decode, place, whole):
    decode("--output", "out.jsonl", STOP_AT=52)
    assert decode("--output", "out.jsonl", "--resume", "--batch", 3).exit_code == 0
    rows = [json.loads(line) for line in (place / "out.jsonl").read_text().splitlines()]
    expected = [json.loads(line) for line in whole.decode().splitlines()]
    assert [(row["index"], row["tokens"]) for row in rows] == [(row["index"], row["tokens"]) for row in expected]


@pytest.mark.parametrize("batch", [1, 3, 7, 64])
def test_under_a_temperature_and_ragged_lengths_another_batch_ends_in_the_same_rows(decode, place, batch):
    draw = random.Random(2)
    texts = [f"{draw.randint(2, 9)}*{draw.randint(2, 9)}={'_' * draw.randint(1, 9)}" for _ in range(40)]
    (place / "ragged.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    given = ["--model", "zoo:puzzles", "--prompts", "ragged.jsonl", "--set", "draw.temperature=1.5", "--output"]
    assert decode(*given, "out.jsonl").exit_code == 0
    lines = (place / "out.jsonl").read_bytes().splitlines(keepends=True)
    expected = [json.loads(line) for line in lines]
    (place / "out.jsonl").write_bytes(b"".join([*lines[:6], *lines[11:19]]))  # the rows from 11 on wait for five
    result = decode(*given, "out.jsonl", "--resume", "--batch", batch)
    assert "26 rows, " in result.stdout and "14 rows were there before" in result.stdout
    if batch == 64:  # one unit, so its calls are also those of the rows that were there
        assert "14 rows were there before; 14 of them were decoded again within these calls." in result.stdout
    rows = [json.loads(line) for line in (place / "out.jsonl").read_text().splitlines()]
    then, now = ([row.pop("uncertainty") for row in each] for each in (expected, rows))
    assert now == pytest.approx(then, rel=1e-4)  # but for the last digits of floats
    assert rows == expected
    assert len({json.dumps(row["tokens"]) for row in rows if len(row["tokens"]) > 3}) > 20  # they are random


def test_json_after_a_resume_holds_all_rows(decode, place, whole):
    decode("--output", "out.jsonl", STOP_AT=52)
    document = json.loads(decode("--output", "out.jsonl", "--resume", "--json").stdout)
    assert document["rows"] == [json.loads(line) for line in whole.decode().splitlines()]
    assert document["nfe"]["rows"] == sum(row["nfe"] for row in document["rows"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--seed", 3], ["sampler.seed (0 then, 3 now)."]),
        (["--set", "draw.temperature=0.5"], ["sampler.draw.temperature (0.0 then, 0.5 now)."]),
        (["--set", "plan.block=2", "--model", "toy:1"], ["model (toy:0 then, toy:1 now)", "sampler.plan.block (null"]),
        (["--model-option", "vocab=20"], ["model-option.vocab (nothing then, 20 now)"]),
        (["--dtype", "float32"], ["dtype (auto then, float32 now)"]),
        (["--prompt", "a"], ["prompts (60 then, 61 now)."]),
        (["--prompts", "q.jsonl"], ["prompts (the same number, but other prompts)."]),
        (["--no-infill"], ["prompts (the same number, but with --no-infill now)."]),
        (["--no-chat"], ["prompts (the same number, but with --no-chat now)."]),
    ],
)
def test_another_run_is_refused_by_what_differs(decode, place, options, words):
    lines = (place / "p.jsonl").read_text().splitlines()
    (place / "q.jsonl").write_text("\n".join([*lines[:-1], '{"prompt": "a", "length": 2}']))
    decode("--output", "out.jsonl", STOP_AT=52)
    before = {path.name: path.read_bytes() for path in place.glob("out*")}
    refused(decode("--output", "out.jsonl", "--resume", *options), "out.jsonl is of another run: ", *words)
    assert {path.name: path.read_bytes() for path in place.glob("out*")} == before


def test_a_link_stays_and_its_target_is_continued_and_replaced_with_its_record(decode, place, whole):
    (place / "disk").mkdir()
    (place / "out.jsonl").symlink_to("disk/rows.jsonl")
    decode("--output", "out.jsonl", STOP_AT=52)
    assert decode("--output", "out.jsonl", "--resume").exit_code == 0
    files = {"rows.jsonl", "rows.jsonl.run.json"}
    assert (place / "out.jsonl").is_symlink() and {path.name for path in (place / "disk").iterdir()} == files
    assert (place / "disk/rows.jsonl").read_bytes() == whole
    assert "0 rows, 0 tokens" in decode("--output", "disk/rows.jsonl", "--resume").stdout
    assert decode("--output", "out.jsonl", "--overwrite", "--seed", "1").exit_code == 0
    refused(decode("--output", "disk/rows.jsonl", "--resume"), "of another run: sampler.seed (1 then, 0 now)")


NO_RECORD = "the run is recorded in out.jsonl.run.json, and that file is not a record of a run"


def test_a_file_of_another_kind_is_refused(decode, place):
    (place / "out.jsonl").write_text("precious\n")
    refused(decode("--output", "out.jsonl"), "the file exists", "--overwrite", "--resume")
    refused(decode("--output", "out.jsonl", "--resume"), "out.jsonl.run.json", "cannot be read", "--overwrite")
    (place / "out.jsonl.run.json").write_text("[1]")
    refused(decode("--output", "out.jsonl", "--resume"), "does not record the run of out.jsonl")
    (place / "out.jsonl").unlink()
    for overwrite in ([], ["--overwrite"]):
        refused(
            decode("--output", "out.jsonl", *overwrite), f"{NO_RECORD}, so it is not replaced. Move it away, or name"
        )
        assert (place / "out.jsonl.run.json").read_text() == "[1]"
    (place / "out.jsonl.run.json").unlink()
    assert decode("--output", "out.jsonl", "--overwrite").exit_code == 0
    damaged = (place / "out.jsonl").read_text().splitlines()[0] + "\nprecious\n"
    (place / "out.jsonl").write_text(damaged)
    refused(decode("--output", "out.jsonl", "--resume"), "line 2 of out.jsonl is not a row of this run: it is not JSON")
    assert (place / "out.jsonl").read_text() == damaged


def test_a_damaged_record_is_refused_before_the_model_is_loaded_and_the_advice_works(decode, place, whole, monkeypatch):
    file = place / "whole.jsonl.run.json"
    record = json.loads(file.read_text())
    with monkeypatch.context() as patch:
        patch.setattr("mdmkit.model.loading.load", lambda *args, **options: pytest.fail("the model is loaded"))
        for found, start in (
            (without_keys(record), "Move whole.jsonl.run.json away and start"),
            (damaged(record), "Start"),
        ):
            for text, said in found.values():
                file.write_text(text)
                result = decode("--output", "whole.jsonl", "--resume")
                refused(result, f"whole.jsonl.run.json does not record the run of whole.jsonl: {said}")
                assert f". {start} again with --overwrite, or name" in " ".join(result.stderr.split())
                assert "continues from there" not in result.stderr
                assert file.read_text() == text and (place / "whole.jsonl").read_bytes() == whole
        for text in ("[" * 100_000, "", '{"notes": "of my own"}'):  # it may be the user's own
            file.write_text(text)
            refused(
                decode("--output", "whole.jsonl", "--overwrite"), "whole.jsonl.run.json, and that file is not a record"
            )
            assert file.read_text() == text and (place / "whole.jsonl").read_bytes() == whole
    for text, _ in [*damaged(record).values(), (None, "")]:
        file.unlink() if text is None else file.write_text(text)
        assert decode("--output", "whole.jsonl", "--overwrite").exit_code == 0
        assert (place / "whole.jsonl").read_bytes() == whole and json.loads(file.read_text()) == record
    (place / "out.jsonl.run.json").write_text("[" * 100_000)
    refused(decode("--output", "out.jsonl"), NO_RECORD)


MASK = ToyBackbone().mask_id
DAMAGES = [("nfe", "x"), ("order", [[]]), ("order", [1]), ("tokens", None), ("uncertainty", "NaN"), ("prompt", 5)]
DAMAGES += [("text", 5), ("text", None), ("nfe", 10**30), ("tokens", [-1]), ("order", [-2]), ("uncertainty", 1e200)]
# What is right in itself, and is another prompt's.
DAMAGES += [("prompt", "zz"), ("seed", 3), ("prompt_ids", [1]), ("id", 7), ("meta", {"a": 1}), ("file", "a.png")]
# No model, or no prompt, gives these: an id beyond the vocabulary, a prompt's token among the new ones, H̃ below 0.
DAMAGES += [("tokens", [999] * 6), ("order", [-1] * 6), ("uncertainty", -1.0), ("tokens", [MASK] * 6)]
# Nor does a decode end so: without a forward, by an end token that is not there, by a rule that the sampler lacks.
DAMAGES += [("nfe", 0), ("row_tokens", 0), ("stopped", "end"), ("stopped", "filled"), ("stopped", "rule")]
# More than its forwards can compute, more entropy than its ids have, and the text of other tokens.
DAMAGES += [("row_tokens", 10**9), ("uncertainty", 1e9), ("text", "abcdef")]


@pytest.mark.parametrize(("key", "value"), DAMAGES)
def test_a_damaged_row_is_named_by_its_line_and_what_is_wrong(decode, place, whole, key, value):
    lines = whole.splitlines(keepends=True)
    row = json.dumps(json.loads(lines[1]) | {key: value}).replace('"NaN"', "NaN")
    record = json.loads((place / "whole.jsonl.run.json").read_text())
    (place / "whole.jsonl").write_bytes(lines[0] + row.encode() + b"\n")
    said = f"'{key}'" if (key, value) != ("order", [1]) else "'order' and 'tokens' differ in length"
    refused(decode("--output", "whole.jsonl", "--resume", "--json"), "line 2 of whole.jsonl is not a row", said)
    (place / "whole.jsonl").write_bytes(lines[0])
    (place / "whole.jsonl.run.json").write_text(json.dumps(record | {"waiting": [json.loads(row)]}))
    refused(decode("--output", "whole.jsonl", "--resume"), "does not record the run of whole.jsonl")


def test_a_row_with_a_key_twice_is_refused(decode, place, whole):
    lines = whole.splitlines(keepends=True)
    (place / "whole.jsonl").write_bytes(lines[0] + lines[1].replace(b"{", b'{"text": "2", ', 1))
    said = "line 2 of whole.jsonl is not a row of this run: the key 'text' stands twice in one object"
    refused(decode("--output", "whole.jsonl", "--resume"), said)


def test_a_row_with_more_tokens_than_its_prompt_has_room_for_or_with_none_is_refused(decode, place, whole):
    lines = whole.splitlines(keepends=True)
    row = json.loads(lines[1])
    empty = row | {"tokens": [], "order": []}
    (place / "whole.jsonl").write_bytes(lines[0] + json.dumps(empty).encode() + b"\n")
    refused(decode("--output", "whole.jsonl", "--resume"), "its 'tokens' are 0, and prompt 1 has 6 when it is full")
    row |= {"tokens": [*row["tokens"], 1], "order": [*row["order"], 5]}
    (place / "whole.jsonl").write_bytes(lines[0] + json.dumps(row).encode() + b"\n")
    refused(decode("--output", "whole.jsonl", "--resume"), "its 'tokens' are 7, and prompt 1 has 6 at most")


@pytest.mark.parametrize(("asked", "found"), [("1", "true"), ("1", "1.0"), ("true", "1"), ('{"a": 1}', '{"a": true}')])
def test_an_own_key_is_compared_with_its_type(decode, place, asked, found):
    (place / "own.jsonl").write_text(f'{{"prompt": "ab", "length": 2, "id": {asked}}}\n')
    given = ["--prompts", "own.jsonl", "--output", "out.jsonl"]
    assert decode(*given).exit_code == 0
    row = (place / "out.jsonl").read_text()
    assert f'"id": {asked}' in row
    (place / "out.jsonl").write_text(row.replace(f'"id": {asked}', f'"id": {found}'))
    refused(decode(*given, "--resume"), "line 1 of out.jsonl is not a row", "its 'id' is", "and that of prompt 0 is")


GROWING = '''
from dataclasses import dataclass
from typing import ClassVar

import torch

from mdmkit import Commit, Component, hookimpl


@dataclass(frozen=True)
class Expand(Commit):
    """Write; while there is room, add a position to a row that has just been filled."""

    rewrites: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    def __call__(self, step, actions, choice):
        canvas = step.written(*actions.take(choice))
        grown = step.recall("expand", fill=0)
        wants = ~canvas.open.any(1) & (grown < step.plan.room) & step.active
        step.keep("expand", grown + wants)
        after = torch.arange(canvas.valid.shape[1]) == canvas.lengths[:, None]
        return canvas.grown(after & wants[:, None])


@hookimpl
def mdmkit_commit():
    return [Component("expand", Expand)]
'''


def test_rows_that_have_grown_are_known_again(decode, place):
    (place / "grows.py").write_text(GROWING)
    (place / "grows.jsonl").write_text('"2*7=__"\n{"prompt": "3*7=", "length": 2}\n')
    given = ["--plugin", "grows.py", "--model", "zoo:puzzles", "--prompts", "grows.jsonl", "--output", "out.jsonl"]
    given += ["--set", "commit=expand", "--set", "plan.room=3"]
    assert decode(*given).exit_code == 0
    rows = [json.loads(line) for line in (place / "out.jsonl").read_text().splitlines()]
    assert [len(row["tokens"]) for row in rows] == [9, 5]
    result = decode(*given, "--resume")
    assert result.exit_code == 0 and "0 rows, 0 tokens" in result.stdout, result.output


KINDS_OF_PROMPTS = [
    {"prompt": "2*7=__", "id": "a"},
    {"prompt": "3*7=", "length": 2, "suffix": "1", "deep": {"é": [1.5]}},
    {"prompt": "5*7=__", "infill": False},
    {"prompt_ids": [3, 4, 5]},
    {"prompt": "4*7=__", "seed": -(1 << 63)},
]


@pytest.mark.parametrize("moved", range(5))
def test_a_row_of_every_kind_of_prompt_is_known_again_and_not_under_another_prompt(decode, place, moved):
    (place / "kinds.jsonl").write_text("".join(json.dumps(prompt) + "\n" for prompt in KINDS_OF_PROMPTS))
    given = ["--model", "zoo:puzzles", "--prompts", "kinds.jsonl", "--set", "plan.length=2", "--output", "out.jsonl"]
    assert decode(*given).exit_code == 0
    before = (place / "out.jsonl").read_bytes()
    assert "0 rows, 0 tokens" in decode(*given, "--resume").stdout
    rows = [json.loads(line) for line in before.splitlines()]
    other = rows[(moved + 1) % 5] | {"index": moved}
    lines = [json.dumps(row) + "\n" for row in (*rows[:moved], other, *rows[moved + 1 :])]
    (place / "out.jsonl").write_text("".join(lines))
    refused(decode(*given, "--resume"), f"line {moved + 1} of out.jsonl is not a row", f"that of prompt {moved} is")
    other |= {"seed": rows[moved]["seed"], "prompt": rows[moved]["prompt"]}
    other = {k: v for k, v in other.items() if k not in ("id", "meta")}
    other |= {k: v for k, v in rows[moved].items() if k in ("id", "meta")}
    lines[moved] = json.dumps(other) + "\n"
    (place / "out.jsonl").write_text("".join(lines))
    refused(decode(*given, "--resume"), f"line {moved + 1} of out.jsonl is not a row", "not those of prompt")


def test_an_empty_output_without_a_record_gets_one_with_its_first_row(decode, place, whole, monkeypatch):
    """What a full disk leaves: without a record, the rows of the next run could not be continued."""
    from mdmkit.cli import record

    kept = []
    monkeypatch.setattr(record, "write_record", lambda path, *rest: kept.append((path.name, path.stat().st_size)))
    (place / "out.jsonl").write_bytes(b"")
    assert decode("--output", "out.jsonl", "--resume").exit_code == 0
    assert kept[0] == ("out.jsonl", 0)


def test_the_advice_after_a_failed_run_with_a_trace_is_one_that_works(decode, place, whole):
    result = decode("--output", "out.jsonl", "--trace", "t.json", NAN_AT=30)
    assert "The same command with --resume, and without --trace, continues from there." in " ".join(
        result.stderr.split()
    )
    assert decode("--output", "out.jsonl", "--resume").exit_code == 0
    assert (place / "out.jsonl").read_bytes() == whole


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], ["give --output"]),
        (["--output", "out.jsonl", "--overwrite"], ["--overwrite", "one of the two"]),
        (["--output", "out.jsonl", "--trace", "t.json"], ["--trace", "have no trace"]),
        (["--output", "/dev/null"], ["keeps no rows"]),
    ],
)
def test_what_cannot_go_with_resume_is_refused(decode, place, options, words):
    refused(decode("--resume", *options), *words)
    assert not (place / "out.jsonl").exists()


# -- a row that fails ------------------------------------------------------------------------------------------------


def test_logits_that_are_no_numbers_are_named_by_line_and_what_is_finished_is_kept(decode, place, whole):
    result = decode("--output", "out.jsonl", NAN_AT=26)
    kept = indices(place / "out.jsonl")
    refused(
        result,
        "p.jsonl, line ",
        "the model's logits are not numbers (NaN) at tick ",
        f"{len(kept)} of 60 rows are finished and in out.jsonl. The same command with --resume continues from there.",
    )
    line = int(result.stderr.split("line ")[1].split(":")[0])
    assert f" in row {line - 1} " in " ".join(result.stderr.split()) and line - 1 not in kept
    # All but the one row of the second unit, in which call 26 is.
    assert len(kept) == 31 and kept != list(range(len(kept)))
    result = decode("--output", "out.jsonl", "--resume", "--observer", "admitted")
    assert result.exit_code == 0
    assert len(admitted(result)) == 16 + 28 and line - 1 in admitted(result)[:16]  # its unit, and those never begun
    assert (place / "out.jsonl").read_bytes() == whole


def test_a_batch_that_does_not_fit_is_halved_and_said_on_standard_error(decode, place, whole):
    result = decode("--output", "out.jsonl", ROOM=2)
    assert result.exit_code == 0
    assert result.stderr == "Out of GPU memory with 4 rows: decoding 2 at a time from here on.\n"
    expected = [json.loads(line)["tokens"] for line in whole.decode().splitlines()]
    assert [json.loads(line)["tokens"] for line in (place / "out.jsonl").read_text().splitlines()] == expected
    result = decode("--output", "none.jsonl", ROOM=1)
    assert result.exit_code == 2
    # The longest of the first unit's sixteen rows: it used to be that of the first batch's four, of 4 columns.
    assert (
        "out of GPU memory with 2 rows of 8 columns, over a vocabulary of 13, after the batch was halved"
        in " ".join(result.stderr.split())
    )
    assert not (place / "none.jsonl").exists()


def test_the_stream_prints_lines_and_keeps_the_live_view_away(decode, place, monkeypatch):
    from mdmkit.cli import run

    asked, watching = [], run.watching
    monkeypatch.setattr(run, "watching", lambda live, *sizes: asked.append(live) or watching(live, *sizes))
    base = ["--observer", "stream", "--output", "out.jsonl", "--overwrite"]
    line = ["decode", "--plugin", "toys.py", "--model", "toy:0", "--config", "greedy.yaml", "--prompts", "p.jsonl"]
    monkeypatch.setattr(registry, "_default", None)
    said = CliRunner().invoke(main, [*line, *base]).stderr.splitlines()
    rows = [json.loads(line) for line in (place / "out.jsonl").read_text().splitlines()]
    assert sorted(said) == sorted(f"[{row['index']}] {row['text']}" for row in rows)
    monkeypatch.setattr(registry, "_default", None)
    CliRunner().invoke(main, [*line, *base, "--live"])
    assert asked == [False, True]


# -- nothing piles up ------------------------------------------------------------------------------------------------


def test_rows_that_are_written_are_not_kept(decode, place):
    result = decode("--output", "out.jsonl", "--trace", "t.json", "--observer", "living", "--batch", 1)
    living = [int(line.split()[1]) for line in result.stderr.splitlines() if line.startswith("living")]
    assert len(living) == 6 and max(living) <= WINDOW


def test_the_trace_of_many_rows_is_one_document_in_order(decode, place, whole):
    assert decode("--trace", "t.json", "--output", "out.jsonl").exit_code == 0
    document = json.loads((place / "t.json").read_text())
    assert list(document) == ["mdmkit", "model", "sampler", "rows"]
    rows = [json.loads(line) for line in whole.decode().splitlines()]
    assert [row["index"] for row in document["rows"]] == list(range(60))
    assert [row["uncertainty"] for row in document["rows"]] == [row["uncertainty"] for row in rows]
    result = decode("--trace", "cut.json", "--output", "cut.jsonl", STOP_AT=52)
    assert result.exit_code == 130
    cut = json.loads((place / "cut.json").read_text())
    assert [row["index"] for row in cut["rows"]] == indices(place / "cut.jsonl") != []
    assert not list(place.glob(".*.part"))


def test_a_trace_that_cannot_be_written_leaves_no_part_of_it(decode, place):
    refused(decode("--trace", "/dev/full", "--overwrite"), "--trace /dev/full: No space left on device")
    assert not list(place.glob(".*.part"))


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads the resident memory from /proc")
def test_two_thousand_prompts_of_mixed_length_run_at_constant_memory(place):
    """From a quarter of the way on; the 1,500 rows from there, kept with their traces, would take 8 MiB."""
    draw = random.Random(1)
    texts = ["_" * draw.randint(1, 48) for _ in range(2000)]
    (place / "many.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    line = ["decode", "--sampler", "confidence", "--device", "cpu", "--set", "plan.tokens_per_step=4"]
    line += ["--prompts", "many.jsonl", "--output", "out.jsonl", "--trace", "t.json"]
    line += ["--plugin", "toys.py", "--observer", "resident"]
    done = subprocess.run([sys.executable, "-m", "mdmkit", *line], capture_output=True, text=True, check=True)
    assert indices(place / "out.jsonl") == list(range(2000))
    resident = [float(said.split()[1]) for said in done.stderr.splitlines() if said.startswith("resident")]
    assert len(resident) == 125
    # What stays, apart from what comes and goes with a batch.
    assert min(resident[96:]) - min(resident[32:64]) < 3, resident


def test_a_record_that_says_nothing_usable_is_refused(decode, place, whole):
    record, lines = json.loads((place / "whole.jsonl.run.json").read_text()), whole.splitlines(keepends=True)
    for waiting in ([{"index": "a"}], [{"index": 99}], [{}], [5], 5):
        (place / "out.jsonl").write_bytes(lines[0])
        (place / "out.jsonl.run.json").write_text(json.dumps(record | {"waiting": waiting}))
        refused(decode("--output", "out.jsonl", "--resume"), "does not record the run of out.jsonl")
        assert (place / "out.jsonl").read_bytes() == lines[0]
    (place / "out.jsonl.run.json").write_text(json.dumps(record))
    for index in ("1.0", "true", '"1"', "60", "-1"):
        row = json.dumps(json.loads(lines[1]) | {"index": 7777}).replace("7777", index)
        (place / "out.jsonl").write_bytes(lines[0] + row.encode() + b"\n")
        refused(
            decode("--output", "out.jsonl", "--resume"), "line 2 of out.jsonl is not a row of this run: its 'index'"
        )


def test_the_record_replaces_no_file_that_is_asked_for(decode, place):
    (place / "out.jsonl.run.json").write_text('"a"')
    refused(decode("--output", "out.jsonl", "--prompts", "out.jsonl.run.json", "--overwrite"), "out.jsonl.run.json")
    assert (place / "out.jsonl.run.json").read_text() == '"a"'
    (place / "out.jsonl.run.json").unlink()
    refused(decode("--output", "out.jsonl", "--trace", "out.jsonl.run.json"), "--trace", "both name out.jsonl.run.json")
    assert not list(place.glob("out*"))


@pytest.mark.parametrize("way", ["--overwrite", "--resume"])
def test_a_record_that_cannot_be_written_is_found_before_an_output_is_touched(decode, place, way):
    (place / "out.jsonl").write_text("precious\n")
    (place / "out.jsonl.run.json").mkdir()
    refused(decode("--output", "out.jsonl", way), "out.jsonl.run.json, and that is not a file")
    assert (place / "out.jsonl").read_text() == "precious\n"
    long = "x" * 250  # a name by itself, and none with .run.json behind it
    refused(decode("--output", long, way), f"--output {long}: File name too long")
    refused(decode("--output", "y" * 300, way), "File name too long")
    refused(decode("--trace", long), f"--trace {long}: File name too long")
    assert not list(place.glob("x*"))


@pytest.mark.parametrize("output", ["/dev/stdout", "-"])
@pytest.mark.parametrize("kind", ["> got", ">> got", "| cat > got"])
def test_rows_on_standard_output_stand_there_alone(place, whole, output, kind):
    (place / "got").write_text("before\n")
    command = f"{sys.executable} -m mdmkit decode --plugin toys.py --model toy:0 --device cpu --batch 4 "
    command += "--config greedy.yaml --prompts p.jsonl "
    command += f"--output {output} {kind}"
    done = subprocess.run(command, shell=True, cwd=place, capture_output=True, text=True, check=False)
    assert "60 rows" in done.stderr
    before = b"before\n" if ">>" in kind else b""
    assert (place / "got").read_bytes() == before + whole
    assert not list(place.glob("got?*"))
