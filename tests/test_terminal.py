"""Control characters in what a model, a file or a plugin says reach no terminal; files keep them."""

from __future__ import annotations

import io
import json
import re

import pytest
from click.testing import CliRunner

from mdmkit.cli import main
from mdmkit.cli.conversation import Conversation
from mdmkit.cli.live import LiveView
from mdmkit.cli.saying import paragraph
from mdmkit.installed import registry
from mdmkit.terminal import to_json, visible

EVIL = "a\x1b[31m\x9b2J\u202eb\u2066\x07\r\x00\u200f"
SHOWN = r"a\x1b[31m\x9b2J\u202eb\u2066\x07\r\x00\u200f"
PLUGIN = '''
from mdmkit import Component, MdmkitError, Observer, hookimpl
from mdmkit.testing import ToyBackbone

EVIL = {EVIL}


class Evil(ToyBackbone):
    """Says control characters."""

    def decode(self, canvas):
        return [EVIL for _ in canvas.tokens]

    def render(self, token):
        return EVIL


class Failing(Observer):
    def on_start(self, sampler, backbone):
        raise MdmkitError(EVIL)


@hookimpl
def mdmkit_backbone():
    return [Component("evil", Evil, EVIL)]


@hookimpl
def mdmkit_observer():
    return [Component("failing", Failing)]
'''.replace("{EVIL}", repr(EVIL))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a command; nothing that it prints may hold a control character."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text(PLUGIN)

    def call(*words, **more):
        monkeypatch.setattr(registry, "_default", None)
        command, *rest = words
        result = CliRunner().invoke(main, [command, "--plugin", "evil.py", *rest], env={"COLUMNS": "500"}, **more)
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", result.output), repr(
            result.output
        )
        return result

    return call


DECODE = [
    "decode",
    "--model",
    "evil:0",
    "--sampler",
    "confidence",
    "--device",
    "cpu",
    "--no-live",
    "--set",
    "plan.length=2",
]
DECODE += ["--prompt-ids", "1 2"]


def test_a_decode_prints_them_escaped_and_its_files_keep_them(run, tmp_path):
    assert SHOWN in run(*DECODE).stdout
    result = run(*DECODE, "--json")
    assert json.loads(result.stdout)["rows"][0]["text"] == EVIL
    run(*DECODE, "--output", "out.jsonl", "--trace", "t.json")
    assert json.loads((tmp_path / "out.jsonl").read_text())["text"] == EVIL
    assert EVIL in json.loads((tmp_path / "t.json").read_text())["rows"][0]["pieces"]
    # A file that is shown with `cat` is harmless, too.
    assert visible((tmp_path / "out.jsonl").read_text()) == (tmp_path / "out.jsonl").read_text()


def test_the_stream_errors_names_and_lists_show_them_escaped(run):
    assert SHOWN in run(*DECODE, "--observer", "stream").stderr
    assert SHOWN in run(*DECODE, "--observer", "failing").stderr
    assert r"\x1b" in run(*DECODE, "--output", "no/\x1b\u202e.jsonl").stderr
    assert r"\x1b" in run("decode", "--\x1b").stderr
    assert r"\x1b" in run(*DECODE[:-2], "--prompt", "\x1b[31m").stderr
    assert SHOWN in run("plugins").stdout
    run("plugins", "--json")


def test_a_chat_shows_them_escaped(run, monkeypatch):
    from types import SimpleNamespace

    row = SimpleNamespace(text=EVIL, uncertainty=0.0, nfe=1)
    monkeypatch.setattr(Conversation, "__post_init__", lambda self: None)
    monkeypatch.setattr(Conversation, "ask", lambda self, line, views: row)
    result = run("chat", "--model", "evil:0", input=f"hi\n/{EVIL}\n/system x\n")
    assert SHOWN in result.stdout
    assert r"unknown command" in result.stderr and r"\x1b" in result.stderr


def test_the_live_view_shows_them_escaped():
    from rich.console import Console

    from mdmkit.cli.live import _Shown

    out = io.StringIO()
    view = LiveView(Console(file=out, width=200), 1)
    view.render, view.title = lambda token: EVIL, EVIL
    view._shown[0] = _Shown([True, False], [1, 2], [1, 2])
    view.live.console.print(view.panel())
    assert out.getvalue().count(SHOWN) == 3 and "\x1b" not in out.getvalue()


def test_tabs_newlines_and_the_letters_of_all_scripts_stay():
    text = "a\tb\né ß 漢 🙂 עברית"
    assert visible(text) == text
    assert to_json({"a": [text, EVIL]}) == visible(to_json({"a": [text, EVIL]}))
    assert json.loads(to_json({"a": [text, EVIL]})) == {"a": [text, EVIL]}
    assert "漢" in to_json(text)


DIGITS = "9" * 5000


@pytest.mark.parametrize(
    "line",
    [
        ["decode", "--model-option", f"mask_id={DIGITS}"],
        ["decode", "--model-option", f"mask_id={DIGITS[:4000]}"],  # int() reads up to 4,300 digits
        ["decode", "--prompt-ids", DIGITS],
        ["decode", "--prompt-ids", DIGITS[:4000]],
        ["decode", "--seed", DIGITS],
        ["decode", "--set", f"plan.length={DIGITS[:4000]}"],
        ["decode", "--set", f"{'plan ' * 1000}=1"],
        ["decode", "--config", f"{DIGITS}.yaml"],
        ["decode", "--prompts", f"{DIGITS}.jsonl"],
        ["decode", "--sampler", DIGITS],
        ["decode", "--model", DIGITS],
        ["decode", "--plugin", DIGITS],
        ["decode", "--engine", DIGITS],
        ["decode", "--observer", DIGITS],
        ["decode", "--output", f"{DIGITS}/a.jsonl"],
        ["decode", "--device", DIGITS],
        ["decode", f"--{DIGITS}"],
        [DIGITS],
        [f"--{DIGITS}"],
    ],
)
def test_an_error_is_short_whatever_was_given(line):
    result = CliRunner().invoke(main, line)
    assert result.exit_code == 2, result.output
    assert len(result.stderr) < 3100 and "9" * 400 not in result.stderr


def test_of_a_long_error_the_beginning_and_the_end_stay():
    said = paragraph("the culprit " + "and so on " * 1000 + "the fix.")
    assert said.startswith("the culprit and so on") and said.endswith("and so on the fix.") and len(said) < 3100
    assert paragraph("a" * 300) == "a" * 300
    assert paragraph(f"'{'a' * 400}': x") == f"'{'a' * 199} … (103 characters are left out) … {'a' * 98}': x"
