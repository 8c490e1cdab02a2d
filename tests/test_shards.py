"""`--shard I/N` and `mdmkit join`: the joined outputs are those of one run, byte for byte."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
import warm
from click.testing import CliRunner
from damaging import damaged, without_keys
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusing import refused

from mdmkit import Plan, Prompt
from mdmkit.cli import main
from mdmkit.cli.requests import check_prompts
from mdmkit.decoding.shards import Shard
from mdmkit.decoding.units import WINDOW, units
from mdmkit.installed import registry
from mdmkit.testing import ToyBackbone

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "scale"

PLUGIN = '''
import os
import pickle
import signal
import sys
from dataclasses import dataclass

import torch

from mdmkit import Component, Observer, UnitEngine, decode_unit, hookimpl
from mdmkit.testing.reference import ByConfidence


class Crowded(ByConfidence):
    """Scores by how many rows are beside it, which no honest part does: it stands for the last bits of floats."""

    def __call__(self, step):
        scores = super().__call__(step)
        return scores + (step.rows * torch.arange(scores.shape[1])).sin()


@dataclass(frozen=True)
class Elsewhere(UnitEngine):
    """Decodes as another process does."""

    remote = True

    def __call__(self, work):
        for unit in work:
            yield decode_unit(work.recipe, pickle.loads(pickle.dumps(unit)))


class Admitted(Observer):
    def on_admit(self, id, prompt, canvas):
        print("admitted", prompt.index, file=sys.stderr)


class Killed(Observer):
    """Dies when a given number of rows has been admitted, as by kill -9."""

    rows = 0

    def on_admit(self, *row):
        self.rows += 1
        if self.rows == int(os.environ["KILL_AT"]):
            os.kill(os.getpid(), signal.SIGKILL)


@hookimpl
def mdmkit_score():
    return [Component("crowded", Crowded)]


@hookimpl
def mdmkit_engine():
    return [Component("elsewhere", Elsewhere)]


@hookimpl
def mdmkit_observer():
    return [Component("admitted", Admitted), Component("killed", Killed)]
'''

CROWDED = ["--sampler", "confidence", "--set", "score=crowded"]


def mixed(number):
    """Prompts of mixed length: texts, infills and token ids, some with a seed or keys of their own."""
    draw, prompts = random.Random(0), []
    for index in range(number):
        text = f"{draw.randint(2, 9)}*{draw.randint(2, 9)}="
        kinds = [
            {"prompt": text, "length": draw.choice((1, 2, 3, 5, 8))},
            {"prompt": text + "_" * draw.randint(1, 4), "id": f"é{index}"},
            {"prompt_ids": [3, 4, 5], "length": draw.randint(1, 3)},
            {"prompt": text, "length": 4, "seed": index, "answer": [index]},
        ]
        prompts.append(draw.choice(kinds))
    return prompts


def furnish(folder):
    """Put a plugin and 37 prompts into a directory."""
    (folder / "toys.py").write_text(PLUGIN)
    (folder / "p.jsonl").write_text("".join(json.dumps(prompt) + "\n" for prompt in mixed(37)))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory with what `furnish` puts there, and in it."""
    monkeypatch.chdir(tmp_path)
    furnish(tmp_path)
    return tmp_path


@pytest.fixture
def mdmkit(place, monkeypatch):
    def call(*words):
        monkeypatch.setattr(registry, "_default", None)  # every command is a process of its own
        return CliRunner().invoke(main, [*map(str, words)])

    return call


BASE = ["decode", "--plugin", "toys.py", "--no-live", "--device", "cpu", "--prompts", "p.jsonl"]


@pytest.fixture
def decode(mdmkit):
    """Decode the 37 prompts in batches of 2, so in windows of 16; later options win."""
    return lambda *options: mdmkit(*BASE, "--batch", 2, *CROWDED, *options)


@pytest.fixture
def join(mdmkit):
    return lambda *options: mdmkit("join", *options)


PARTS = [f"part-{number}.jsonl" for number in (1, 2, 3)]


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Where the outputs of three shards lie, of 16, 16 and 5 rows, with their records; for all tests, who copy them."""
    folder = tmp_path_factory.mktemp("three")
    furnish(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for number, name in enumerate(PARTS, 1):
            patch.setattr(registry, "_default", None)
            words = [*BASE, "--batch", "2", *CROWDED, "--shard", f"{number}/3", "--output", name]
            result = CliRunner().invoke(main, words)
            assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def parts(place, three):
    """The outputs of three shards, and their records, lie here."""
    for file in three.glob("part-*"):
        shutil.copy2(file, place / file.name)
    return list(PARTS)


def both(place, name):
    """The bytes of an output and of its record."""
    return (place / name).read_bytes(), (place / f"{name}.run.json").read_bytes()


def indices(file):
    return [json.loads(line)["index"] for line in file.read_text().splitlines()]


# -- how prompts are shared ------------------------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.too_slow])  # it measures the machine
@given(st.lists(st.integers(1, 6), max_size=80), st.integers(1, 5), st.integers(1, 9))
def test_the_units_of_all_shards_are_those_of_one_run_in_order(lengths, batch, of):
    prompts = [Prompt(text="x", length=length, index=index) for index, length in enumerate(lengths)]
    shares = [Shard(number, of).indices(len(prompts), batch) for number in range(1, of + 1)]
    assert [index for share in shares for index in share] == list(range(len(prompts)))
    found = [unit for share in shares for unit in units(prompts[share.start : share.stop], batch, lambda p: p.length)]
    assert found == list(units(prompts, batch, lambda p: p.length))
    windows = [-(-len(share) // (WINDOW * batch)) for share in shares]
    assert max(windows) - min(windows) <= 1 and windows == sorted(windows, reverse=True)


# -- joined, it is one run -------------------------------------------------------------------------------------------

SAMPLERS = {
    "crowded": CROWDED,
    "drawn": [*CROWDED, "--set", "draw.temperature=1.5"],
    "info_gain": ["--sampler", "info_gain", "--set", "select.candidates=3"],
    "beam": ["--sampler", "beam"],
    "esmc": ["--sampler", "esmc", "--set", "search.particles=3", "--set", "search.every=2"],
    "best_of_n": ["--sampler", "best_of_n", "--set", "search.particles=3"],
}
CASES = [("crowded", batch, (1, 2, 3, 4, 5)) for batch in (1, 2, 3, 40)]
CASES += [(name, batch, (3,)) for name in SAMPLERS if name != "crowded" for batch in (1, 2)]
# These are enough for every day; the others are slow.
QUICK = {("crowded", 2), ("info_gain", 2), ("best_of_n", 1)}
CASES = [pytest.param(*case, marks=() if case[:2] in QUICK else pytest.mark.slow) for case in CASES]


@pytest.mark.parametrize(("sampler", "batch", "numbers"), CASES)
def test_the_joined_shards_are_one_run_byte_for_byte(place, mdmkit, sampler, batch, numbers):
    options = [*BASE, *SAMPLERS[sampler], "--batch", batch, "--seed", 3]
    assert mdmkit(*options, "--output", "whole.jsonl").exit_code == 0
    for of in numbers:
        names = [f"{number}-of-{of}.jsonl" for number in range(of, 0, -1)]
        for number, name in enumerate(reversed(names), 1):
            result = mdmkit(*options, "--shard", f"{number}/{of}", "--output", name)
            assert result.exit_code == 0, result.output
        assert sum(len(indices(place / name)) > 0 for name in names) == min(of, -(-37 // (WINDOW * batch)))
        before = [both(place, name) for name in names]
        joined = mdmkit("join", *names, "--output", "all.jsonl", "--overwrite")
        assert joined.exit_code == 0, joined.output
        assert joined.stdout == f"37 rows of {of} shard{'s' if of > 1 else ''} are in all.jsonl.\n"
        assert both(place, "all.jsonl") == both(place, "whole.jsonl")
        assert [both(place, name) for name in names] == before
    assert not list(place.glob(".*"))


def test_the_oracle_sees_which_rows_are_decoded_together(place, decode):
    """With the score `crowded`, prompts that are shared in another way come out otherwise."""
    decode("--output", "whole.jsonl")
    lines = (place / "p.jsonl").read_text().splitlines(keepends=True)
    (place / "p.jsonl").write_text("".join(lines[:19]))
    decode("--output", "cut.jsonl")
    whole, cut = ((place / name).read_text().splitlines() for name in ("whole.jsonl", "cut.jsonl"))
    assert whole[:16] == cut[:16] and whole[16:19] != cut[16:19]


def test_resuming_what_was_joined_does_nothing_and_says_so(place, decode, join, parts):
    assert join(*parts, "--output", "all.jsonl").exit_code == 0
    before = both(place, "all.jsonl")
    result = decode("--output", "all.jsonl", "--resume")
    assert "0 rows, 0 tokens" in result.stdout and "37 rows were there before." in result.stdout
    assert both(place, "all.jsonl") == before


def test_a_shard_without_prompts_has_an_empty_output_and_says_why(place, decode):
    result = decode("--shard", "4/5", "--output", "part-4.jsonl", "--json")
    assert result.exit_code == 0 and json.loads(result.stdout)["rows"] == []
    said = "Shard 4/5 has nothing to decode: prompts are shared in groups of 8 batches, and 37 prompts in batches of 2"
    assert f"{said} are 3 groups. Its output is empty; `mdmkit join` needs it." in result.stderr
    rows, record = both(place, "part-4.jsonl")
    assert rows == b"" and json.loads(record)["run"]["shard"] == {"number": 4, "of": 5, "batch": 2}
    for option in ("--resume", "--overwrite"):
        assert decode("--shard", "4/5", "--output", "part-4.jsonl", option).exit_code == 0
        assert both(place, "part-4.jsonl") == (rows, record)
    refused(decode("--shard", "4/5", "--output", "part-4.jsonl"), "part-4.jsonl: the file exists")


def test_an_empty_shard_replaces_the_rows_of_another_run(place, decode):
    decode("--output", "part.jsonl")
    assert decode("--shard", "4/4", "--output", "part.jsonl", "--overwrite").exit_code == 0
    rows, record = both(place, "part.jsonl")
    assert rows == b"" and json.loads(record)["run"]["shard"]["number"] == 4


# -- with other options ----------------------------------------------------------------------------------------------


def test_a_trace_and_the_document_hold_the_rows_of_the_shard(place, decode):
    result = decode("--shard", "2/3", "--output", "part.jsonl", "--json", "--trace", "t.json", "--live")
    assert "Shard 2/3: prompts 16 to 31 of 37, counted from 0." in result.stderr
    document, trace = json.loads(result.stdout), json.loads((place / "t.json").read_text())
    rows = [json.loads(line) for line in (place / "part.jsonl").read_text().splitlines()]
    assert document["rows"] == rows and [row["index"] for row in rows] == list(range(16, 32))
    assert [row["index"] for row in trace["rows"]] == list(range(16, 32))
    assert [row["uncertainty"] for row in trace["rows"]] == [row["uncertainty"] for row in rows]


def test_progress_counts_the_prompts_of_the_shard(place, decode, monkeypatch):
    from mdmkit.cli import run

    asked, watching = [], run.watching
    monkeypatch.setattr(run, "watching", lambda *sizes: asked.append(sizes[1]) or watching(*sizes))
    decode("--shard", "3/3", "--output", "part.jsonl")
    assert asked == [5]


def test_an_engine_of_other_processes_writes_the_same_shard(place, decode, parts):
    result = decode("--shard", "2/3", "--output", "other.jsonl", "--engine", "elsewhere", "--no-live")
    assert result.exit_code == 0, result.output
    assert both(place, "other.jsonl") == both(place, "part-2.jsonl")


def test_a_wrong_prompt_is_the_same_error_in_every_shard(place, decode):
    lines = (place / "p.jsonl").read_text().splitlines(keepends=True)
    (place / "p.jsonl").write_text("".join([*lines[:20], '{"prompt": "2*2=é", "length": 2}\n', *lines[20:]]))
    said = {decode("--shard", f"{i}/3", "--output", f"{i}.jsonl").stderr.split("\n", 1)[1] for i in (1, 2, 3)}
    assert len(said) == 1 and "p.jsonl, line 21: " in said.pop()
    assert not list(place.glob("[123].jsonl*"))


def test_what_other_shards_decode_is_checked_and_not_kept():
    prompts = [Prompt(text="ab", length=2, index=index) for index in range(6)]
    encodings = check_prompts(ToyBackbone(), prompts, Plan(), {}, range(2, 4))
    assert [encodings.canvas(prompt) is not None for prompt in prompts] == [False, False, True, True, False, False]


@pytest.mark.parametrize(
    ("shard", "words"),
    [
        ("0/3", ["--shard 0/3: of 3 shards, the first is 1/3 and the last is 3/3.", "counted from 1"]),
        ("4/3", ["--shard 4/3: of 3 shards, the first is 1/3 and the last is 3/3."]),
        ("1/0", ["--shard 1/0: there is no such shard."]),
        *((wrong, ["write which shard and how many there are, as in --shard 2/8"]) for wrong in ("x", "1", "-1/3")),
        *((wrong, ["as in --shard 2/8"]) for wrong in ("", "1/2/3", "1.0/2", "²/3", "1/1" + "0" * 40, " 1/2")),
    ],
)
def test_what_is_no_shard_is_refused(place, decode, shard, words):
    refused(decode("--shard", shard, "--output", "part.jsonl"), *words)
    assert not list(place.glob("part*"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], ["--shard 1/2: the outputs of all shards are joined by `mdmkit join`. Give --output FILE.jsonl"]),
        (["--output", "/dev/stdout", "--overwrite"], ["/dev/stdout is a pipe or a device"]),
        (["--output", "part.jsonl", "--batch", "auto"], ["shards with --batch auto could find different numbers"]),
        (
            ["--output", "part.jsonl", "--model", "zoo:digits"],
            ["the rows of zoo:digits are .png files, and `mdmkit join` joins only rows of one file"],
        ),
    ],
)
def test_what_could_not_be_joined_is_refused(place, decode, options, words):
    refused(decode("--shard", "1/2", *options), *words)
    assert not list(place.glob("part*"))


# -- killed, and continued -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [pytest.param(1, marks=pytest.mark.slow), 9, pytest.param(12, marks=pytest.mark.slow)])
def test_a_killed_shard_is_continued_and_the_whole_is_the_same(place, decode, join, parts, at):
    decode("--output", "whole.jsonl")
    for file in place.glob("part-2*"):
        file.unlink()
    words = [*BASE, "--batch", "2", *CROWDED, "--shard", "2/3", "--output", "part-2.jsonl", "--observer", "killed"]
    killed = warm.mdmkit(*words, env=os.environ | {"KILL_AT": str(at), "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = (place / "part-2.jsonl").read_bytes() if at > 8 else b""
    refused(join(*parts, "--output", "all.jsonl"), "part-2.jsonl", "unfinished" if at > 8 else "no such file")
    result = decode("--shard", "2/3", "--output", "part-2.jsonl", "--resume", "--observer", "admitted")
    assert result.exit_code == 0, result.output
    assert (place / "part-2.jsonl").read_bytes().startswith(left)
    assert result.stderr.count("admitted") == (8 if at > 8 else 16)
    assert join(*parts, "--output", "all.jsonl").exit_code == 0
    assert both(place, "all.jsonl") == both(place, "whole.jsonl")


@pytest.mark.parametrize("cut", [1, 700, 3000, -1])
def test_a_shard_that_was_cut_anywhere_ends_the_same(place, decode, parts, cut):
    whole = both(place, "part-2.jsonl")
    (place / "part-2.jsonl").write_bytes(whole[0][:cut])
    result = decode("--shard", "2/3", "--output", "part-2.jsonl", "--resume")
    kept = whole[0][:cut].count(b"\n")
    assert f"{16 - kept} rows, " in result.stdout and both(place, "part-2.jsonl") == whole


def test_rows_behind_a_gap_are_kept(place, decode, parts):
    whole = both(place, "part-2.jsonl")
    lines = whole[0].splitlines(keepends=True)
    (place / "part-2.jsonl").write_bytes(b"".join([*lines[:3], *lines[8:]]))
    result = decode("--shard", "2/3", "--output", "part-2.jsonl", "--resume")
    assert "5 rows, " in result.stdout and "11 rows were there before" in result.stdout
    assert both(place, "part-2.jsonl") == whole


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--shard", "3/3"], ["shard.number (2 then, 3 now)"]),
        (["--shard", "2/4"], ["shard.of (3 then, 4 now)"]),
        (["--shard", "2/3", "--batch", 1], ["shard.batch (2 then, 1 now)"]),
        ([], ['shard ({"number": 2, "of": 3, "batch": 2} then, nothing now)']),
    ],
)
def test_another_shard_does_not_continue_it(place, decode, parts, options, words):
    before = both(place, "part-2.jsonl")
    refused(decode(*options, "--output", "part-2.jsonl", "--resume"), "part-2.jsonl is of another run", *words)
    assert both(place, "part-2.jsonl") == before


def test_a_shard_does_not_continue_a_whole_run_nor_take_rows_of_another_shard(place, decode, parts):
    decode("--output", "whole.jsonl")
    refused(decode("--shard", "1/3", "--output", "whole.jsonl", "--resume"), "shard (nothing then")
    shutil.copy("part-1.jsonl", "part-2.jsonl")
    result = decode("--shard", "2/3", "--output", "part-2.jsonl", "--resume")
    refused(result, "line 1 of part-2.jsonl", "its 'index' is 0, and this prompt is another shard's")


# -- what cannot be joined -------------------------------------------------------------------------------------------


def test_a_missing_or_doubled_shard_is_named(place, join, parts):
    refused(join(*parts[:2], "--output", "all.jsonl"), "shard 3/3 is missing", "the same command with --shard 3/3")
    refused(join(parts[1], "--output", "all.jsonl"), "shards 1/3, 3/3 are missing: name the output of every shard")
    shutil.copy("part-1.jsonl", "copy.jsonl")
    shutil.copy("part-1.jsonl.run.json", "copy.jsonl.run.json")
    refused(join(*parts, "copy.jsonl", "--output", "all.jsonl"), "part-1.jsonl and copy.jsonl are both shard 1/3")
    refused(join(*parts, "./part-1.jsonl", "--output", "all.jsonl"), "are one file: name each part once")
    assert not list(place.glob("all*"))


def test_thousands_of_missing_shards_are_counted(place, decode, join):
    decode("--shard", "2/5000", "--output", "part.jsonl")
    refused(join("part.jsonl", "--output", "all.jsonl"), "7/5000, 8/5000, 9/5000 and 4991 more are missing")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--seed", 5], ["sampler.seed (0 in part-1.jsonl, 5 in part-2.jsonl)"]),
        (["--set", "draw.temperature=0.5"], ["sampler.draw.temperature (0.0 in part-1.jsonl, 0.5 in part-2.jsonl)"]),
        (["--batch", 1], ["batch (2 in part-1.jsonl, 1 in part-2.jsonl)"]),
        (["--prompt", "2*2=_"], ["prompts (37 in part-1.jsonl, 38 in part-2.jsonl)"]),
        (["--suffix", "1"], ["prompts (the same number, but with --suffix '1' in part-2.jsonl)"]),
        (["--dtype", "bfloat16"], ["dtype (auto in part-1.jsonl, bfloat16 in part-2.jsonl)"]),
        (["--shard", "2/4"], ["part-1.jsonl is shard 1/3, and part-2.jsonl is shard 2/4"]),
    ],
)
def test_parts_of_two_runs_are_refused_and_what_differs_is_named(place, decode, join, parts, options, words):
    assert decode("--shard", "2/3", "--output", "part-2.jsonl", "--overwrite", *options).exit_code == 0
    refused(join(*parts, "--output", "all.jsonl"), *words)
    assert not list(place.glob("all*"))


def test_a_file_of_the_run_that_changed_between_two_shards_is_named(place, decode, join, parts):
    (place / "toys.py").write_text(PLUGIN + "\n# another version\n")
    assert decode("--shard", "2/3", "--output", "part-2.jsonl", "--overwrite").exit_code == 0
    refused(
        join(*parts, "--output", "all.jsonl"),
        "part-1.jsonl and part-2.jsonl are of two runs: sampler.parts.score.version (",
    )


@pytest.mark.parametrize("change", ["cut", "half a line", "gap", "empty"])
def test_unfinished_parts_are_named_with_the_way_on(place, join, parts, change):
    file = place / "part-2.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    left = {"cut": lines[:9], "half a line": [*lines, b'{"ind'], "gap": [*lines[:3], *lines[8:]], "empty": []}[change]
    file.write_bytes(b"".join(left))
    rows = {"cut": 9, "half a line": 16, "gap": 11, "empty": 0}[change]
    said = f"part-2.jsonl (shard 2/3, {rows} of 16 rows): it is unfinished. If nobody is at work on it, run its command"
    refused(join(*parts, "--output", "all.jsonl"), said, "again with --resume")
    (place / "part-3.jsonl").write_bytes(b"")
    refused(join(*parts, "--output", "all.jsonl"), "part-3.jsonl (shard 3/3, 0 of 5 rows): they are unfinished")
    assert not list(place.glob("all*"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: [*lines[:2], b"{}\n", *lines[3:]], ["line 3 of part-2.jsonl is not a row", "it has no 'index'"]),
        (
            lambda lines: [lines[0], *lines],
            ["line 2 of part-2.jsonl", "its 'index' is 16, and here shard 2/3 has rows 17"],
        ),
        (lambda lines: [*lines, lines[-1]], ["line 17", "all 16 rows of shard 2/3 stand before it"]),
        (lambda lines: [lines[1], lines[0], *lines[2:]], ["line 2", "its 'index' is 16, and here"]),
        (lambda lines: [lines[0].replace(b'"index": 16', b'"index": 3'), *lines[1:]], ["line 1", "its 'index' is 3"]),
    ],
)
def test_a_damaged_part_is_named_by_its_line(place, join, parts, change, words):
    file = place / "part-2.jsonl"
    file.write_bytes(b"".join(change(file.read_bytes().splitlines(keepends=True))))
    refused(join(*parts, "--output", "all.jsonl"), *words, "the command of shard 2/3 again with --overwrite")
    assert not list(place.glob("all*"))


def test_a_row_that_still_waits_in_the_record_and_stands_in_the_file_is_there(place, join, parts, decode):
    """A kill after the last row and before the record is written leaves that."""
    decode("--output", "whole.jsonl")
    record = place / "part-2.jsonl.run.json"
    last = json.loads((place / "part-2.jsonl").read_text().splitlines()[-1])
    record.write_text(json.dumps(json.loads(record.read_text()) | {"waiting": [last]}))
    assert join(*parts, "--output", "all.jsonl").exit_code == 0
    assert both(place, "all.jsonl") == both(place, "whole.jsonl")


def test_a_file_that_is_no_part_is_named(place, decode, join, parts):
    decode("--output", "whole.jsonl")
    output = ["--output", "all.jsonl"]
    refused(join(*parts, "part-*.jsonl", *output), "part-*.jsonl: there is no such file. Name the output of each shard")
    refused(join(*parts[:2], ".", *output), ".: it is not a file")
    refused(join("whole.jsonl", *output), "whole.jsonl: its rows are of a whole run, not of a shard")
    refused(join("p.jsonl", *output), "p.jsonl.run.json, the record of its run, is not beside it. Move each record")
    (place / "new.jsonl").write_text("")
    refused(join("new.jsonl", *output), "new.jsonl: its run was stopped before its first rows")
    record = json.loads((place / "part-2.jsonl.run.json").read_text())
    for wrong in ({}, {"number": 0, "of": 3, "batch": 2}, {"number": 4, "of": 3, "batch": 2}, 5, {"number": "1"}):
        changed = record | {"run": record["run"] | {"shard": wrong}}
        (place / "part-2.jsonl.run.json").write_text(json.dumps(changed))
        refused(join(*parts, *output), "part-2.jsonl.run.json does not record the run of a shard")
    for text, said in (without_keys(record) | damaged(record)).values():
        (place / "part-2.jsonl.run.json").write_text(text)
        refused(join(*parts, *output), f"part-2.jsonl.run.json does not record the run of a shard: {said}")
    assert not list(place.glob("all*"))


def test_a_part_of_the_first_edition_is_named_as_such(place, join, parts):
    record = json.loads((place / "part-2.jsonl.run.json").read_text())
    del record["run"]["contents"]  # it recorded none
    (place / "part-2.jsonl.run.json").write_text(json.dumps(record))
    said = "part-2.jsonl is of mdmkit's first edition. Its record does not tell"
    refused(join(*parts, "--output", "all.jsonl"), said, "Decode the run again: `mdmkit decode --shard`")


def test_the_output_is_no_part_and_replaces_a_file_only_with_overwrite(place, decode, join, parts):
    before = [both(place, part) for part in parts]
    refused(join(*parts, "--output", "part-2.jsonl"), "part-2.jsonl: the file exists")
    refused(join(*parts, "--output", "part-2.jsonl", "--overwrite"), "part part-2.jsonl and --output both name")
    shutil.copy("part-3.jsonl", "x")
    shutil.copy("part-3.jsonl.run.json", "x.run.json")
    (place / "y.run.json").symlink_to("x")
    refused(join(*parts[:2], "x", "--output", "y", "--overwrite"), "part x and the record beside --output, both name")
    (place / "z.jsonl").symlink_to("x.run.json")
    refused(join(*parts[:2], "x", "--output", "z.jsonl", "--overwrite"), "the record of x and --output both name")
    refused(join(*parts, "--output", "/dev/stdout", "--overwrite"), "is a pipe or a device, and keeps no record")
    refused(join(*parts, "--output", "all.png"), ".png says another format")
    refused(join(*parts, "--output", "-"), "--output -: this is written into a file")
    refused(join(*parts, "--output", "none/all.jsonl"), "does not exist. Create it first")
    assert [both(place, part) for part in parts] == before

    decode("--output", "all.jsonl")
    whole = both(place, "all.jsonl")
    decode("--output", "all.jsonl", "--overwrite", "--seed", 7)
    refused(join(*parts, "--output", "all.jsonl"), "all.jsonl: the file exists. Name another, or add --overwrite")
    record = (place / "all.jsonl.run.json").read_text()
    (place / "all.jsonl.run.json").write_text("mine")
    refused(join(*parts, "--output", "all.jsonl", "--overwrite"), "run.json, and that file is not a record of a run")
    assert (place / "all.jsonl.run.json").read_text() == "mine"
    (place / "all.jsonl.run.json").write_text(record)
    assert join(*parts, "--output", "all.jsonl", "--overwrite").exit_code == 0
    assert both(place, "all.jsonl") == whole


def test_fewer_rows_at_a_time_are_noted_as_in_one_run(place, decode, join, parts):
    """A number of slots holds for all later units, so a later shard's own number counts only if it is smaller."""
    for part, slots in zip(parts, ({"8": 1}, {"16": 1}, {"32": 1}), strict=True):
        record = json.loads((place / f"{part}.run.json").read_text())
        (place / f"{part}.run.json").write_text(json.dumps(record | {"slots": slots}))
    assert join(*parts, "--output", "all.jsonl").exit_code == 0
    assert json.loads((place / "all.jsonl.run.json").read_text())["slots"] == {"8": 1}
    assert "37 rows were there before" in decode("--output", "all.jsonl", "--resume").stdout


def test_a_part_that_changes_while_it_is_read_is_refused_and_nothing_is_left(place, join, parts, monkeypatch):
    from mdmkit.cli import join as command

    def check(found):
        (place / "part-3.jsonl").write_text("")

    monkeypatch.setattr(sys.modules["mdmkit.cli.join"], "check_rows", check)
    refused(join(*parts, "--output", "all.jsonl"), "part-3.jsonl: the file has changed while it was read")
    assert command and not list(place.glob("*all*")) and not list(place.glob(".*"))


def test_a_full_disk_leaves_the_old_output(place, decode, join, parts, monkeypatch):
    decode("--output", "all.jsonl", "--seed", 7)
    before = both(place, "all.jsonl")

    def full(*files):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys.modules["mdmkit.cli.join"].shutil, "copyfileobj", full)
    refused(join(*parts, "--output", "all.jsonl", "--overwrite"), "all.jsonl: No space left on device")
    assert both(place, "all.jsonl") == before and not list(place.glob(".*"))


def test_memory_does_not_grow_with_the_rows(place, join, parts):
    record = json.loads((place / "part-1.jsonl.run.json").read_text())
    record["run"]["prompts"]["number"], record["run"]["shard"] = 16 * 125, {"number": 1, "of": 1, "batch": 2}
    row = json.loads((place / "part-1.jsonl").read_text().splitlines()[0]) | {"text": "x" * 10000}
    with (place / "long.jsonl").open("w") as file:
        file.writelines(json.dumps(row | {"index": index}) + "\n" for index in range(16 * 125))
    (place / "long.jsonl.run.json").write_text(json.dumps(record))
    tracemalloc.start()
    assert join("long.jsonl", "--output", "all.jsonl").exit_code == 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (place / "all.jsonl").stat().st_size > 20_000_000 and peak < 5_000_000


@pytest.mark.parametrize("example", [pytest.param("shards.sbatch", marks=pytest.mark.slow), "shards.bash"])
def test_the_examples_of_job_arrays_write_the_bytes_of_one_run(place, mdmkit, example):
    """In a shell, with 200 prompts: two groups of 128 or less, so two of the four jobs have nothing to decode."""
    (place / "prompts.jsonl").write_text('"2*3=_"\n{"prompt": "4*7=", "length": 2}\n' * 100)
    (place / "mdmkit").write_text(f'#!/bin/sh\nCUDA_VISIBLE_DEVICES= exec {sys.executable} -m mdmkit "$@"\n')
    (place / "mdmkit").chmod(0o755)
    env = os.environ | {"PATH": f"{place}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    tasks = range(1, 5) if example == "shards.sbatch" else [0]
    for task in tasks:
        command = ["bash", "-e", str(EXAMPLES / example)]
        subprocess.run(command, env=env | {"SLURM_ARRAY_TASK_ID": str(task)}, check=True, capture_output=True)
    if example == "shards.sbatch":
        names = [f"part-{number}.jsonl" for number in (1, 2, 3, 4)]
        assert mdmkit("join", *names, "--output", "all.jsonl").exit_code == 0
    options = ["--prompts", "prompts.jsonl", "--batch", 16, "--output", "whole.jsonl", "--device", "cpu"]
    assert mdmkit("decode", *options).exit_code == 0
    assert both(place, "all.jsonl") == both(place, "whole.jsonl")
    assert [len(indices(place / f"part-{number}.jsonl")) for number in (1, 2, 3, 4)] == [128, 72, 0, 0]


def test_join_imports_no_torch():
    code = "import sys\nfrom mdmkit.cli.join import join\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
