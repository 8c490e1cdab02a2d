"""`mdmkit`, `mdmkit plugins`, `mdmkit show`, `mdmkit check`: what they print, and that listing is free."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from omegaconf import OmegaConf

from mdmkit.cli import main
from mdmkit.cli.show import flow
from mdmkit.config.resolution import resolve
from mdmkit.installed import registry as registry_module

HEAVY = {
    "torch",
    "transformers",
    "numpy",
    "mdmkit.stage.step",
    "mdmkit.loop.sampler",
    "toy_parts.stages",
    "toy_parts.backbone",
    "toy_parts.command",
    "mdmkit.cli.decode",
}


@pytest.fixture
def run(installed, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")

    def invoke(*args: str):
        return CliRunner().invoke(main, args)

    return invoke


@pytest.fixture
def use(toy, monkeypatch):
    """Make what is on the site now the process's registry."""

    def replace():
        registry = toy.registry()
        monkeypatch.setattr(registry_module, "_default", registry)
        return registry

    return replace


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--help"], "greet"),
        (["plugins"], "probability of the best token"),
        (["plugins", "--json"], '"distribution": "toy"'),
        (["plugins", "--broken"], "No plugin is broken."),
        (["samplers"], "plain"),
        (["show", "plain", "--set", "plan.length=3"], "select:    {name: best, temperature: 0.5}  # toy 1.0"),
        (["show", "--help"], "--set KEY=VALUE"),
    ],
)
def test_listing_imports_neither_torch_nor_a_part(imports_of, args, said):
    output, modules = imports_of(*args)
    assert said in output
    assert HEAVY & set(modules) == set()


def test_help_lists_the_commands_of_plugins(run):
    lines = run("--help").output.splitlines()
    listed = [line.split()[0] for line in lines[lines.index("Commands:") + 1 :]]
    assert listed == ["bench", "chat", "check", "decode", "greet", "join", "plugins", "samplers", "show", "trace"]


def test_a_plugin_s_command_runs(run):
    assert run("greet").output == "hello\n"


def test_the_version_is_printed(run):
    from mdmkit import __version__

    assert run("--version").output == f"mdmkit, version {__version__}\n"


def test_an_unknown_command_is_answered_with_the_nearest(run):
    done = run("shwo", "plain")
    assert done.exit_code == 2
    assert "unknown command 'shwo'. Did you mean 'show'?" in done.stderr


def test_an_error_is_one_paragraph_and_exit_code_2(run):
    done = run("show", "plane")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr == "Error: unknown sampler 'plane'. Did you mean 'plain'? Installed: forked, plain.\n"


def test_debug_shows_the_error_itself(run):
    from mdmkit import MdmkitError

    assert isinstance(run("--debug", "show", "plane").exception, MdmkitError)
    assert isinstance(run("show", "plane").exception, SystemExit)


def test_plugins_lists_every_part_once(run, installed):
    rows = run("plugins").output.splitlines()[1:]
    assert len(rows) == len(installed.parts)
    assert rows[0].split()[:5] == ["score", "likely", "toy", "1.0", "probability"]
    assert rows[1].split()[:3] == ["tilted", "toy", "1.0"]


def test_plugins_as_json(run, installed):
    document = json.loads(run("plugins", "--json").output)
    assert len(document["parts"]) == len(installed.parts)
    assert document["parts"][0] == {
        "kind": "score",
        "name": "likely",
        "distribution": "toy",
        "version": "1.0",
        "summary": "probability of the best token",
    }
    assert document["broken"] == []


def test_plugins_tells_what_is_broken(run, toy, use):
    toy.add("bad", {"bad.py": "import not_there"}, version="0.3", plugin="bad")
    use()
    done = run("plugins")
    assert "likely" in done.stdout
    assert "Set aside as broken: bad." in done.stderr
    reason = "ModuleNotFoundError: No module named 'not_there'"
    assert run("plugins", "--broken").output == f"bad 0.3: {reason}\n"
    assert json.loads(run("plugins", "--json").output)["broken"] == [
        {"distribution": "bad", "version": "0.3", "reason": reason}
    ]


def test_a_plugin_file_is_listed_by_its_name(run, tmp_path):
    file = tmp_path / "my.py"
    file.write_text(
        "from mdmkit import Component, hookimpl\n@hookimpl\ndef mdmkit_score(): return [Component('mine', 'my_mod:A')]"
    )
    assert "file:my.py" in run("plugins", "--plugin", str(file)).output
    done = run("plugins", "--plugin", str(tmp_path / "no.py"))
    assert (done.exit_code, "does not exist" in done.stderr) == (2, True)


def test_show_prints_the_resolved_yaml_with_its_origins(run):
    assert run("show", "plain").output == (
        "# the best positions first\n"
        "sampler:   plain  # toy 1.0\n"
        'paper:     "A Plain Paper"\n'
        'arxiv:     ["2502.09992"]\n'
        'note:      "The simplest there is."\n'
        "score:     {name: likely}  # toy 1.0\n"
        "select:    {name: best, temperature: 0.5}  # toy 1.0\n"
        "lookahead: null\n"
        "commit:    {name: write}  # mdmkit 0.1.0\n"
        "search:    null\n"
        "stop:      null\n"
        "constraint: null\n"
        "plan:      {length: 12, block: null, steps: null, tokens_per_step: 2, schedule: linear, early_stop: true, "
        "room: 0, logprobs: null}\n"
        "draw:      {temperature: 0.0, top_p: null, top_k: null, suppress: [], penalty: {5: 1.5}, end_penalty: 0.0, "
        "repetition_penalty: 1.0, temperature_end: null}\n"
        "guidance:  {scale: 1.0, ramp: false}\n"
        "cache:     auto\n"
        "seed:      0\n"
    )


def test_what_show_prints_is_a_config_file(run, installed, tmp_path):
    file = tmp_path / "shown.yaml"
    file.write_text(run("show", "forked", "--set", "draw.penalty={3: 1e-7}", "--set", "seed=5").output)
    shown = resolve(None, file, registry=installed).config
    assert shown == resolve("forked", None, ["draw.penalty={3: 1e-7}", "seed=5"], registry=installed).config
    assert run("show", "forked", "--config", str(file)).output == file.read_text()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("draw.temperature=-1", "draw.temperature=-1"),
        ("draw.top_p=1.5", "draw.top_p=1.5"),
        ("plan.length=-1", "plan.length=-1"),
        ("score={name: tilted, weight: -1}", "weight is negative"),
        ("lookahead=null", "no lookahead chooses among them"),
    ],
)
def test_show_refuses_what_decode_refuses(run, setting, said):
    done = run("show", "forked", "--set", setting)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())
    assert done.stdout == ""


def test_show_takes_a_part_from_a_file(run, tmp_path):
    file = tmp_path / "my.py"
    file.write_text(
        "from dataclasses import dataclass\nfrom mdmkit import Component, hookimpl\n"
        "@dataclass(frozen=True)\nclass Mine:\n    weight: float = 2.0\n    def __call__(self, step): ...\n"
        "@hookimpl\ndef mdmkit_score(): return [Component('mine', Mine)]\n"
    )
    output = run("show", "plain", "--set", "score=mine", "--plugin", str(file)).output
    assert "score:     {name: mine, weight: 2.0}  # file:my.py" in output


@pytest.mark.parametrize(
    "value",
    [
        "no",
        "null",
        "a: b",
        "1",
        "x # y",
        "naïve",
        "1e3",
        "",
        "ok_word",
        1e-05,
        1e300,
        float("inf"),
        True,
        [None, {"a": [1]}],
    ],
)
def test_shown_values_read_back_as_they_were(value):
    assert OmegaConf.to_container(OmegaConf.create(f"key: {flow(value)}"))["key"] == value


def verdicts(output: str) -> dict[str, str]:
    return {line[5:].split(" of ")[0]: line[:4].strip() for line in output.splitlines()}


def test_check_tries_every_part(run, installed):
    done = run("check")
    found = verdicts(done.stdout)
    assert len(found) == len(installed.parts)
    assert set(found.values()) == {"ok"}
    assert done.exit_code == 0


def test_check_fails_on_a_part_that_cannot_be_used(run, toy, use):
    plugin = """
        from mdmkit import Component, hookimpl
        @hookimpl
        def mdmkit_score():
            return [Component("gone", "gone_parts:A"), Component("fussy", "fussy_parts:Fussy")]
        @hookimpl
        def mdmkit_backbone():
            return [Component("half", "fussy_parts:Half")]
        @hookimpl
        def mdmkit_sampler():
            return [
                Component("wrong", {"score": "likely", "select": {"name": "best", "colour": 3}}),
                Component("foreign", {"score": "margin", "select": "best"}),
            ]
    """
    parts = """
        from dataclasses import dataclass
        from mdmkit import Backbone
        class Half(Backbone): ...
        @dataclass(frozen=True)
        class Fussy:
            must: int
            def __call__(self, step): ...
    """
    toy.add("odd", {"odd.py": plugin, "fussy_parts.py": parts}, plugin="odd")
    toy.add("bad", {"bad.py": "1 / 0"}, plugin="bad")
    use()
    done = run("check")
    assert done.exit_code == 1
    found = verdicts(done.stdout)
    assert found["score 'gone'"] == "FAIL"
    assert found["sampler 'wrong'"] == "FAIL"
    assert found["backbone 'half'"] == "FAIL"
    assert found["plugin bad 1.0: ZeroDivisionError: division by zero"] == "FAIL"
    assert found["score 'fussy'"] == "ok"  # it has no default: importing it is all there is to do
    assert found["sampler 'foreign'"] == "skip"
    assert "needs mdmkit-heuristics: pip install mdmkit-heuristics" in done.stdout
    assert found["score 'likely'"] == "ok"


def test_check_decodes_a_sample_of_a_model(run):
    lines = [line for line in run("check", "toy:x").stdout.splitlines() if "model" in line]
    assert [line.split(":")[2] for line in lines[:4]] == [" forward", " rows", " rows", " rows"]
    assert all(line.startswith("ok   model toy:x: ") for line in lines)
    assert lines[-1].startswith("ok   model toy:x: decode: 5 masks filled in 5 forwards by custom: '1 2 ")


def test_check_prints_one_document(run):
    findings = json.loads(run("check", "toy:x", "--json").stdout)
    subjects = [each["subject"] for each in findings]
    assert subjects[0].startswith("model toy:x: ") and "model toy:x: decode" in subjects, "the model comes first"
    assert {each["verdict"] for each in findings} == {"ok"}


def test_check_finds_rows_that_mix_and_logits_that_are_not_numbers(run, monkeypatch):
    import torch
    from toy_parts.backbone import Toy

    project = Toy.project
    monkeypatch.setattr(Toy, "project", lambda self, hidden: project(self, hidden) + 9 * hidden.shape[0])
    found = {line.split(": ")[2]: line[:4] for line in run("check", "toy:x").stdout.splitlines() if "rows" in line}
    assert found == {"order": "FAIL", "batch": "FAIL", "padding": "ok  "}
    monkeypatch.setattr(Toy, "project", lambda self, hidden: project(self, hidden) * torch.nan)
    assert "FAIL model toy:x: forward: logits" in run("check", "toy:x").stdout


def test_check_fails_if_a_mask_survives(run, monkeypatch):
    from mdmkit.canvas.trace import Trace
    from mdmkit.loop import whole

    monkeypatch.setattr(whole, "fill_canvas", lambda sampler, model, canvas, given: (canvas, Trace.blank(1, 9)))
    done = run("check", "toy:x")
    assert done.exit_code == 1
    assert "FAIL model toy:x: decode: 5 masks are left after decoding" in done.stdout


def test_check_says_when_no_mask_can_be_filled(run, site, use):
    site.path.joinpath("toy_parts/plugin.py").write_text(
        "from mdmkit import Component, hookimpl\n@hookimpl\n"
        "def mdmkit_backbone(): return [Component('toy', 'toy_parts.backbone:Toy')]"
    )
    import sys

    sys.modules.pop("toy_parts.plugin", None)
    use()
    done = run("check", "toy:x")
    assert done.exit_code == 1
    assert "FAIL model toy:x: decode: no score is installed, so nothing can be decoded" in done.stdout


def test_check_reports_a_model_that_cannot_be_loaded(run):
    done = run("check", "nobody/knows")
    assert done.exit_code == 1
    assert "FAIL model nobody/knows: no backbone reads model 'nobody/knows'" in done.stdout


FILE = """
from dataclasses import dataclass

from mdmkit import Component, Lookahead, hookimpl


@dataclass(frozen=True)
class Misspelt:
    def __call__(self, step):
        return step.confidance


@dataclass(frozen=True)
class Fine:
    def __call__(self, step):
        return step.confidence


@dataclass(frozen=True)
class Greedy(Lookahead):
    def __call__(self, step, actions, look):
        return -look(lambda belief: belief.entropy).sum(-1)


@dataclass(frozen=True)
class Reads:
    reads = ("attention",)

    def __call__(self, step):
        return step.confidence


@dataclass(frozen=True)
class Late:
    def __call__(self, step):
        step.quota.masked_fill_(step.tick == 3, 9)
        return step.confidence


@hookimpl
def mdmkit_score():
    found = {"misspelt": Misspelt, "fine": Fine, "reads": Reads, "late": Late}
    return [Component(name, part) for name, part in found.items()]


@hookimpl
def mdmkit_lookahead():
    return [Component("greedy", Greedy)]
"""


def test_check_decodes_with_each_part_of_a_file(run, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(FILE)
    done = run("check", "toy:x", "--plugin", str(file))
    found = {line.split("'")[1]: line for line in done.stdout.splitlines() if ": decode: " in line and "mine" in line}
    assert found["misspelt"].startswith("FAIL") and "no attribute 'confidance'" in found["misspelt"]
    assert found["fine"].startswith("ok") and "masks filled" in found["fine"]
    assert found["greedy"].startswith("ok") and "masks filled" in found["greedy"]
    assert found["late"].startswith("FAIL") and "has written into step.quota at tick 3" in found["late"]
    assert found["reads"].startswith("skip") and "reads 'attention'" in found["reads"]
    assert done.exit_code == 1


def test_check_shows_control_characters_and_does_not_obey_them(run):
    done = run("check", "no\x1b[2J\u202emodel")
    assert "\x1b" not in done.output and "\u202e" not in done.output
    assert "no\\x1b[2J\\u202emodel" in done.output
    assert "\u202e" not in run("check", "no\u202emodel", "--json").output
