"""kill -9 at twenty moments of a run, and before each of its file operations: `--resume` ends with the same bytes."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from mdmkit import read_prompts
from mdmkit.decoding.units import UNIT, units

BATCH = 4
PLUGIN = '''
import os
import signal
import sys

import torch

import mdmkit
from mdmkit import Component, Observer, hookimpl
from mdmkit.testing.reference import ByConfidence

ROOM = [99]


class Tight:
    """The model behind `tight:`, out of memory with more rows than there is room for."""

    @classmethod
    def accepts(cls, ref):
        return False

    @classmethod
    def load(cls, ref, **options):
        backbone = mdmkit.load(ref, **options)
        forward = backbone.forward

        def within_room(tokens, *rest, **more):
            if len(tokens) > ROOM[0]:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return forward(tokens, *rest, **more)

        backbone.forward = within_room
        return backbone


class Admitted(Observer):
    """Writes down every row that is begun; with a certain one the room shrinks to two rows."""

    def on_admit(self, id, prompt, canvas):
        with open(os.environ["LOG"], "a") as log:
            log.write(f"{os.getpid()} {prompt.index}\\n")
        if prompt.index == int(os.environ.get("TIGHT_FROM", -1)):
            ROOM[0] = 2


class Crowded(ByConfidence):
    """Scores by how many rows are beside it, which no honest part does: it stands for the last bits of floats."""

    def __call__(self, step):
        scores = super().__call__(step)
        return scores + (step.rows * torch.arange(scores.shape[1])).sin()


class Dying(Observer):
    """Dies before the nth time that a file of the output is opened, renamed or cut off."""

    def on_start(self, sampler, backbone):
        left = [int(os.environ["DIE_AT"])]

        def hook(event, args):
            if event in ("open", "os.rename", "os.remove", "os.truncate") and "out.jsonl" in str(args[0]):
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)


@hookimpl
def mdmkit_backbone():
    return [Component("tight", Tight)]


@hookimpl
def mdmkit_score():
    return [Component("crowded", Crowded)]


@hookimpl
def mdmkit_observer():
    return [Component("admitted", Admitted), Component("dying", Dying)]
'''


@dataclass
class Runs:
    """Runs of one command in a folder, each a process group of its own."""

    folder: Path
    line: list[str]

    def start(self, *options, **environment):
        command = [sys.executable, "-m", "mdmkit", *self.line, *options]
        env = os.environ | {"OMP_NUM_THREADS": "1", "LOG": "log"} | {k: str(v) for k, v in environment.items()}
        return subprocess.Popen(
            command, cwd=self.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )

    def kill_after(self, seconds, *options, **environment):
        """Whether the run was still going on then."""
        process = self.start(*options, **environment)
        try:
            _, said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return True
        assert process.returncode == 0, said.decode()
        return False

    def finish(self, *options, **environment):
        process = self.start(*options, **environment)
        out, said = process.communicate()
        assert process.returncode == 0, said.decode()
        return out.decode()

    def dies(self, at, *options):
        """Whether the run got so far as to be killed before that file operation."""
        process = self.start(*options, "--observer", "dying", DIE_AT=at)
        _, said = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), said.decode()
        return process.returncode != 0

    def clear(self):
        for file in (*self.folder.glob("*out.jsonl*"), *self.folder.glob("log")):
            file.unlink()

    def decoded_twice(self):
        """Of each process, how many of the rows that it began had been begun by an earlier one."""
        file = self.folder / "log"
        before, now, counts = set(), {}, []
        for line in file.read_text().splitlines() if file.exists() else ():
            process, row = map(int, line.split())
            now.setdefault(process, set()).add(row)
        for rows in now.values():
            counts.append(len(rows & before))
            before |= rows
        return counts


def runs(folder, prompts, *options):
    (folder / "killing.py").write_text(PLUGIN)
    (folder / "p.jsonl").write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
    line = ["decode", "--plugin", "killing.py", "--model", "tight:zoo:puzzles", "--sampler", "confidence"]
    line += ["--set", "plan.early_stop=false", "--device", "cpu", "--no-live", "--prompts", "p.jsonl"]
    return Runs(folder, [*line, "--observer", "admitted", *map(str, options)])


def product(draw, lengths):
    return {"prompt": f"{draw.randint(2, 9)}*{draw.randint(2, 9)}=", "length": draw.choice(lengths)}


@pytest.mark.slow
def test_twenty_kills_over_the_whole_run_end_in_the_same_bytes(tmp_path):
    """A kill costs one unit at most. The order of filling tells how many rows were beside a row, and so the bytes."""
    draw = random.Random(0)
    prompts = [product(draw, (12, 20, 32, 48)) for _ in range(60)]
    later = list(units(read_prompts(prompts, 0), BATCH, lambda prompt: prompt.length))[1][5].index
    run = runs(tmp_path, prompts, "--batch", BATCH, "--set", "score=crowded")
    file, record = tmp_path / "out.jsonl", tmp_path / "out.jsonl.run.json"
    began = time.perf_counter()
    run.finish("--output", "whole.jsonl")
    seconds = time.perf_counter() - began
    whole = {None: (tmp_path / "whole.jsonl").read_bytes()}
    for tight in (0, later):  # in the first unit, and in the second
        run.finish("--output", f"tight{tight}.jsonl", TIGHT_FROM=tight)
        whole[tight] = (tmp_path / f"tight{tight}.jsonl").read_bytes()
    assert len(set(whole.values())) == 3

    different, most, halved_before = [], 0, 0
    for moment in range(20):
        run.clear()
        tight = {8: 0, 11: later, 13: later, 15: 0, 17: later}.get(moment)
        room = {} if tight is None else {"TIGHT_FROM": tight}
        obeyed = False
        at = (moment + draw.random()) / 20
        while not run.kill_after(at * seconds, "--output", "out.jsonl", "--resume", **room):  # it had ended: sooner
            run.clear()
            at *= 0.9
        for again in [None, *[draw.random() for _ in range(draw.choice((0, 0, 1, 2)))]]:
            if again is not None:  # what is left takes less time, so this may come after the end
                run.kill_after(again * seconds, "--output", "out.jsonl", "--resume", **room)
            if record.exists() and file.read_bytes() and "slots" in json.loads(record.read_text()):
                room, obeyed = {}, obeyed or file.read_bytes() != whole[tight]  # there is room for all rows again
        run.finish("--output", "out.jsonl", "--resume", **room)
        halved_before += obeyed
        if file.read_bytes() != whole[tight]:
            different.append(moment)
        counts = run.decoded_twice()
        most = max(most, *counts)
        print(f"moment {moment}: room {tight}, halved before a kill {obeyed}, decoded twice {counts}")
        assert max(counts) <= UNIT * BATCH
    assert not different
    assert halved_before >= 1
    print(f"of 20 moments {20 - len(different)} identical; {halved_before} after a halving; {most} rows twice at most")


@pytest.mark.slow
def test_a_kill_before_any_file_operation_ends_in_the_same_bytes(tmp_path):
    """Such moments are too short for the clock to find: a file is open and empty, or its record not yet in place."""
    draw = random.Random(1)
    run = runs(tmp_path, [product(draw, (2, 3, 5)) for _ in range(36)], "--batch", 2)
    run.finish("--output", "whole.jsonl")
    whole, file = (tmp_path / "whole.jsonl").read_bytes(), tmp_path / "out.jsonl"
    for at in itertools.count(1):
        run.clear()
        if not run.dies(at, "--output", "out.jsonl", "--resume"):
            break
        run.finish("--output", "out.jsonl", "--resume")
        assert file.read_bytes() == whole, at
        assert max(run.decoded_twice()) <= 2 * UNIT
    assert at > 8  # the output and its record, and the record again with rows that wait


@pytest.mark.slow
def test_a_kill_while_another_runs_rows_are_replaced_leaves_the_one_or_the_other(tmp_path):
    draw = random.Random(1)
    run = runs(tmp_path, [product(draw, (2, 3, 5)) for _ in range(6)], "--batch", 1)
    run.finish("--output", "whole.jsonl")
    run.finish("--output", "out.jsonl", "--seed", "5", "--set", "draw.temperature=1.0")
    whole, file = (tmp_path / "whole.jsonl").read_bytes(), tmp_path / "out.jsonl"
    old, record = file.read_bytes(), (tmp_path / "out.jsonl.run.json").read_bytes()
    ways = []
    for at in itertools.count(1):
        file.write_bytes(old)
        (tmp_path / "out.jsonl.run.json").write_bytes(record)
        if not run.dies(at, "--output", "out.jsonl", "--overwrite"):
            break
        ways.append("--overwrite" if file.read_bytes() == old else "--resume")
        run.finish("--output", "out.jsonl", ways[-1])
        assert file.read_bytes() == whole, at
    assert {*ways} == {"--overwrite", "--resume"} and ways == sorted(ways)


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["2/3", "5/5"])  # of 16 rows; and one that has nothing to decode
def test_a_shard_killed_before_any_file_operation_ends_in_the_same_bytes(tmp_path, shard):
    draw = random.Random(1)
    run = runs(tmp_path, [product(draw, (2, 3, 5)) for _ in range(36)], "--batch", 2, "--shard", shard)
    run.finish("--output", "whole.jsonl")
    file, record = tmp_path / "out.jsonl", tmp_path / "out.jsonl.run.json"
    whole = [(tmp_path / "whole.jsonl").read_bytes(), (tmp_path / "whole.jsonl.run.json").read_bytes()]
    for at in itertools.count(1):
        run.clear()
        if not run.dies(at, "--output", "out.jsonl", "--resume"):
            break
        run.finish("--output", "out.jsonl", "--resume")
        assert [file.read_bytes(), record.read_bytes()] == whole, at
        assert max([0, *run.decoded_twice()]) <= 2 * UNIT
    assert at > (8 if whole[0] else 4)


DYING = """
import os, signal, sys

left = [int(sys.argv.pop(1))]


def hook(event, args):
    if event in ("open", "os.rename", "os.remove", "os.truncate") and "all.jsonl" in str(args[0]):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)


from mdmkit.cli import main

sys.addaudithook(hook)
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("replacing", [False, True])
def test_a_join_killed_before_any_file_operation_can_be_done_again(tmp_path, replacing):
    """What is there in between is the old output, a new one without a record, or the new one."""
    draw = random.Random(1)
    run = runs(tmp_path, [product(draw, (2, 3, 5)) for _ in range(20)], "--batch", 1)
    run.finish("--output", "whole.jsonl")
    run.finish("--output", "old.jsonl", "--seed", "5", "--set", "draw.temperature=1.0")
    parts = [f"part-{number}.jsonl" for number in (1, 2)]
    for number, part in enumerate(parts, 1):
        run.finish("--output", part, "--shard", f"{number}/2")

    def both(name):
        files = (tmp_path / name, tmp_path / f"{name}.run.json")
        return tuple(file.read_bytes() if file.exists() else None for file in files)

    def join(at):
        words = [sys.executable, "-c", DYING, str(at), "join", *parts, "--output", "all.jsonl", "--overwrite"]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, check=False).returncode

    whole, old, before = both("whole.jsonl"), both("old.jsonl"), [both(part) for part in parts]
    states = []
    for at in itertools.count(1):
        for file in tmp_path.glob("*all.jsonl*"):
            file.unlink()
        if replacing:
            for name, data in zip(("all.jsonl", "all.jsonl.run.json"), old, strict=True):
                (tmp_path / name).write_bytes(data)
        if join(at) == 0:
            break
        states.append(both("all.jsonl"))
        assert join(0) == 0  # it never dies
        assert both("all.jsonl") == whole and not list(tmp_path.glob(".all*"))
    start = old if replacing else (None, None)
    allowed = [start, (start[0], None), (whole[0], None), whole]
    assert all(state in allowed for state in states)
    assert [allowed.index(state) for state in states] == sorted(allowed.index(state) for state in states)
    assert {start, (whole[0], None)} <= {*states} and [both(part) for part in parts] == before
