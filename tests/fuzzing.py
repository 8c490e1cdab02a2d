"""Files as other programs, editors and broken disks leave them, and the commands that read them.

The same files every time: hypothesis draws them without a seed of its own.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from mutations import changed

from mdmkit.cli import main
from mdmkit.installed import registry

GOLDEN = Path(__file__).parent / "golden"
SECONDS = 20
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
