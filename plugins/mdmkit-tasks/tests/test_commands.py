"""`mdmkit eval` and `mdmkit compare` on the embedded models: what they write, and that a run survives anything."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from damaging import damaged, without_keys

from mdmkit.cli import main
from mdmkit.installed import registry
from mdmkit_zoo.catalogue import ENTRIES

TASKS = '''
from mdmkit import Component, hookimpl
from mdmkit import JudgeDown, Task
import os
import sys

class Length:
    """A class of one's own, no Task: longer is better than the reference."""
    def prompts(self, count, seed):
        return [{"prompt": "_*_=_______", "reference": i} for i in range(count)]
    def judge(self, prompt, answer):
        return {"score": float(prompt["reference"]), "letters": len(answer)}

class Faint(Length):
    def judge(self, prompt, answer):
        if os.path.exists(os.environ["JUDGE_IS_DOWN"]):
            raise JudgeDown("nobody answers at the judge's address.")
        return True

class Moved(Faint):
    places = ("address",)
    def __init__(self, address="a"):
        pass

class Broken(Length):
    def __init__(self, said="nan"):
        self.said = said
    def judge(self, prompt, answer):
        if self.said == "exit":
            sys.exit(3)
        if prompt["reference"] == 1:
            return {"score": 1.0, "part": float(self.said)}
        return 1.0

class Gone(Length):
    def prompts(self, count, seed):
        sys.exit(3)

class Fresh(Length):
    def prompts(self, count, seed):
        return [{"prompt": "_*_=_______", "reference": os.urandom(4).hex()} for i in range(count)]
    def judge(self, prompt, answer):
        return True

class Pictures(Length):
    answers = "image"

class Rivals(Length):
    def versus(self, prompt, answer, rival):
        return 1.0 if answer > rival else 0.5 if answer == rival else 0.0

@hookimpl
def mdmkit_task():
    return [Component("length", Length), Component("faint", Faint), Component("rivals", Rivals),
            Component("pictures", Pictures), Component("moved", Moved),
            Component("broken", Broken), Component("fresh", Fresh),
            Component("gone", Gone)]
'''


@pytest.fixture(autouse=True)
def _own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_default", None)
    monkeypatch.setenv("JUDGE_IS_DOWN", str(tmp_path / "down"))
    (tmp_path / "tasks.py").write_text(TASKS)


def run(*words: str, fails: bool = False) -> str:
    result = CliRunner().invoke(main, list(words), catch_exceptions=False)
    assert (result.exit_code != 0) == fails, result.output
    return " ".join(result.output.split()) if fails else result.output


def rows(path: str) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


SMALL = ("--limit", "4", "--seeds", "2", "--output", "out")
LENGTH = ("eval", "--task", "length", "--plugin", "tasks.py", "--sampler", "confidence")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an evaluation of `length` has left; for all tests, who copy it."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tasks.py").write_text(TASKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(registry, "_default", None)
        run(*LENGTH, *SMALL)
    return folder / "out"


def test_eval_writes_rows_tables_and_pictures_that_agree() -> None:
    said = run("eval", "--task", "sudoku4", "--sampler", "confidence", *SMALL)
    found = rows("out/rows/sudoku4/confidence.jsonl")
    assert [(row["seed"], row["index"]) for row in found] == [(s, i) for s in (0, 1) for i in range(4)]
    line = rows("out/results.jsonl")[0]
    assert line["score"] == sum(row["score"] for row in found) / 8
    assert line["tokens"] == sum(row["prompt"].count("_") for row in found) == line["nfe_rows"]
    assert line["tokens_per_forward"] == 1.0
    assert line["calls"] == max(row["nfe"] for row in found)  # one batch: as many calls as its longest row
    assert line["memory"] > 1e8
    table = next(csv.DictReader(Path("out/results.csv").read_text().splitlines()))
    assert float(table["score"]) == line["score"] and table["sampler"] == "confidence"
    assert "| confidence | 100.0 ± 0.0 |" in said and Path("out/results.md").read_text()[:200] in said
    for name in ("quality_nfe.png", "quality_uncertainty.png", "order.png"):
        assert (
            Path("out", name).read_bytes().startswith(b"\x89PNG") and f"![{name}]" in Path("out/results.md").read_text()
        )
    record = json.loads(Path("out/run.json").read_text())
    assert record["samplers"][0]["score"]["name"] == "confidence" and record["versions"]["torch"]


def test_rows_are_those_of_decode() -> None:
    """The same prompts, seeds and sampler: an evaluation adds judging, nothing else."""
    import mdmkit
    from mdmkit_zoo.tasks import OneWay

    run("eval", "--task", "one_way", "--sampler", "info_gain", "--limit", "3", "--seeds", "2", "--output", "out")
    sampler = mdmkit.compose("info_gain", draw={"temperature": 1.0})  # the task's setting
    backbone = mdmkit.load("zoo:puzzles")
    for seed in (0, 1):
        decoded = mdmkit.decode(sampler, backbone, OneWay().prompts(3, 0), seed=seed)
        kept = [row for row in rows("out/rows/one_way/info_gain.jsonl") if row["seed"] == seed]
        assert [row["text"] for row in kept] == decoded.texts
        assert [row["nfe"] for row in kept] == [row.nfe for row in decoded.rows]


def test_the_users_settings_win_over_the_tasks() -> None:
    run("eval", "--task", "one_way", "--sampler", "confidence", "--set", "draw.temperature=0", *SMALL)
    assert len({row["text"] for row in rows("out/rows/one_way/confidence.jsonl")}) == 1
    Path("mine.yaml").write_text("sampler: confidence\ndraw: {temperature: 0}\n")
    run("compare", "--tasks", "one_way", "--samplers", "mine.yaml,confidence", "--limit", "4", "--output", "two")
    assert len({row["text"] for row in rows("two/rows/one_way/mine.jsonl")}) == 1
    assert len({row["text"] for row in rows("two/rows/one_way/confidence.jsonl")}) > 1


def test_a_run_killed_at_any_moment_goes_on_with_the_same_command(tmp_path: Path) -> None:
    words = ["eval", "--task", "one_way", "--sampler", "confidence", "--limit", "20", "--seeds", "2", "--batch", "2"]
    words += ["--output", "out"]
    file = Path("out/rows/one_way/confidence.jsonl")
    child = subprocess.Popen([sys.executable, "-m", "mdmkit", *words], cwd=tmp_path)
    try:
        for _ in range(6000):
            if file.exists() and file.read_bytes().count(b"\n") >= 4:
                break
            time.sleep(0.01)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    before = file.read_bytes()
    assert 4 <= before.count(b"\n") < 40, "killed on the way"
    file.write_bytes(before + b'{"seed": 1, "ind')  # and a line was cut short
    run(*words)
    assert file.read_bytes().startswith(before)
    run(*words[:-1], "whole")
    whole = rows("whole/rows/one_way/confidence.jsonl")
    assert [(r["seed"], r["index"], r["text"], r["nfe"]) for r in rows(str(file))] == [
        (r["seed"], r["index"], r["text"], r["nfe"]) for r in whole
    ]
    again = file.read_bytes()
    run(*words)
    assert file.read_bytes() == again


def test_a_folder_has_one_writer_and_a_refused_run_makes_none() -> None:
    from mdmkit_tasks.cli import kept

    with kept(Path("a/out")):
        said = run("eval", "--task", "length", "--plugin", "tasks.py", "--output", "a/out", fails=True)
        assert "--output a/out: another run is writing it now" in said
    assert not Path("a").exists()
    run("eval", "--task", "nothing", "--output", "a/out", fails=True)
    assert not Path("a").exists()


def test_rows_of_a_model_whose_files_have_changed_are_refused(tmp_path: Path) -> None:
    shutil.copytree(ENTRIES["puzzles"].folder, tmp_path / "model")
    given = ("eval", "--task", "length", "--plugin", "tasks.py", "--sampler", "confidence", "--model", "./model")
    run(*given, *SMALL)
    with open("model/tokenizer.json", "a") as file:
        file.write("\n")
    said = run(*given, *SMALL, "--seeds", "3", fails=True)
    assert "confidence.jsonl is of another run: the model's files differ (tokenizer.json)" in said


def test_results_of_the_first_edition_are_refused_by_that_name() -> None:
    given = ("eval", "--task", "length", "--plugin", "tasks.py", "--sampler", "confidence", *SMALL)
    run(*given)
    (record,) = Path(SMALL[SMALL.index("--output") + 1]).rglob("*confidence*.run.json")
    kept = json.loads(record.read_text())
    del kept["run"]["contents"]  # it recorded none
    record.write_text(json.dumps(kept))
    said = run(*given, "--seeds", "3", fails=True)
    assert "confidence.jsonl is of mdmkit's first edition. Its record does not tell" in said and "--overwrite" in said


def test_of_a_damaged_record_the_error_says_what_is_wrong_and_its_advice_works(finished: Path) -> None:
    shutil.copytree(finished, "out")
    file = Path("out/rows/length/confidence.jsonl.run.json")
    record, before = json.loads(file.read_text()), rows("out/rows/length/confidence.jsonl")
    for text, why in damaged(record).values():
        file.write_text(text)
        said = run(*LENGTH, *SMALL, fails=True)
        assert f"confidence.jsonl.run.json does not record its run: {why}" in said
        assert "Start again with --overwrite, or name another --output." in said
    run(*LENGTH, *SMALL, "--overwrite")
    for text, why in without_keys(record).values():
        file.write_text(text)
        said = run(*LENGTH, *SMALL, fails=True)
        assert f"confidence.jsonl.run.json does not record its run: {why}" in said
        assert "Move confidence.jsonl.run.json away and start again with --overwrite, or name" in said
        # It may be the user's own.
        said = run(*LENGTH, *SMALL, "--overwrite", fails=True)
        assert "confidence.jsonl.run.json is not a record of a run, so --overwrite does not replace it. Move it" in said
        assert file.read_text() == text
    file.rename("mine")
    assert "has no record (confidence.jsonl.run.json) of its run. Start again" in run(*LENGTH, *SMALL, fails=True)
    run(*LENGTH, *SMALL, "--overwrite")
    after = rows("out/rows/length/confidence.jsonl")
    assert [row["tokens"] for row in after] == [row["tokens"] for row in before]
    assert json.loads(file.read_text()) == record


def test_compare_refuses_a_damaged_record_too(finished: Path) -> None:
    shutil.copytree(finished, "out")
    file = Path("out/rows/length/confidence.jsonl.run.json")
    file.write_text("[" * 100_000)
    words = ("compare", "--tasks", "length", "--plugin", "tasks.py", "--samplers", "confidence", *SMALL)
    assert "does not record its run: it is not JSON. Move" in run(*words, fails=True)
    assert "so --overwrite does not replace it" in run(*words, "--overwrite", fails=True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("order", [[]]), ("nfe", "x"), ("measures", []), ("score", "a"), ("calls", {})),
        *(("calls", -1), ("seconds", -0.5), ("text", 5), ("text", None), ("score", 5e300), ("measures", {"a": 1e200})),
        *(("nfe", 10**30), ("tokens", [-1]), ("seed", 10**30), ("uncertainty", 1e200), ("calls", 1e30)),
        # What is right in itself, and is another prompt's, or no prompt's.
        *(("prompt", "zz"), ("prompt_ids", [1]), ("row_seed", 3), ("seed", 7), ("seed", -1), ("index", 4)),
        *(("tokens", [999] * 11), ("uncertainty", -1.0), ("order", [-1] * 11), ("stopped", "x")),
        *(("row_tokens", 10**9), ("uncertainty", 1e9), ("text", "1*1=0000001")),
    ],
)
def test_a_damaged_row_is_named_by_file_line_and_field(key: str, value: object, finished: Path) -> None:
    shutil.copytree(finished, "out")
    file = Path("out/rows/length/confidence.jsonl")
    first, second, *rest = file.read_text().splitlines()
    file.write_text("\n".join([first, json.dumps(json.loads(second) | {key: value}), *rest, ""]))
    said = run(*LENGTH, *SMALL, fails=True)
    named = "row_seed" if (key, value) == ("seed", 7) else key
    assert re.search(rf"line 2 of {file} is not a row of this run: its '{named}' (is|are|hold)", said), said


def test_a_row_that_stands_there_twice_is_refused_unless_it_is_a_late_verdict(finished: Path) -> None:
    shutil.copytree(finished, "out")
    file = Path("out/rows/length/confidence.jsonl")
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, lines[2], ""]))
    said = run(*LENGTH, *SMALL, fails=True)
    assert f"line 9 of {file} is not a row of this run: seed 0, prompt 2 stand there twice, and the first" in said
    unjudged = json.loads(lines[2]) | {"score": None, "measures": {}}
    file.write_text("\n".join([*lines[:2], json.dumps(unjudged), *lines[3:], lines[2], ""]))
    run(*LENGTH, *SMALL)
    file.write_text("\n".join([*lines[:2], json.dumps(unjudged | {"calls": 99}), *lines[3:], lines[2], ""]))
    assert "stand there twice, and differ in 'calls'" in run(*LENGTH, *SMALL, fails=True)


def test_a_seed_that_no_row_could_hold_is_refused_before_it_is_written() -> None:
    assert "not in the range" in run("eval", "--task", "one_way", "--seed", str(2**70), *SMALL, fails=True)


def test_rows_killed_before_their_record_was_written_begin_anew() -> None:
    words = ["eval", "--task", "one_way", "--sampler", "confidence", *SMALL]
    file = Path("out/rows/one_way/confidence.jsonl")
    file.parent.mkdir(parents=True)
    file.touch()
    run(*words)
    assert len(rows(str(file))) > 0 and file.with_name("confidence.jsonl.run.json").exists()


def test_more_samplers_and_seeds_join_what_is_there() -> None:
    run("compare", "--tasks", "sudoku4", "--samplers", "confidence", *SMALL)
    before = Path("out/rows/sudoku4/confidence.jsonl").read_bytes()
    both = ["compare", "--tasks", "sudoku4", "--samplers", "confidence,random"]
    said = run(*both, "--limit", "4", "--seeds", "3", "--output", "out")
    assert Path("out/rows/sudoku4/confidence.jsonl").read_bytes().startswith(before)
    assert len(rows("out/rows/sudoku4/confidence.jsonl")) == len(rows("out/rows/sudoku4/random.jsonl")) == 12
    assert "| confidence | random |" in said
    pair = next(csv.DictReader(Path("out/pairs.csv").read_text().splitlines()))
    assert int(pair["wins"]) + int(pair["ties"]) + int(pair["losses"]) == 4


ENGINE = '''
import contextlib
import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from mdmkit import Component, RowError, UnitEngine, hookimpl

@dataclass(frozen=True)
class Elsewhere(UnitEngine):
    """Decodes here, but says that other processes do."""
    remote: ClassVar[bool] = True
    broken: bool = False

    @contextlib.contextmanager
    def opened(self):
        with open("opened", "a") as log:
            yield log.write("x")

    def __call__(self, work):
        for outcome in map(work.decode, work):
            if self.broken:
                errors = [RowError("it broke", 0, 0, row.index) for row in outcome.rows]
                outcome = dataclasses.replace(outcome, rows=[], errors=errors)
            yield outcome

@hookimpl
def mdmkit_engine():
    return [Component("elsewhere", Elsewhere)]
'''


def test_an_engine_decodes_every_cell_and_is_opened_once() -> None:
    words = ["compare", "--tasks", "sudoku4", "--samplers", "confidence,random", *SMALL]
    Path("engine.py").write_text(ENGINE)
    there = ["--plugin", "engine.py", "--engine", "elsewhere"]
    said = run(*words, "--engine-option", "broken=true", *there, fails=True)
    assert re.search(r"task 'sudoku4', prompt \d, seed 0, sampler 'confidence': it broke at tick 0 in row \d", said)
    Path("opened").unlink()
    assert "|  |\n" in run(*words, *there)  # the column of the peak memory is empty
    assert Path("opened").read_text() == "x"
    own = ("seconds", "memory")
    found = rows("out/rows/sudoku4/random.jsonl")
    assert {row["memory"] for row in found} == {None} == {line["memory"] for line in rows("out/results.jsonl")}
    Path("out").rename("there")
    run(*words)
    here = rows("out/rows/sudoku4/random.jsonl")
    assert [{k: v for k, v in row.items() if k not in own} for row in found] == [
        {k: v for k, v in row.items() if k not in own} for row in here
    ]
    # The engine is no part of a run: rows of one engine are those of another.
    Path("there").rename("out/there")
    assert "16 of 16 rows were there before" in run(*words, "--output", "out/there")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["--limit", "5"], "prompts (4 then, 5 now)"),
        (["--prompt-seed", "1"], "prompts (the same number, but other prompts)"),
        (["--set", "plan.tokens_per_step=2"], "sampler.plan.tokens_per_step (null then, 2 now)"),
    ],
)
def test_rows_of_another_run_are_refused_unless_overwritten(change: list[str], named: str) -> None:
    run("eval", "--task", "sudoku4", "--sampler", "confidence", *SMALL)
    before = Path("out/rows/sudoku4/confidence.jsonl").read_bytes()
    words = ["eval", "--task", "sudoku4", "--sampler", "confidence", *SMALL, *change]
    said = run(*words, fails=True)
    assert named in said and "--overwrite" in said
    assert Path("out/rows/sudoku4/confidence.jsonl").read_bytes() == before
    run(*words, "--overwrite")
    assert Path("out/rows/sudoku4/confidence.jsonl").read_bytes() != before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--task", "sudok4"], "unknown task 'sudok4'. Did you mean 'sudoku4'?"),
        (["--task", "sudoku4", "--model", "zoo:antibody"], "It is for zoo:puzzles"),
        (["--task", "antibody"], "It is for zoo:antibody"),
        (["--task", "pictures"], "judges images, and model zoo:puzzles fills texts"),
        (["--task", "sudoku4", "--task-option", "size=9"], "unknown option of task 'sudoku4': 'size'"),
        (["--task", "sudoku4", "--task-option", "x.size=9"], "write it as KEY=VALUE"),
        (["--task", "sudoku4", "--data", "d.jsonl"], "unknown option of task 'sudoku4': 'data'"),
        (["--task", "countdown", "--limit", "400"], "there are 309"),
        (["--task", "sudoku4", "--sampler", "confidenc"], "Did you mean 'confidence'?"),
        (["--task", "sudoku4", "--output", "tasks.py"], "that is a file"),
        (["--task", "sudoku4", "--set", "seed=3"], "Use those"),
        (["--task", "bigram", "--task-option", "hidden=2", "--model", "zoo:bigram"], "at most 1"),
    ],
)
def test_bad_input_is_one_paragraph_and_leaves_nothing(words: list[str], said: str) -> None:
    out = run("eval", "--plugin", "tasks.py", *words, fails=True)
    assert said in out and "Traceback" not in out
    assert not Path("results").exists()


def test_a_list_may_not_be_empty_or_name_one_twice() -> None:
    assert "name at least one" in run("compare", "--tasks", ",", "--samplers", "confidence", fails=True)
    assert "occurs twice" in run("compare", "--tasks", "sudoku4", "--samplers", "margin,margin", fails=True)


def test_a_task_of_ones_own_gets_its_reference_back_and_the_model_never_sees_it() -> None:
    run("eval", "--plugin", "tasks.py", "--task", "length", "--sampler", "confidence", *SMALL)
    assert [row["score"] for row in rows("out/rows/length/confidence.jsonl")] == [0, 1, 2, 3] * 2
    line = rows("out/results.jsonl")[0]
    assert line["measures"] == {"letters": 11.0} and line["score"] == 1.5
    assert line["score_error"] == pytest.approx((5 / 3) ** 0.5 / 2)


def test_answers_whose_judge_is_down_are_kept_and_judged_later() -> None:
    words = ["eval", "--plugin", "tasks.py", "--task", "faint", "--sampler", "confidence", *SMALL]
    Path("down").touch()
    said = run(*words, fails=True)
    assert "8 answers could not be judged: nobody answers" in said and "same command" in said
    before = rows("out/rows/faint/confidence.jsonl")
    assert [row["score"] for row in before] == [None] * 8 and not Path("out/results.md").exists()
    Path("down").unlink()
    run(*words)
    after = rows("out/rows/faint/confidence.jsonl")[8:]
    assert [row | {"score": None} for row in after] == before and rows("out/results.jsonl")[0]["score"] == 1.0


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("nan", "a judge's numbers are finite, and this one said {'score': 1.0, 'part': nan}"),
        ("inf", "a judge's numbers are finite"),
        ("5e300", "a judge's numbers are finite, and this one said {'score': 1.0, 'part': 5e+300}. Their size is"),
        ("many", "the judge raised ValueError: could not convert string to float: 'many'. Task 'broken' is of"),
    ],
)
def test_a_judge_that_gives_no_number_is_named_with_task_and_prompt(verdict: str, said: str) -> None:
    words = ["--task", "broken", "--task-option", f"said={verdict}", "--plugin", "tasks.py", "--sampler", "confidence"]
    assert f"task 'broken', prompt 1, seed 0: {said}" in run("eval", *words, *SMALL, fails=True)
    kept = rows("out/rows/broken/confidence.jsonl")  # nothing that was decoded is lost
    assert len(kept) == 8 and {row["score"] for row in kept} == {None}


@pytest.mark.parametrize("file", ["run.json", "results.md", "rows/sudoku4/confidence.jsonl"])
def test_a_pipe_among_the_outputs_is_refused_and_not_waited_for(file: str) -> None:
    Path("out", file).parent.mkdir(parents=True)
    os.mkfifo(Path("out", file))
    said = run("eval", "--task", "sudoku4", "--sampler", "confidence", *SMALL, fails=True)
    assert f"it holds out/{file}, which is a pipe, a socket or a device" in said


def test_a_task_that_exits_is_named() -> None:
    words = ["eval", "--plugin", "tasks.py", "--sampler", "confidence", *SMALL, "--task"]
    assert "the judge raised SystemExit: 3. Task 'broken' is of" in run(
        *words, "broken", "--task-option", "said=exit", fails=True
    )
    assert "task 'gone' of file:tasks.py" in run(*words, "gone", "--overwrite", fails=True)


def test_a_task_whose_prompts_are_never_the_same_is_named() -> None:
    words = ["eval", "--task", "fresh", "--plugin", "tasks.py", "--sampler", "confidence", *SMALL]
    run(*words)
    said = run(*words, fails=True)
    assert "the data of task 'fresh' changed, or it draws its prompts without the seed" in said


def test_samplers_are_set_against_the_first_where_a_task_compares_two_answers() -> None:
    run("compare", "--plugin", "tasks.py", "--tasks", "rivals", "--samplers", "confidence,random", *SMALL)
    first, other = (rows(f"out/rows/rivals/{name}.jsonl") for name in ("confidence", "random"))
    assert {row["score"] for row in first} == {0.5}
    expected = [
        1.0 if o["text"] > f["text"] else 0.5 if o["text"] == f["text"] else 0.0
        for f, o in zip(first, other, strict=True)
    ]
    assert [row["score"] for row in other] == expected


def test_a_text_task_does_not_fit_a_model_of_puzzles(tmp_path: Path) -> None:
    Path("d.jsonl").write_text('{"question": "Why?", "answer": "#### 1"}\n')
    said = run("eval", "--task", "gsm8k", "--data", "d.jsonl", "--output", "out", fails=True)
    assert "task 'gsm8k' does not fit model zoo:puzzles" in said and not Path("out").exists()
    Path("d.jsonl").write_text('{"question": "Why?"}\n')
    assert "d.jsonl, line 1: the field 'answer' is missing" in run(
        "eval", "--task", "gsm8k", "--data", "d.jsonl", fails=True
    )


def test_a_judge_may_move_and_one_that_is_down_stops_no_other() -> None:
    Path("down").touch()
    words = ["--plugin", "tasks.py", "--samplers", "confidence", "--limit", "2", "--seeds", "1", "--output", "out"]
    assert "2 answers could not" in run("compare", *words, "--tasks", "moved,length", fails=True)
    assert [row["score"] for row in rows("out/rows/length/confidence.jsonl")] == [0, 1]
    Path("down").unlink()
    run("compare", *words, "--tasks", "moved", "--task-option", "address=b")
    assert [row["score"] for row in rows("out/rows/moved/confidence.jsonl")] == [None, None, 1, 1]


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is not None, reason="lm-evaluation-harness is installed")
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_shown_without_the_harness_and_only_a_run_is_refused(flag: str) -> None:
    said = run("lm-eval", flag)
    assert "Usage: " in said and "pip install 'mdmkit-tasks[harness]'" in said
    assert "which is not installed" in run("lm-eval", "--model", "mdmkit", fails=True)
