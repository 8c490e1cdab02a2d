"""Files as other programs, editors and broken disks leave them: each is read, or refused in one paragraph.

2,000 files that differ from a good one are given to commands in this process, and 40 to processes of their own. The
same files every time: hypothesis draws them without a seed of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mutations import changed

from mdmkit.cli import main
from mdmkit.installed import registry

GOLDEN = Path(__file__).parent / "golden"
EXAMPLES, PROCESSES, SECONDS = 2000, 40, 20
TOYS = """
from mdmkit import Component, hookimpl
from mdmkit.testing import ToyBackbone

@hookimpl
def mdmkit_backbone():
    return [Component("toy", ToyBackbone)]
"""
CONFIG = """\
sampler: info_gain
select: {candidates: 2, bypass: 0.7}
plan: {length: 4, block: 2, tokens_per_step: 1}
draw: {temperature: 0.5, top_p: 0.9, suppress: [2], penalty: {3: 0.5}}
guidance: {scale: 1.0}
cache: none
seed: 3
"""
PROMPTS = """\
"ab"
[1, 2, 3]
{"prompt": "dc", "length": 3, "seed": 7}
{"prompt": "b_a", "infill": true, "id": "three", "tag": "kept"}
"""
QUESTIONS = '[{"question": "ab", "answer": "4", "task_id": 1}, {"question": "dc", "answer": 5, "more": [1, null]}]'


@dataclass(frozen=True)
class Kind:
    """A file that a command reads.

    Attributes:
        name: of the file, in the folder.
        form: how it is written.
        command: what reads it, from the folder.
    """

    name: str
    form: str
    command: tuple[str, ...]


DECODE = ("decode", "--plugin", "toys.py", "--model", "toy:0", "--no-live", "--device", "cpu")
GREEDY = (*DECODE, "--sampler", "confidence", "--set", "plan.length=4")
RUN = (*GREEDY, "--prompts", "some.jsonl", "--output", "rows.jsonl")
KINDS = (
    Kind("config.yaml", "yaml", (*DECODE, "--config", "config.yaml", "--prompt", "ab")),
    Kind("prompts.jsonl", "lines", (*GREEDY, "--prompts", "prompts.jsonl")),
    Kind("prompts.txt", "text", (*GREEDY, "--prompts", "prompts.txt")),
    Kind("questions.json", "json", (*GREEDY, "--prompts", "questions.json", "--prompt-key", "question")),
    Kind("trace.json", "json", ("trace", "trace.json", "--output", "page.html", "--overwrite")),
    Kind("rows.jsonl", "lines", (*RUN, "--resume")),
    Kind("rows.jsonl.run.json", "json", (*RUN, "--resume")),
    Kind("model/config.json", "json", ("decode", "--model", "model", "--prompt-ids", "5 6", "--set", "plan.length=2",
                                       "--sampler", "confidence", "--no-live", "--device", "cpu")),
)  # fmt: skip


def invoke(command: tuple[str, ...]) -> Result:
    """Run a command as if the process were new."""
    registry._default = None
    with within(SECONDS):
        return CliRunner().invoke(main, command)


@contextlib.contextmanager
def within(seconds: int) -> Iterator[None]:
    """Raise `TimeoutError` in a file that a command does not come to an end with."""

    def late(*_: object) -> None:
        raise TimeoutError(f"no end within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def _same_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_default", registry._default)  # put back afterwards


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that every command takes."""
    folder = tmp_path_factory.mktemp("good")
    (folder / "toys.py").write_text(TOYS)
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "prompts.jsonl").write_text(PROMPTS)
    (folder / "prompts.txt").write_text("ab\ndc\n\nabcdefg\n")
    (folder / "questions.json").write_text(QUESTIONS)
    (folder / "some.jsonl").write_text('"ab"\n"cd"\n"a"\n')
    shutil.copytree(GOLDEN / "llada", folder / "model")
    with contextlib.chdir(folder):
        for command in (RUN, (*GREEDY, "--prompt", "ab", "--trace", "trace.json"), *(kind.command for kind in KINDS)):
            result = invoke(command)
            assert result.exit_code == 0, (command, result.output)
        # A run that was killed after its second row.
        rows = Path("rows.jsonl").read_text().splitlines(keepends=True)
        Path("rows.jsonl").write_text("".join(rows[:2]))
    return folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Iterator[Path]:
    shutil.copytree(good, tmp_path / "work")
    with contextlib.chdir(tmp_path / "work"):
        yield tmp_path / "work"


def restored(good: Path, folder: Path, kind: Kind, data: bytes) -> None:
    """Put the good files back, and `data` in the place of one."""
    for name in {"rows.jsonl", "rows.jsonl.run.json", kind.name}:
        shutil.copyfile(good / name, folder / name)
    (folder / kind.name).write_bytes(data)


def cases(good: Path) -> st.SearchStrategy[tuple[Kind, bytes]]:
    return st.sampled_from(KINDS).flatmap(
        lambda kind: changed((good / kind.name).read_bytes(), kind.form).map(lambda data: (kind, data))
    )


def quietly(examples: int, *phases: Phase) -> Callable[..., object]:
    """The same examples each time, none stored."""
    return settings(max_examples=examples, derandomize=True, database=None, deadline=None, phases=phases,
                    suppress_health_check=list(HealthCheck))  # fmt: skip


def test_a_changed_file_is_read_or_refused(good, folder):
    seen: Counter[tuple[str, int]] = Counter()

    @quietly(EXAMPLES, Phase.generate)
    @given(cases(good))
    def read_or_refused(case):
        kind, data = case
        restored(good, folder, kind, data)
        result = invoke(kind.command)
        assert result.exit_code in (0, 2), (kind.name, data, result.exit_code, result.output, result.exception)
        assert "Traceback" not in result.output, (kind.name, data, result.output)
        assert len(result.stderr) < 3000, (kind.name, data, result.stderr)
        seen[kind.name, result.exit_code] += 1

    read_or_refused()
    print(json.dumps({f"{name} {code}": count for (name, code), count in sorted(seen.items())}))
    total = sum(seen.values())
    assert total >= EXAMPLES
    for code in (0, 2):
        share = sum(count for (_, found), count in seen.items() if found == code) / total
        assert share >= 0.3, f"exit {code}: {share:.0%} of {total}; {seen}"


def test_so_it_is_in_a_process_of_its_own(good, tmp_path):
    drawn: list[tuple[Kind, bytes]] = []

    @quietly(PROCESSES, Phase.generate)
    @given(cases(good))
    def draw(case):
        drawn.append(case)

    draw()

    def run(number: int) -> tuple[Kind, bytes, subprocess.CompletedProcess[str]]:
        kind, data = drawn[number]
        own = tmp_path / str(number)
        shutil.copytree(good, own)
        restored(good, own, kind, data)
        command = [sys.executable, "-m", "mdmkit", *kind.command]
        done = subprocess.run(command, cwd=own, env=os.environ, capture_output=True, text=True, timeout=120)
        return kind, data, done

    assert len(drawn) >= PROCESSES
    with ThreadPoolExecutor(2) as pool:
        for kind, data, done in pool.map(run, range(PROCESSES)):
            assert done.returncode in (0, 2), (kind.name, data, done)
            assert "Traceback" not in done.stdout + done.stderr, (kind.name, data, done)
