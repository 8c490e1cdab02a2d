"""What the library warns of is a note on standard error: each text once, and the exit code does not change."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

import mdmkit
from mdmkit.cli import main
from mdmkit.cli.notes import SHOWN
from mdmkit.installed import registry as registry_module

COMMAND = """
import warnings

import click

import mdmkit
from mdmkit import Component, MdmkitWarning, hookimpl


@click.command()
@click.argument("texts", nargs=-1)
def warn(texts):
    for text in texts:
        warnings.warn(text, MdmkitWarning, stacklevel=2)
    print("done")


@hookimpl
def mdmkit_command():
    return [Component("warn", warn)]
"""


@pytest.fixture
def warn(toy, monkeypatch):
    toy.add("warner", {"warner.py": COMMAND}, version="1.0", plugin="warner")
    monkeypatch.setattr(registry_module, "_default", toy.registry())
    return lambda *texts: CliRunner().invoke(main, ["warn", *texts])


def test_each_text_is_one_note(warn):
    for _ in range(2):  # a second run notes it again
        done = warn("the end is cut", "another", "the end is cut")
        assert (done.exit_code, done.stdout) == (0, "done\n")
        assert done.stderr == "Note: the end is cut\nNote: another\n"


def test_many_notes_are_counted(warn):
    done = warn(*(f"text {i}" for i in range(SHOWN + 7)))
    assert done.stderr.count("Note: text") == SHOWN
    assert done.stderr.endswith("Note: 7 more notes are not shown.\n")


def test_the_library_warns_as_python_does():
    assert issubclass(mdmkit.MdmkitWarning, UserWarning)
