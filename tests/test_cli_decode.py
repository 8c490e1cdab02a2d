"""`mdmkit decode`: what it prints and writes, and every way of asking wrongly."""

import json

import pytest
from click.testing import CliRunner

from mdmkit.cli import main
from mdmkit.decoding.units import units
from mdmkit.installed import registry

PLUGIN = '''
import sys

from mdmkit import Component, Observer, hookimpl
from mdmkit.testing import ToyBackbone
from mdmkit.testing.reference import ByConfidence, LeastEntropyLeft, Spread, TakeQuota


class Interrupted(ToyBackbone):
    """Stops like Ctrl-C in its fifteenth forward."""

    calls = 0

    def forward(self, *args, **options):
        self.calls += 1
        if self.calls == 15:
            raise KeyboardInterrupt
        return super().forward(*args, **options)


class Counter(Observer):
    """Says on standard error how many tokens each step wrote."""

    def on_step(self, step, actions, choice):
        print("wrote", int(actions.take(choice)[0].sum()), file=sys.stderr)


class Telling(ToyBackbone):
    """Says on standard error which prompts it encodes."""

    def encode(self, prompts, plan):
        print(*(f"encode {prompt.index}" for prompt in prompts), sep="\\n", file=sys.stderr)
        return super().encode(prompts, plan)


class Mute(ToyBackbone):
    samples = ()


@hookimpl
def mdmkit_backbone():
    return [Component("toy", ToyBackbone), Component("interrupted", Interrupted), Component("mute", Mute),
            Component("telling", Telling)]


@hookimpl
def mdmkit_observer():
    return [Component("counter", Counter)]


@hookimpl
def mdmkit_score():
    return [Component("by_confidence", ByConfidence)]


@hookimpl
def mdmkit_select():
    return [Component("take_quota", TakeQuota), Component("spread", Spread)]


@hookimpl
def mdmkit_lookahead():
    return [Component("least_entropy_left", LeastEntropyLeft)]
'''


@pytest.fixture
def decode(tmp_path, monkeypatch):
    """Run `mdmkit decode` with a greedy toy sampler; later options win."""
    plugin = tmp_path / "toys.py"
    plugin.write_text(PLUGIN)
    base = ["decode", "--plugin", str(plugin), "--model", "toy:0", "--no-live", "--device", "cpu"]
    config = tmp_path / "greedy.yaml"
    config.write_text("score: by_confidence\nselect: take_quota\n")

    def call(*options, with_config=True):
        monkeypatch.setattr(registry, "_default", None)  # every command is a process of its own
        given = [*base, *(["--config", str(config)] if with_config else []), *map(str, options)]
        return CliRunner().invoke(main, given)

    return call


def expect_refused(result, *words):
    """The result is one paragraph on stderr that holds the words, nothing on stdout, exit code 2."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().split("\n\n")) == 1
    text = " ".join(result.stderr.split())
    for word in words:
        assert word in text, text


def test_json_is_one_document_with_every_key(decode):
    result = decode("--prompt", "ab", "--prompt-ids", "3 4", "--json", "--seed", 5)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert set(document) == {"mdmkit", "model", "sampler", "rows", "nfe", "seconds"}
    assert document["model"] == "toy:0" and document["sampler"]["seed"] == 5
    assert document["nfe"] == {"rows": 16, "calls": 8}
    keys = {
        "index",
        "prompt",
        "prompt_ids",
        "text",
        "tokens",
        "seed",
        "uncertainty",
        "nfe",
        "row_tokens",
        "order",
        "stopped",
    }
    assert [set(row) for row in document["rows"]] == [keys, keys]
    first, second = document["rows"]
    assert (first["prompt"], first["prompt_ids"], second["prompt"], second["prompt_ids"]) == (
        "ab",
        [1, 2],
        None,
        [3, 4],
    )
    assert sorted(first["order"]) == list(range(8)) and len(first["tokens"]) == 8 and first["stopped"] == "length"


def test_the_stored_sampler_replays_the_run(decode, tmp_path):
    options = (
        "--prompt",
        "ab",
        "--json",
        "--set",
        "select=spread",
        "--set",
        "lookahead=least_entropy_left",
        "--set",
        "draw.temperature=0.9",
    )
    first = json.loads(decode(*options, "--seed", 7).stdout)
    stored = tmp_path / "stored.json"
    stored.write_text(json.dumps(first["sampler"]))
    again = json.loads(decode("--prompt", "ab", "--json", "--config", stored, with_config=False).stdout)
    assert again["rows"] == first["rows"]


def test_python_and_the_command_line_agree(decode):
    import mdmkit
    from mdmkit.testing import ToyBackbone
    from mdmkit.testing.reference import ByConfidence, TakeQuota

    rows = json.loads(decode("--prompt", "ab", "--prompt", "c", "--json", "--seed", 3).stdout)["rows"]
    decoded = mdmkit.decode(
        mdmkit.compose(score=ByConfidence(), select=TakeQuota()), ToyBackbone(), ["ab", "c"], seed=3
    )
    assert [row.json() for row in decoded.rows] == rows


def test_samples_are_decoded_where_no_prompt_is_given_and_it_says_so(decode):
    result = decode()
    assert result.exit_code == 0
    assert "No prompt given: decoding the 2 sample prompts of toy:0." in result.stderr
    assert "H̃" in result.stdout and "2 rows" in result.stdout


def test_output_holds_one_row_per_line_in_order_and_prompts_mix(decode, tmp_path):
    file, out = tmp_path / "p.jsonl", tmp_path / "out.jsonl"
    file.write_text('"a"\n\n[1, 2, 3]\n{"prompt": "b", "length": 3, "seed": 9}\n{"prompt": "c_d"}\n')
    result = decode("--prompt", "ab", "--prompts", file, "--output", out, "--batch", 2)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["index"] for row in rows] == [0, 1, 2, 3, 4]
    assert [len(row["tokens"]) for row in rows] == [8, 8, 8, 3, 3]
    assert rows[3]["seed"] == 9 and rows[4]["stopped"] == "filled"


def test_each_prompt_is_encoded_once_and_grouped_once(decode, tmp_path, monkeypatch):
    grouped = []

    def counted(prompts, *rest):
        grouped.append(len(prompts))
        return units(prompts, *rest)

    monkeypatch.setattr("mdmkit.decoding.units.units", counted)
    monkeypatch.setattr("mdmkit.decoding.run.units", counted)
    file, out = tmp_path / "p.jsonl", tmp_path / "out.jsonl"
    file.write_text("".join(json.dumps("abcdefghij"[: 1 + i % 7]) + "\n" for i in range(30)))
    result = decode("--model", "telling:toy:0", "--prompts", file, "--output", out, "--batch", 2, "--seed", 1)
    assert result.exit_code == 0, result.output
    assert len(out.read_text().splitlines()) == 30
    encoded = [int(line.split()[1]) for line in result.stderr.splitlines() if line.startswith("encode")]
    assert encoded == list(range(30))
    assert grouped == [30]


def test_rows_that_went_to_a_device_cannot_be_continued(decode):
    result = decode("--prompt", "ab", "--output", "/dev/null", "--trace", "/dev/full")
    expect_refused(result, "1 of 1 rows are finished.")
    assert "--resume" not in result.stderr


def test_trace_holds_order_confidence_entropy_and_choices(decode, tmp_path):
    trace = tmp_path / "t.json"
    decode("--prompt", "ab", "--trace", trace, "--set", "select=spread", "--set", "lookahead=least_entropy_left")
    row = json.loads(trace.read_text())["rows"][0]
    assert len(row["order"]) == len(row["pieces"]) == len(row["entropy"]) == len(row["confidence"]) == 10
    assert row["pieces"][:2] == ["a", "b"]
    assert len(row["choices"]) == len(row["values"]) == 8
    assert any(values is not None for values in row["values"])


def test_ctrl_c_leaves_finished_rows_in_the_file_and_says_how_many(decode, tmp_path):
    out = tmp_path / "out.jsonl"
    many = [x for p in "abcdefgh" for x in ("--prompt", p)]
    # Rows one at a time, three forwards each: the first unit is four rows, twelve forwards.
    result = decode(*many, "--model", "interrupted:0", "--output", out, "--batch", 1, "--set", "plan.length=3")
    assert result.exit_code == 130
    assert f"Stopped: 4 of 8 rows are finished and in {out}." in result.stderr
    assert [json.loads(line)["index"] for line in out.read_text().splitlines()] == [0, 1, 2, 3]


def test_live_shows_the_canvas_and_changes_nothing(decode):
    quiet = json.loads(decode("--prompt", "ab", "--json").stdout)
    live = decode("--prompt", "ab", "--json", "--live")
    assert json.loads(live.stdout)["rows"] == quiet["rows"]
    assert "tokens/s" in live.stderr and "NFE" in live.stderr


def test_observers_run_along_by_name(decode):
    result = decode("--prompt", "ab", "--observer", "counter")
    assert result.stderr.count("wrote 1") == 8
    expect_refused(
        decode("--prompt", "ab", "--observer", "count"), "unknown observer 'count'", "Did you mean 'counter'"
    )


MISTAKES = {
    "unknown sampler": (["--sampler", "info_gian"], ["unknown sampler 'info_gian'"]),
    "unknown stage": (
        ["--set", "score=by_confidance"],
        ["unknown score 'by_confidance'", "Did you mean 'by_confidence'"],
    ),
    "unknown model": (["--model", "toi:0"], ["toi"]),
    "unknown key": (["--set", "plan.lenght=4"], ["lenght", "length"]),
    "unknown top-level key": (["--set", "scores=a"], ["scores", "score"]),
    "unknown stage parameter": (["--set", "select=spread", "--set", "select.candidate=3"], ["candidate", "candidates"]),
    "wrong type": (["--set", "plan.length=many"], ["plan.length", "many"]),
    "out of range": (["--set", "plan.length=0"], ["plan.length=0"]),
    "no lookahead": (["--set", "select=spread"], ["proposes 4 alternatives but no lookahead", "candidates=1"]),
    "too long": (["--set", "plan.length=300"], ["prompt 0 needs 302 positions", "256", "at most 254 masks"]),
    "id outside": (["--prompt-ids", "5 99"], ["token id 99", "13"]),
    "id no number": (["--prompt-ids", "5 x"], ["'5 x'"]),
    "missing file": (["--prompts", "nowhere.jsonl"], ["nowhere.jsonl", "No such file"]),
    "missing config": (["--config", "nowhere.yaml"], ["nowhere.yaml"]),
    "missing plugin": (["--plugin", "nowhere.py"], ["nowhere.py"]),
    "missing directory": (["--output", "no/such/place/out.jsonl"], ["no/such/place"]),
    "many steps": (["--set", "plan.steps=99999999999999999999"], ["plan.steps", "1048576"]),
    "one file twice": (["--output", "same.json", "--trace", "same.json"], ["both name"]),
    "reserved option": (["--model-option", "device=cpu"], ["cannot be passed this way"]),
    "bad temperature": (["--set", "draw.temperature=-1"], ["draw.temperature"]),
    "not finite": (["--set", "draw.temperature=.nan"], ["draw.temperature"]),
    "id to suppress": (["--set", "draw.suppress=[99]"], ["draw.suppress", "99"]),
    "bad option": (["--model-option", "mask_id"], ["KEY=VALUE"]),
    "no samples": (["--model", "mute:0"], []),
    "cache": (["--set", "cache=prefix"], ["prefix", "none"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_paragraph_and_leaves_nothing(decode, tmp_path, name):
    options, words = MISTAKES[name]
    out = tmp_path / "out.jsonl"
    asked = [] if name == "no samples" else ["--prompt", "ab"]
    given = [*asked, *([] if "--output" in options else ["--output", out]), *options]
    expect_refused(decode(*given), *words)
    assert not out.exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"prompt": "a"', "not JSON"),
        ("7", "7 is not a prompt"),
        ('{"promt": "a"}', "Did you mean 'prompt'"),
        ('{"prompt": "a", "prompt_ids": [1]}', "either 'prompt'"),
        ('{"seed": 1}', "none of the keys 'prompt'"),
        ('{"prompt": "a", "seed": "x"}', "'seed' must be int"),
        ('{"prompt": "a", "seed": 99999999999999999999}', "64 bits"),
        ('{"prompt": "a", "length": -1}', "'length'"),
        ("[1, true]", "token ids"),
    ],
)
def test_a_bad_line_is_named(decode, tmp_path, line, words):
    file, out = tmp_path / "p.jsonl", tmp_path / "out.jsonl"
    file.write_text(f'"a"\n"b"\n{line}\n')
    expect_refused(decode("--prompts", file, "--output", out), "line 3", words)
    assert not out.exists()


def test_a_bad_prompt_late_in_the_file_is_found_before_anything_is_decoded(decode, tmp_path):
    file, out = tmp_path / "p.jsonl", tmp_path / "out.jsonl"
    file.write_text('"a"\n' * 40 + '"aZ"\n')
    expect_refused(decode("--prompts", file, "--output", out, "--batch", 2), "prompt 40", "'Z'")
    assert not out.exists()


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe\x00"])
def test_a_file_without_prompts_is_refused(decode, tmp_path, content):
    file = tmp_path / "p.jsonl"
    file.write_bytes(content)
    expect_refused(decode("--prompts", file), "p.jsonl")


@pytest.mark.parametrize("option", ["--output", "--trace"])
def test_an_existing_file_is_kept_unless_overwrite_is_given(decode, tmp_path, option):
    path = tmp_path / "there"
    path.write_text("precious")
    expect_refused(decode("--prompt", "ab", option, path), "exists", "--overwrite")
    assert path.read_text() == "precious"
    # A run that fails does not cost the old file either.
    expect_refused(decode("--prompt", "aZ", option, path, "--overwrite"), "'Z'")
    assert path.read_text() == "precious"
    assert decode("--prompt", "ab", option, path, "--overwrite").exit_code == 0
    assert path.read_text() != "precious"
    expect_refused(decode("--prompt", "ab", option, tmp_path), "directory")


def test_cuda_asked_for_and_absent(decode):
    import torch

    if torch.cuda.is_available():
        assert decode("--prompt", "ab", "--device", "cuda").exit_code == 0
    else:
        expect_refused(decode("--prompt", "ab", "--device", "cuda"), "cuda")


def test_an_input_is_never_the_output(decode, tmp_path):
    file = tmp_path / "in.jsonl"
    file.write_text('"a"\n')
    expect_refused(decode("--prompts", file, "--output", file, "--overwrite"), "--prompts and --output both name")
    assert file.read_text() == '"a"\n'


def test_a_link_is_written_through_and_stays_a_link(decode, tmp_path):
    target, link = tmp_path / "real.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to(target)
    assert decode("--prompt", "ab", "--trace", link, "--overwrite").exit_code == 0
    assert link.is_symlink()
    assert json.loads(target.read_text())["model"] == "toy:0"


def test_a_write_that_fails_leaves_whole_rows(tmp_path, monkeypatch):
    from mdmkit.cli import output
    from mdmkit.errors import MdmkitError

    sink = output.RowFile(tmp_path / "out.jsonl")
    sink.write([{"index": 0}])

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(output, "to_disk", full)
    with pytest.raises(MdmkitError, match="No space left on device; 1 rows were written before"):
        sink.write([{"index": 1}])
    assert (tmp_path / "out.jsonl").read_text() == '{"index": 0}\n'


def test_files_may_hold_a_byte_order_mark_and_line_separators_inside_texts(decode, tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_bytes(b'\xef\xbb\xbf"a"\r\n' + '"a\u2028"\n'.encode())
    expect_refused(decode("--prompts", file), "line 2", "prompt 1", "'\\u2028'")


def test_a_prompt_that_cannot_be_encoded_is_named_by_its_line(decode, tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text('"a"\n\n"aZ"\n')
    expect_refused(decode("--prompt", "b", "--prompts", file), "p.jsonl, line 3", "'Z'")


def test_a_plugin_that_breaks_while_running_is_one_paragraph_too(decode, tmp_path):
    plugin = tmp_path / "bad.py"
    plugin.write_text(
        "from mdmkit import Component, hookimpl\n\nclass Bad:\n    def on_start(self, *a):\n"
        "        raise KeyError('oops')\n\n"
        "@hookimpl\ndef mdmkit_observer():\n    return [Component('bad', Bad)]\n"
    )
    result = decode("--prompt", "ab", "--plugin", plugin, "--observer", "bad")
    assert result.exit_code == 2
    assert "observer Bad failed in on_start: KeyError: 'oops'" in result.stderr
    assert "--debug" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_disk_that_is_full_is_one_paragraph(decode):
    expect_refused(decode("--prompt", "ab", "--output", "/dev/full", "--overwrite"), "/dev/full", "No space left")


@pytest.mark.parametrize("prompts", [1, 200])  # the trace fails when it is closed, and while rows are added
def test_a_disk_that_is_full_of_traces_says_how_to_go_on(decode, tmp_path, prompts):
    file, out = tmp_path / "p.jsonl", tmp_path / "out.jsonl"
    file.write_text('"ab"\n' * prompts)
    rows = ("--prompts", file, "--batch", 4, "--output", out)
    result = decode(*rows, "--trace", "/dev/full", "--overwrite")
    written = out.read_text().count("\n")
    assert (written == prompts) == (prompts == 1)
    said = f"--trace /dev/full: No space left on device. {written} of {prompts} rows are finished and in"
    expect_refused(result, said, "with --resume, and without --trace, continues from there")
    assert decode(*rows, "--resume").exit_code == 0
    assert out.read_text().count("\n") == prompts


def test_rows_that_are_written_are_counted_even_if_the_trace_fails_at_once(decode, tmp_path, monkeypatch):
    from mdmkit.cli.output import DocumentFile

    def fails(file, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DocumentFile, "_append", fails)
    result = decode("--prompt", "ab", "--trace", tmp_path / "t.json", "--output", tmp_path / "out.jsonl")
    expect_refused(result, "1 of 1 rows are finished and in", "continues from there")


def test_a_config_without_a_sampler_uses_the_default(decode, tmp_path):
    config = tmp_path / "plan.yaml"
    config.write_text("plan: {length: 3}\n")
    result = decode("--prompt", "ab", "--json", "--config", config, with_config=False)
    assert json.loads(result.stdout)["sampler"]["sampler"] == "info_gain"


def test_debug_shows_the_traceback(tmp_path):
    result = CliRunner().invoke(main, ["--debug", "decode", "--prompt-ids", "x", "--sampler", "info_gain"])
    assert result.exit_code != 0
    assert "Traceback" in result.output or isinstance(result.exception, Exception)


def test_a_file_with_two_plugins_of_one_name_says_how_to_choose(decode, tmp_path):
    other = tmp_path / "others.py"
    other.write_text(PLUGIN)
    expect_refused(decode("--prompt", "ab", "--plugin", other), "by_confidence", "toys.py", "others.py")


def test_a_plugin_file_that_is_no_file_is_called_what_it_is(decode, tmp_path):
    expect_refused(decode("--prompt", "ab", "--plugin", tmp_path), f"plugin file '{tmp_path}' is a directory.")
    expect_refused(decode("--prompt", "ab", "--plugin", "/dev/null"), "plugin file '/dev/null' is not a file.")
    expect_refused(decode("--prompt", "ab", "--plugin", tmp_path / "no.py"), "no.py' does not exist.")


def test_a_plugin_file_that_fails_to_import_is_named(decode, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("import no_such_module\n")
    expect_refused(decode("--prompt", "ab", "--plugin", broken), "broken.py", "no_such_module")
