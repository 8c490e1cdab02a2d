"""`mdmkit chat`: turns, commands, what stops an answer, what ends the conversation; and prompts that ask for chat."""

from __future__ import annotations

import codecs
import fcntl
import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from processes import heed_ctrl_c

from mdmkit.canvas.prompt import Prompt
from mdmkit.cli import main
from mdmkit.decoding.prompts import read_prompts, with_defaults
from mdmkit.errors import MdmkitError
from mdmkit.installed import registry
from mdmkit.settings.plan import Plan
from mdmkit.testing.toy import ToyBackbone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

# The toy with a template: contents one after another, a system message between `a` and `b`. Its letters are a to l.
PLUGIN = """
from dataclasses import replace
from mdmkit import Component, MdmkitError, hookimpl
from mdmkit.testing.toy import ToyBackbone

SEEN = []

class Talker(ToyBackbone):
    @classmethod
    def accepts(cls, ref):
        return ref.startswith("talker:")

    @classmethod
    def load(cls, ref, **options):
        return super().load(ref.replace("talker", "toy"), max_length=24, **options)

    def encode(self, prompts, plan):
        read = []
        for prompt in prompts:
            system = f"a{prompt.system}b" if prompt.system else ""
            system += (prompt.chat_options or {}).get("opening", "")
            read.append(replace(prompt.read(), text=system + "".join(content for _, content in prompt.messages)))
        return super().encode(read, plan)

    def decode(self, canvas):
        given = ["".join(self.render(t) for t in row) for row in canvas.tokens[~canvas.editable & canvas.valid][None]]
        SEEN.append(given[0])
        return super().decode(canvas)

@hookimpl
def mdmkit_backbone():
    return [Component("talker", Talker)]
"""


@pytest.fixture
def chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Hold a conversation, line by line; the result's `seen` lists what the model was given for each answer."""
    plugin = tmp_path / "talker.py"
    plugin.write_text(PLUGIN)

    def hold(*lines: str | bytes, options: Sequence[str] = ()) -> Any:
        monkeypatch.setattr(registry, "_default", None)
        given = ["chat", "--plugin", str(plugin), "--model", "talker:0", "--device", "cpu", "--length", "3"]
        result = CliRunner().invoke(
            main,
            [*given, "--sampler", "confidence", *options],
            input=b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines),
        )
        backbones = [p for p in registry.default().of_kind("backbone") if p.name == "talker"]
        result.seen = backbones[0].target.encode.__globals__["SEEN"] if backbones else []
        return result

    return hold


def answers(result: Any) -> list[str]:
    assert result.exit_code == 0, result.output
    return result.stdout.split()


def test_each_turn_is_asked_with_everything_said_before(chat: Callable[..., Any]) -> None:
    result = chat("cd", "", "e")
    first, second = answers(result)
    assert len(first) == len(second) == 3
    assert result.seen == ["cd", f"cd{first}e"]
    assert re.findall(r"NFE (\d+)", result.stderr) == ["3", "3"]


def test_the_system_message_can_be_given_changed_and_dropped(chat: Callable[..., Any]) -> None:
    result = chat("c", "/undo", "/system e", "c", "/undo", "/system", "c", options=["--system", "d"])
    assert len(answers(result)) == 3
    assert result.seen == ["adbc", "aebc", "c"]


def test_options_of_the_template_hold_for_every_turn(chat: Callable[..., Any]) -> None:
    result = chat("c", "/undo", "e", options=["--chat-option", "opening=gh"])
    assert len(answers(result)) == 2
    assert result.seen == ["ghc", "ghe"]


def test_bytes_that_are_no_text_spoil_their_line_only(chat: Callable[..., Any]) -> None:
    result = chat(b"\xff\nc\n")
    assert len(answers(result)) == 1
    assert "not '\ufffd'" in result.stderr


def test_undo_and_clear_forget(chat: Callable[..., Any]) -> None:
    result = chat("/undo", "c", "d", "/undo", "e", "/clear", "f")
    first = answers(result)[0]
    assert result.seen == ["c", f"c{first}d", f"c{first}e", "f"]
    assert "Error: nothing was said yet." in result.stderr
    assert "The last turn is forgotten; 1 are left." in result.stderr


def test_set_and_sampler_change_the_answers_to_come(chat: Callable[..., Any]) -> None:
    result = chat("c", "/clear", "/set plan.length=5", "/sampler entropy", "c", "/sampler")
    assert [len(answer) for answer in answers(result)] == [3, 5]  # the plan outlives the sampler
    assert "The sampler is entropy.\n" in result.stderr
    assert re.search(r"The sampler is entropy\. Installed: .*confidence.*info_gain", result.stderr)


def test_another_sampler_leaves_the_parts_of_the_old_one_behind(chat: Callable[..., Any], tmp_path: Path) -> None:
    config = tmp_path / "own.yaml"
    config.write_text("score: margin\nselect: {name: top_k}\nplan: {tokens_per_step: 3}\n")
    options = ["--config", str(config), "--set", "select.temperature=0.5"]
    result = chat("c", "/sampler threshold", "/clear", "c", options=options)
    assert "The sampler is threshold." in result.stderr
    assert re.findall(r"NFE (\d+)", result.stderr)[0] == "1"  # the file's plan
    assert len(answers(result)) == 2


def test_the_seed_repeats_a_conversation_and_not_an_answer(chat: Callable[..., Any]) -> None:
    options = ["--set", "draw.temperature=2.0", "--length", "8"]
    lines = ["c", "/clear", "c"]
    one, again, other = (answers(chat(*lines, options=[*options, "--seed", seed])) for seed in ("1", "1", "2"))
    assert one == again != other
    assert one[0] != one[1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/smapler entropy", "unknown command '/smapler'. Did you mean '/sampler'? Known: /clear, /help, /quit"),
        ("/sampler entropi", "unknown sampler 'entropi'. Did you mean 'entropy'?"),
        ("/set", "write it as /set KEY=VALUE"),
        ("/set plan.lenght=4", "Did you mean 'length'?"),
        ("/set plan.length=-4", "plan.length=-4"),
        ("/set select.candidates=4", "candidates"),
        ("z", "not 'z'"),
        ("c" * 22, "needs 29 positions"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(line: str, said: str, chat: Callable[..., Any]) -> None:
    result = chat("c", line, "d")
    first, second = answers(result)
    (error,) = [text for text in result.stderr.splitlines() if text.startswith("Error: ")]
    assert said in error
    assert "/clear forgets" not in error
    assert len(second) == 3
    assert result.seen == ["c", f"c{first}d"]


def test_a_conversation_that_grew_too_long_says_how_to_forget(chat: Callable[..., Any]) -> None:
    result = chat("c" * 15, "defg", "/clear", "defg")
    assert len(answers(result)) == 2
    assert re.search(r"Error: .*needs 25 positions.*It fits without the earlier turns: /clear", result.stderr)
    assert result.seen == ["c" * 15, "defg"]


def test_help_names_every_command_and_quit_ends(chat: Callable[..., Any]) -> None:
    result = chat("/help", "/quit", "c")
    assert answers(result) == []
    for name in ("sampler NAME", "set KEY=VALUE", "system TEXT", "undo", "clear", "help", "quit"):
        assert re.search(rf"^/{name}  ", result.stderr, re.M), name


def test_a_message_may_begin_with_a_slash(chat: Callable[..., Any]) -> None:
    assert "Error: prompt 0: the toy reads" in (said := chat("//c").stderr)
    assert "not '/'" in said


def test_a_model_without_a_template_is_refused_before_anything_is_typed(chat: Callable[..., Any]) -> None:
    result = chat("c", options=["--model", "toy:0", "--model", "zoo:puzzles"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert re.search(r"Error: prompt 0.*(chat template|template)", result.stderr)


def test_an_unknown_sampler_is_an_error_at_the_start(chat: Callable[..., Any]) -> None:
    result = chat("c", options=["--sampler", "entropi"])
    assert result.exit_code == 2
    assert "Did you mean 'entropy'?" in result.stderr


# -- a terminal ------------------------------------------------------------------------------------------------------

TEMPLATE = (
    "{% for m in messages %}<turn>{{ m.role + ':' + m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant:{% endif %}"
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random decoder without a causal mask, one token per byte, with a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("chat") / "tiny-instruct"
    core = Tokenizer(models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, mask_token="<mask>", pad_token="<pad>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=4096, is_causal=False, **shape)
    LlamaForCausalLM(config).save_pretrained(folder)
    # Only letters and digits, so that no answer looks like anything else on the screen.
    plain = set(b"abcdefghijklmnopqrstuvwxyz0123456789")
    odd = [i for i in range(256) if tokenizer.decode([i]).encode()[:1] not in {bytes([byte]) for byte in plain}]
    (folder / "mdmkit.json").write_text(json.dumps({"forbidden": odd}))
    return folder


ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A program on a pseudo-terminal of its own."""

    def __init__(self, *command: str):
        self.master, slave = pty.openpty()
        # Ctrl-C would throw away what is being written, the program's answer to Ctrl-C included if it is quick.
        modes = termios.tcgetattr(slave)
        modes[3] |= termios.NOFLSH
        termios.tcsetattr(slave, termios.TCSANOW, modes)
        settings = {"TERM": "xterm", "COLUMNS": "100", "LINES": "30", "PYTHONIOENCODING": "utf-8"}
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=os.environ | settings,
            preexec_fn=_own_terminal,
            close_fds=True,
        )
        os.close(slave)
        self.shown, self._decoder = "", codecs.getincrementaldecoder("utf-8")("replace")

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait(self, pattern: str, seconds: float = 60) -> str:
        """Read until the pattern is on the screen; what was shown up to its end, without colours and cursor moves."""
        until = time.monotonic() + seconds
        while not (found := re.search(pattern, self.shown, re.S)):
            assert time.monotonic() < until, f"{pattern!r} did not come: {self.shown!r}"
            if select.select([self.master], [], [], 0.2)[0]:
                try:
                    self.shown += self._decoder.decode(os.read(self.master, 65536))
                except OSError:  # the program has ended
                    raise AssertionError(f"{pattern!r} did not come before the end: {self.shown!r}") from None
                self.shown = ESCAPES.sub("", self.shown)
        before, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


def _own_terminal() -> None:
    os.setsid()
    heed_ctrl_c()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def terminal(checkpoint: Path) -> Iterator[Terminal]:
    options = ["--model", str(checkpoint), "--sampler", "confidence", "--length", "6", "--device", "cpu"]
    held = Terminal(sys.executable, "-m", "mdmkit", "chat", *options)
    yield held
    held.close()


def test_a_conversation_in_a_terminal(terminal: Terminal) -> None:
    assert "tiny-instruct · confidence · 6 masks an answer" in terminal.wait("Ctrl-D ends.*> ")
    terminal.type("hello\n")
    said = terminal.wait(r"NFE 6\b.*> ")
    assert "▁▁▁▁▁▁" in said  # the empty canvas,
    assert re.search(r"mdmkit · confidence.*[\r\n][a-z0-9]{6}\r\n", said, re.S)  # and the answer
    assert "turn" not in said  # the view shows the answer only

    terminal.type("/sampler entropi\n")
    assert "unknown sampler 'entropi'. Did you mean 'entropy'?" in terminal.wait("Error: .*> ")
    terminal.type("/sampler entropy\n")
    terminal.wait(r"The sampler is entropy\..*> ")

    terminal.type("/set plan.length=3000\n")
    terminal.wait(r"plan\.length=3000 is set.*> ")
    terminal.type("more\n")
    terminal.wait("mdmkit · entropy")
    terminal.type("\x03")
    terminal.wait(r"Stopped; the conversation is as it was.*> ", 20)
    assert terminal.process.poll() is None

    terminal.type("half a line")
    terminal.wait("half a line")
    # Python hears of a signal that comes while readline echoes a key only with the next one: nobody types as fast.
    time.sleep(0.3)
    terminal.type("\x03")
    terminal.wait("> ")
    terminal.type("/set plan.length=4\n")
    terminal.wait(r"is set.*> ")
    terminal.type("again\n")
    terminal.wait(r"NFE 4\b.*> ")
    terminal.type("\x04")
    assert terminal.process.wait(20) == 0


def test_decode_uses_the_template_and_keeps_what_was_written(checkpoint: Path, tmp_path: Path) -> None:
    from mdmkit import load

    rows = [
        {"messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}, {**USER}]},
        {"prompt": "b", "chat": False},
        "a[MASK:2]b",
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    given = ["--model", str(checkpoint), "--device", "cpu", "--set", "plan.length=2", "--prompt", "hi"]
    result = CliRunner().invoke(main, [*DECODE, *given, "--prompts", str(tmp_path / "rows.jsonl")])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["rows"]
    tokenizer = load(str(checkpoint), device="cpu").tokens.tokenizer
    assert [(row["prompt"], tokenizer.decode(row["prompt_ids"])) for row in found] == [
        ("hi", "<turn>user:hi<turn>assistant:"),
        ("a", "<turn>user:one<turn>assistant:two<turn>user:a<turn>assistant:"),
        ("b", "b"),
        ("a[MASK:2]b", "a<mask><mask>b"),
    ]
    assert [row["stopped"] for row in found] == ["length", "length", "length", "filled"]


# -- prompts ---------------------------------------------------------------------------------------------------------

DECODE = ["decode", "--sampler", "confidence", "--no-live", "--json"]
USER = {"role": "user", "content": "a"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"messages": []}, r"'messages' is \[\]; a conversation is a list"),
        ({"messages": "a"}, "a conversation is a list"),
        ({"messages": [{"role": "user"}]}, "is no message of 'messages'"),
        ({"messages": [{**USER, "content": 5}]}, "a 'role' and a 'content', both texts"),
        ({"messages": [{**USER, "name": "x"}]}, "is no message"),
        ({"messages": [USER], "prompt": "a"}, "either 'prompt'.*or 'messages'"),
        ({"messages": [USER], "chat": False}, "'messages' goes through the chat template, and 'chat' is false"),
        ({"messages": [{**USER, "role": "system"}], "system": "b"}, "begins with a system message, so drop 'system'"),
        ({"prompt": "a", "system": "b", "chat": False}, "'system' goes through the chat template"),
        ({"prompt": "a", "chat": "yes"}, "'chat' must be bool"),
        ({"prompt": "a", "suffix": ["b"]}, "'suffix' must be str"),
        ({"prompt_ids": [1], "suffix": "b"}, "'prompt_ids' are taken as they are, so 'suffix' cannot"),
        ({"prompt_ids": [1], "chat": True}, "so 'chat' cannot"),
        ({"prompt": "a", "chat_options": "b"}, "'chat_options' must be dict"),
        ({"prompt": "a", "chat_options": {}, "chat": False}, "'chat_options' goes through the chat template"),
    ],
)
def test_a_contradictory_prompt_is_refused(given: Any, said: str) -> None:
    with pytest.raises(MdmkitError, match=f"prompt 0: .*{said}"):
        read_prompts([given], 0)


def test_a_prompt_read_again_is_the_same() -> None:
    given = [{"messages": [USER], "system": "s", "length": 3}, {"prompt": "a", "chat": False, "suffix": "b"}, [1, 2]]
    given.append({"prompt": "a", "chat_options": {"x": 1}})
    prompts = read_prompts(given, 5)
    assert read_prompts(prompts, 6) == prompts
    assert prompts[0].text == "a"


def test_the_command_lines_options_are_for_prompts_without_their_own() -> None:
    system = {"role": "system", "content": "own"}
    given = ["a", {"prompt": "a", "system": "own", "suffix": "own"}, {"messages": [system, USER]}, [1]]
    prompts = with_defaults(read_prompts([*given, {"prompt": "a", "chat": False}], 0), system="s", suffix="x")
    assert [prompt.system for prompt in prompts] == ["s", "own", None, None, None]
    assert [prompt.suffix for prompt in prompts] == ["x", "own", "x", None, "x"]
    own = {"prompt": "a", "chat_options": {"x": 1}}
    options = with_defaults(read_prompts([own, "a", [1]], 0), chat_options={"x": 2, "y": 3})
    assert [prompt.chat_options for prompt in options] == [{"x": 1, "y": 3}, {"x": 2, "y": 3}, None]
    with_chat = with_defaults(read_prompts(["a", {"prompt": "a", "chat": False}, {"messages": [USER]}], 0), chat=True)
    assert [prompt.chat for prompt in with_chat] == [True, False, None]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--prompt", "a", "--no-chat", "--system", "s"], "--no-chat says not to use it"),
        (["--prompt", "a", "--no-chat", "--chat-option", "x=1"], "--chat-option goes through the chat template"),
        (["--prompt", "a", "--chat-option", "x"], "--chat-option 'x': write it as KEY=VALUE"),
        (["--prompt-ids", "1", "--suffix", "s"], "--suffix is for texts, and every prompt is token ids"),
        (["--prompt-ids", "1", "--chat"], "--chat is for texts"),
        (["--prompt", "4*5=", "--chat"], "prompt 0"),
    ],
)
def test_decode_refuses_chat_system_and_suffix_where_they_cannot_be(options: list[str], said: str) -> None:
    result = CliRunner().invoke(main, [*DECODE, *options])
    assert result.exit_code == 2, result.output
    assert said in result.stderr


def test_decode_fills_the_middle() -> None:
    options = ["--prompt", "4*_=", "--prompt", "4*5=", "--suffix", "=[MASK:2]1", "--set", "plan.length=3"]
    given = CliRunner().invoke(main, [*DECODE, *options], catch_exceptions=False)
    assert given.exit_code == 0, given.output
    rows = json.loads(given.stdout)["rows"]
    assert [row["prompt"] for row in rows] == ["4*_=", "4*5="]
    assert [row["text"][:2] + row["text"][3:4] + row["text"][-4:-3] + row["text"][-1] for row in rows] == ["4*==1"] * 2
    assert [sum(tick >= 0 for tick in row["order"]) for row in rows] == [3, 2]


@pytest.mark.parametrize(
    "asked", [{"chat": True}, {"system": "s"}, {"suffix": "s"}, {"messages": (("user", "a"),)}, {"chat_options": {}}]
)
def test_a_backbone_that_reads_texts_only_refuses_the_rest(asked: dict[str, Any]) -> None:
    prompt, backbone = Prompt(text="a", length=1, index=4, **asked), ToyBackbone.load("toy:0", device="cpu")
    with pytest.raises(MdmkitError, match=f"prompt 4: this model takes texts.*'{next(iter(asked))}' is given"):
        backbone.encode([prompt], Plan())
    assert backbone.encode([prompt.read()], Plan())[0].tokens.shape == (1, 2)
    assert backbone.encode([Prompt(text="a", length=1, chat=False)], Plan())[0].tokens.shape == (1, 2)
