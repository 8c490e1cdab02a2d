"""Files of prompts as people have them, and what of them travels into the rows."""

from __future__ import annotations

import io
import json
import sys

import pytest
import warm
from click.testing import CliRunner

from mdmkit import MdmkitError, read_prompts
from mdmkit.cli import main
from mdmkit.cli.prompt_file import STANDARD_INPUT, read_file
from mdmkit.errors import shown

LINE = ["decode", "--sampler", "confidence", "--device", "cpu", "--no-live", "--set", "plan.length=2"]


def read(tmp_path, name, content, key=None):
    file = tmp_path / name
    file.write_bytes((content if isinstance(content, str) else json.dumps(content)).encode())
    return [(line.prompt, line.own) for line in read_file(file, key)]


def refused(tmp_path, content, key=None, name="p.jsonl"):
    with pytest.raises(MdmkitError) as found:
        read(tmp_path, name, content, key)
    return str(found.value)


def test_own_keys_travel_into_the_row(tmp_path):
    file, out = tmp_path / "p.jsonl", tmp_path / "out.jsonl"
    rows = [{"id": "a/7", "question": "2*7=", "answer": "14", "input": 3}, {"question": "3*7=", "length": 3}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["--prompts", str(file), "--prompt-key", "question"]
    result = CliRunner().invoke(main, [*LINE, *given, "--json", "--output", str(out)])
    assert result.exit_code == 0, result.output
    first, second = (json.loads(line) for line in out.read_text().splitlines())
    assert (first["id"], first["meta"]) == ("a/7", {"answer": "14", "input": 3})
    assert first["prompt"] == "2*7=" and "id" not in second and "meta" not in second
    assert json.loads(result.stdout)["rows"] == [first, second]
    file.write_text(file.read_text().replace("a/7", "a/8"))
    result = CliRunner().invoke(main, [*LINE, *given, "--output", str(out), "--resume"])
    assert result.exit_code == 2 and "other prompts" in result.stderr


@pytest.mark.parametrize(
    ("value", "prompt"),
    [
        ("a text", {"prompt": "a text"}),
        ([1, 2], {"prompt_ids": [1, 2]}),
        ([{"role": "user", "content": "a"}], {"messages": [{"role": "user", "content": "a"}]}),
        ([{"from": "human", "value": "a"}], {"messages": [{"role": "user", "content": "a"}]}),
    ],
)
def test_the_named_key_holds_a_text_ids_or_a_conversation(tmp_path, value, prompt):
    content = {"q": value, "prompt": "another", "seed": 3}
    assert read(tmp_path, "p.jsonl", content, "q") == [(prompt | {"seed": 3}, {"meta": {"prompt": "another"}})]


def test_a_key_that_is_not_there_is_named_with_those_that_are(tmp_path):
    said = refused(tmp_path, {"id": 5, "question": "a"})
    assert "p.jsonl, line 1: it has none of the keys 'prompt', 'prompt_ids', 'messages', 'conversations'" in said
    assert "Its keys are id, question: name the one that holds the prompt, as in --prompt-key" in said
    assert "no key 'q' (--prompt-key). Its keys are prompt." in refused(tmp_path, {"prompt": "a"}, "q")
    assert "names a key of an object, and this is 'a'" in refused(tmp_path, '"a"', "q")
    assert "'q' is 5, and a prompt is" in refused(tmp_path, {"q": 5}, "q")


def test_a_key_that_is_nearly_ours_or_a_setting_is_not_taken_for_ones_own(tmp_path):
    assert "unknown key 'lenght'. Did you mean 'length'?" in refused(tmp_path, {"prompt": "a", "lenght": 5})
    assert "--set draw.temperature=…" in refused(tmp_path, {"prompt": "a", "temperature": 1})
    assert "--set plan.length=…" in refused(tmp_path, {"prompt": "a", "max_tokens": 1})
    with pytest.raises(MdmkitError, match="unknown key 'question'"):
        read_prompts([{"prompt": "a", "question": "a"}], 0)


def test_sharegpt_is_read_as_messages(tmp_path):
    turns = [("system", "s"), ("human", "a"), ("gpt", "b"), ("human", "c")]
    content = {"id": "x", "conversations": [{"from": name, "value": text} for name, text in turns]}
    ((prompt, own),) = read(tmp_path, "p.jsonl", content)
    roles = [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c")]
    assert [(message["role"], message["content"]) for message in prompt["messages"]] == roles
    assert own == {"id": "x"}
    content["conversations"][1]["from"] = "observation"
    assert "is no turn of 'conversations'" in refused(tmp_path, content)
    content["conversations"][1] |= {"from": "human", "weight": 0}
    assert "and 'value', a text, and no other key" in refused(tmp_path, content)
    messages = [{"role": "user", "content": "a"}]
    assert read(tmp_path, "p.jsonl", {"conversations": messages}) == [({"messages": messages}, {})]


@pytest.mark.parametrize(
    "content",
    [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": None, "tool_calls": []}]},
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": None}]},
    ],
)
def test_a_message_without_a_text_is_named_by_its_place(tmp_path, content):
    ((prompt, _),) = read(tmp_path, "p.jsonl", content)
    with pytest.raises(MdmkitError, match=r"prompt 0: message 2 \('assistant'\) has no text: its content is null"):
        read_prompts([prompt], 0)


def test_parts_of_text_are_joined_and_others_refused_by_name():
    def asked(*parts):
        return read_prompts([{"messages": [{"role": "user", "content": list(parts)}]}], 0)[0].messages

    assert asked({"type": "text", "text": "a "}, {"type": "text", "text": "b"}) == (("user", "a b"),)
    for part in ({"type": "image_url", "image_url": {"url": "a.png"}}, {"type": "text"}, "a", {}):
        with pytest.raises(MdmkitError, match="prompt 0: a message has the part"):
            asked({"type": "text", "text": "a"}, part)


def test_an_array_is_a_prompt_an_item(tmp_path):
    rows = ["a", {"prompt": "b", "id": 1}, [1, 2]]
    for content in (json.dumps(rows), json.dumps(rows, indent=1), " " + json.dumps(rows)):
        assert read(tmp_path, "p.json", content) == [("a", {}), ({"prompt": "b"}, {"id": 1}), ([1, 2], {})]
    assert "p.jsonl, item 2: 7.5 is not a prompt" in refused(tmp_path, '["a", 7.5]')
    assert read(tmp_path, "p.jsonl", "[1, 2]\n[3]") == [([1, 2], {}), ([3], {})]  # lines of ids are no array
    assert "A JSON array must be whole" in refused(tmp_path, '["a",\n"b"')


def test_a_txt_file_is_a_text_a_line(tmp_path):
    content = 'What is 2?\r\n\n  indented\n{a brace}\n"a quotation"\n'
    texts = [prompt for prompt, _ in read(tmp_path, "p.txt", content)]
    assert texts == ["What is 2?", "  indented", "{a brace}", '"a quotation"']
    assert "Let its name end in .jsonl" in refused(tmp_path, {"prompt": "a"}, name="p.txt")


@pytest.mark.parametrize(
    ("options", "content", "asked"),
    [
        (["--prompts", "-"], '{"prompt": "2*7="}\n"3*7="\n', ["2*7=", "3*7="]),
        (["--prompts", "-"], "2*7=\n3*7=\n", ["2*7=", "3*7="]),
        ([], "4*7=\n", ["4*7="]),  # a pipe, and no other prompt
        (["--prompts", "-"], ' [\n "4*7="]\n', ["4*7="]),
        (["--prompt", "5*7="], "4*7=\n", ["5*7="]),
    ],
)
def test_prompts_come_through_a_pipe(options, content, asked):
    done = warm.mdmkit(*LINE, "--json", *options, input=content.encode())
    assert done.returncode == 0, done.stderr
    assert [row["prompt"] for row in json.loads(done.stdout)["rows"]] == asked
    assert ("reading prompts from standard input" in done.stderr) == (not options)


@pytest.mark.parametrize(
    ("content", "prompts"),
    [
        ("[MASK] is what?\n{name} is not.\n", ["[MASK] is what?", "{name} is not."]),
        ("{}", None),
        ("[true]\n", ["[true]"]),
        ('{\n"prompt": "a"}', None),
        ("[5, 7]\n[6]\n", [[5, 7], [6]]),
        ("[[5], [6]]", [[5], [6]]),
    ],
)
def test_standard_input_is_json_if_it_begins_as_json_does(monkeypatch, content, prompts):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    if prompts is None:
        with pytest.raises(MdmkitError, match="standard input, line 1: "):
            list(read_file(STANDARD_INPUT))
    else:
        assert [line.prompt for line in read_file(STANDARD_INPUT)] == prompts


@pytest.mark.parametrize("line", ["[" * 99999, "[" + "9" * 5000 + " is long."])
def test_a_text_that_python_cannot_read_as_json_is_told_the_same_way(tmp_path, line):
    assert "let the file's name end in .txt." in refused(tmp_path, line)


@pytest.mark.parametrize(
    "text",
    [
        "2*7=__",
        "два слова, 日本語 😀",
        "a\0b and no other zero",
        "a\0b\n",
        "ab\0c",
        "a\0bc\td",
        "привет\0 мир!",
        "a\0\nbc\0\n",
    ],
)
def test_a_text_in_utf_8_is_taken_for_no_other_encoding(tmp_path, text):
    assert read(tmp_path, "p.txt", text) == [(line, {}) for line in text.rstrip("\n").split("\n")]


@pytest.mark.parametrize("line", ['["a", of', '"Hello," she said.', '{"brace" here}', "[1] is a footnote."])
def test_a_text_that_begins_as_json_does_is_refused_with_the_way_to_say_that_it_is_a_text(tmp_path, monkeypatch, line):
    assert "not JSON" in (said := refused(tmp_path, line)) and "let the file's name end in .txt." in said
    assert read(tmp_path, "p.txt", line) == [(line, {})]
    result = CliRunner().invoke(main, [*LINE, "--prompts", "-"], input=line)
    said = " ".join(result.stderr.split())
    assert result.exit_code == 2 and "Error: standard input, line 1: not JSON" in said
    assert "If every line is a text, write them into a file whose name ends in .txt, and name it." in said


WIDE = (
    "2*7=__\n",
    "два слова\n",
    "日本 語\n",
    "a 😀\n",
    "一个句子里没有空格，也没有拉丁字母。这是第二句话，它也很长，所以换行很少。\n",
    "ひらがなとカタカナ",
    "안녕하세요 여러분\n",
    "hello\nworld\n",  # of an even number of characters
    "hello world",
    "a",
    "慢慢来\n扑扑\n",  # each byte is one of ASCII
)  # bytes of the second are valid UTF-8, and those of the third not
WIDE_NAMES = ("utf-16le", "utf-16be", "utf-32le", "utf-32be")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("one\ncafé".encode("latin1"), ", line 2: the byte 0xe9 is no part of a text in UTF-8"),
        ("one\ncafé".encode("latin1"), "iconv -f latin1 -t utf-8"),
        ("これは日本語です".encode("shift_jis"), "iconv -f latin1 -t utf-8"),  # it may be any, and is not UTF-16
        ("这是一个中文句子".encode("gbk"), "iconv -f latin1 -t utf-8"),
        ("one".encode("utf-16"), "iconv -f utf-16 -t utf-8"),
        ("one".encode("utf-32"), "iconv -f utf-32 -t utf-8"),
        *((text.encode(name), f"iconv -f {name} -t utf-8") for text in WIDE for name in WIDE_NAMES),
        ("два слова\n".encode("utf-16le"), ": bytes that are 0 stand where they do in UTF-16LE, and prompts are"),
    ],
)
def test_another_encoding_is_named_with_the_line_and_the_way_to_utf_8(tmp_path, content, said):
    (tmp_path / "p.txt").write_bytes(content)
    with pytest.raises(MdmkitError) as found:
        list(read_file(tmp_path / "p.txt"))
    assert said in str(found.value) and str(found.value).startswith(str(tmp_path / "p.txt"))


@pytest.mark.parametrize("content", [b"caf\xe9\n", b" \n"])
def test_an_option_that_nobody_wrote_is_not_to_blame(content):
    done = warm.mdmkit(*LINE, input=content)
    assert done.returncode == 2 and "standard input" in done.stderr and "--prompts" not in done.stderr


def test_a_long_value_is_cut_in_an_error(tmp_path):
    assert shown("a" * 300) == "'" + "a" * 199 + "… (302 characters)"
    long = "a" * 100_000
    for content in ({"prompt": [long]}, {"prompt": "a", "seed": long}, {"messages": long}, {long: 1}, [[long]]):
        with pytest.raises(MdmkitError) as found:
            read_prompts([prompt for prompt, _ in read(tmp_path, "p.json", content)], 0)
        assert len(str(found.value)) < 1000


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"prompt": "ab", "id": "\\ud800"}', "its own key 'id' holds half of a surrogate pair"),
        ('{"prompt": "ab", "tag": {"deep": ["\\udfff"]}}', "its own key 'tag' holds half of a surrogate pair"),
        ('{"prompt": "ab", "id": NaN}', "its own key 'id' holds a number that is not finite"),
        ('{"prompt": "ab", "score": 1e999}', "its own key 'score' holds a number that is not finite"),
        ("[]", "it is an empty array"),
    ],
)
def test_what_could_not_be_written_into_a_row_is_refused_before_anything_is_decoded(tmp_path, line, words):
    from mdmkit.cli.requests import gather

    file = tmp_path / "prompts.jsonl"
    file.write_text(f'"ab"\n{line}\n' if line != "[]" else line)
    with pytest.raises(MdmkitError) as caught:
        gather((), (), file, 0)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("content", "place", "key"),
    [
        ('{"prompt": "a"}\n{"prompt": "a", "prompt": "b"}', "line 2", "prompt"),
        ('"a"\n{"messages": [{"role": "user", "content": "a", "content": "b"}]}', "line 2", "content"),
        ('{"prompt": "a", "constraint": {"name": "regex", "pattern": "a", "pattern": "b"}}', "line 1", "pattern"),
        ('[{"prompt": "a"},\n {"prompt": "b"} , \n\n{"id": 1, "id": 1, "prompt": "c"}]', "item 3 (line 4)", "id"),
        ('[{"prompt": "a", "prompt": "b"}]', "item 1 (line 1)", "prompt"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_its_place(tmp_path, content, place, key):
    """Python would take the last one."""
    assert f"p.jsonl, {place}: the key '{key}' stands twice in one object. Keep one" in refused(tmp_path, content)
