"""A part that calls `sys.exit` is one that failed: the program names it, and does not end without a word."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from mdmkit.cli import main
from mdmkit.installed import registry

PLUGIN = """
import sys
from dataclasses import dataclass

from mdmkit import Component, hookimpl
from mdmkit.testing import ByConfidence, TakeQuota, ToyBackbone


@dataclass(frozen=True)
class Score:
    def __call__(self, step):
        sys.exit(3)


@dataclass(frozen=True)
class Made:
    def __post_init__(self):
        sys.exit(3)


@dataclass(frozen=True)
class Trait:
    @property
    def reads(self):
        sys.exit(3)

    def __call__(self, step):
        return step.confidence


class Model(ToyBackbone):
    def forward(self, *args, **more):
        sys.exit(3)


class Observer:
    def on_step(self, step, actions, choice):
        sys.exit(3)


@dataclass(frozen=True)
class Engine:
    def __call__(self, work):
        sys.exit(3)


@dataclass(frozen=True)
class Closed:
    def __call__(self, work):
        try:
            yield from map(work.decode, work)
        finally:
            sys.exit(3)


@hookimpl
def mdmkit_score():
    return [Component("by_confidence", ByConfidence), Component("score", Score), Component("made", Made),
            Component("trait", Trait), Component("imported", "exits_at_import:Score")]


@hookimpl
def mdmkit_select():
    return [Component("take_quota", TakeQuota)]


@hookimpl
def mdmkit_backbone():
    return [Component("toy", ToyBackbone), Component("model", Model)]


@hookimpl
def mdmkit_observer():
    return [Component("observer", Observer)]


@hookimpl
def mdmkit_engine():
    return [Component("engine", Engine), Component("closed", Closed)]
"""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "score=score"], "score Score (of file:exits.py"),
        (["--set", "score=made"], "score 'made'"),
        (["--set", "score=trait"], "(class Trait).reads cannot be read: SystemExit: 3"),
        (["--set", "score=imported"], "score 'imported' of file:exits.py"),
        (["--model", "model:0"], "backbone 'Model' failed in forward: SystemExit: 3"),
        (["--observer", "observer"], "observer Observer failed in on_step: SystemExit: 3"),
        (["--engine", "engine"], "engine 'engine'"),
        (["--engine", "closed"], "engine 'closed' of file:exits.py"),
    ],
)
def test_a_part_that_exits_is_named(tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_default", None)
    (tmp_path / "exits.py").write_text(PLUGIN)
    (tmp_path / "exits_at_import.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "toy.yaml").write_text("score: by_confidence\nselect: take_quota\n")
    words = ["decode", "--plugin", "exits.py", "--config", "toy.yaml", "--model", "toy:0", "--prompt", "ab"]
    result = CliRunner().invoke(main, [*words, *options])
    assert result.exit_code == 2, result.output
    assert said in result.stderr and "SystemExit: 3" in result.stderr
    assert result.stderr.count("\n") == 1, "an error is one paragraph"


def test_an_error_that_is_no_exception_is_a_paragraph_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_default", None)
    panic = "raise type('Panic', (BaseException,), {})('index out of range')"
    (tmp_path / "panics.py").write_text(PLUGIN.replace("sys.exit(3)", panic, 1))
    (tmp_path / "toy.yaml").write_text("score: score\nselect: take_quota\n")
    words = ["decode", "--plugin", "panics.py", "--config", "toy.yaml", "--model", "toy:0", "--prompt", "ab"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1, result.output
    assert "Panic: index out of range. Run `mdmkit --debug" in result.stderr
    assert result.stderr.count("\n") == 1, "an error is one paragraph"
