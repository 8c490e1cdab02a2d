"""The pages cannot drift: signatures, names, keys and options are compared with the code, and every example runs."""

from __future__ import annotations

import ast
import importlib
import json
import re
import runpy
import shlex
import sys
from dataclasses import fields
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from omegaconf import OmegaConf

from mdmkit.cli import main
from mdmkit.config import resolution as config
from mdmkit.installed import hookspecs, registry
from mdmkit.installed.registry import KINDS
from mdmkit.settings.draw import Draw, Guidance
from mdmkit.settings.plan import Plan
from mdmkit.testing import BackboneContract, CommitContract, LookaheadContract, ScoreContract, SelectContract

ROOT = Path(__file__).resolve().parents[1]
DOCS, EXAMPLES = ROOT / "docs", ROOT / "examples"
PAGES = sorted(DOCS.rglob("*.md"))
README = ROOT / "README.md"
# Languages whose blocks are examples; `text` and blocks without a language are not code of ours.
CODE = {"python", "sh", "yaml", "json", "toml"}
FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```", re.M | re.S)
SNIPPET = re.compile(r'^--8<-- "([^"]+)"$', re.M)


def files(suffix: str) -> list[Any]:
    found = sorted(path for path in EXAMPLES.rglob(f"*{suffix}"))
    return [pytest.param(path, id=path.relative_to(EXAMPLES).as_posix()) for path in found]


def commands(path: Path) -> list[list[str]]:
    """The words of each line of a shell example."""
    lines = path.read_text().replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.strip() and not line.startswith("#")]


@pytest.fixture(autouse=True)
def _own_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples run from the project's root, each with a registry of its own."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(registry, "_default", None)


def run(words: list[str]) -> str:
    """Run one `mdmkit …` line in this process; its standard output."""
    assert words[0] == "mdmkit", f"only mdmkit lines can be tested, not {shlex.join(words)}"
    result = CliRunner().invoke(main, words[1:], catch_exceptions=False)
    assert result.exit_code == 0, f"{shlex.join(words)}\n{result.output}"
    return result.stdout


# -- signatures ------------------------------------------------------------------------------------------------------


def declared(node: ast.stmt) -> str | None:
    """A function's or annotated field's declaration without its body; None for anything else."""
    if isinstance(node, ast.FunctionDef):
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        marks = "".join(f"@{ast.unparse(mark)} " for mark in node.decorator_list if ast.unparse(mark) != "hookspec")
        return f"{marks}def {node.name}({ast.unparse(node.args)}){returns}"
    return ast.unparse(node) if isinstance(node, ast.AnnAssign) else None


def declarations(source: str) -> dict[str, str]:
    """Every public function, and every public method and field of every class, as `Class.name` -> declaration."""
    found = {}
    for node in ast.parse(source).body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        for member in members:
            name = getattr(member, "name", "") or getattr(getattr(member, "target", None), "id", "")
            if (text := declared(member)) and (not name.startswith("_") or name == "__call__"):
                found[prefix + name] = text
    return found


def shown(page: Path) -> dict[str, dict[str, str]]:
    """The declarations on a page, by the source file that the block's title names."""
    blocks: dict[str, dict[str, str]] = {}
    for language, title, body in FENCE.findall(page.read_text()):
        named = re.search(r'title="(mdmkit/[\w/]+\.py)"', title)
        if language == "python" and named:
            blocks.setdefault(named[1], {}).update(declarations(body))
    return blocks


# What a hook's targets are, where a class says so: the page has to show all of it.
CLASSES = {
    "score": ("mdmkit/stage/protocols.py", "Score"),
    "select": ("mdmkit/stage/protocols.py", "Select"),
    "lookahead": ("mdmkit/stage/protocols.py", "Lookahead"),
    "commit": ("mdmkit/stage/protocols.py", "Commit"),
    "search": ("mdmkit/stage/search.py", "Search"),
    "stop": ("mdmkit/stage/protocols.py", "Stop"),
    "constraint": ("mdmkit/stage/protocols.py", "Constraint"),
    "sampler": ("mdmkit/loop/sampler.py", "Sampler"),
    "backbone": ("mdmkit/model/backbone.py", "Backbone"),
    "observer": ("mdmkit/loop/observe.py", "Observer"),
    "engine": ("mdmkit/decoding/engine.py", "UnitEngine"),
    "task": ("mdmkit/task.py", "Task"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_hook_has_a_page_with_its_literal_signature(kind: str) -> None:
    page = DOCS / "hooks" / f"{kind}.md"
    assert page.is_file(), f"hook mdmkit_{kind} has no page docs/hooks/{kind}.md"
    on_page = shown(page)
    hook = f"mdmkit_{kind}"
    source = declarations((ROOT / "mdmkit/installed/hookspecs.py").read_text())
    assert on_page.get("mdmkit/installed/hookspecs.py", {}).get(hook) == source[hook]
    if kind in CLASSES:
        file, name = CLASSES[kind]
        real = {k: v for k, v in declarations((ROOT / file).read_text()).items() if k.startswith(f"{name}.")}
        assert on_page.get(file) == real


def test_every_hook_of_the_pages_exists() -> None:
    assert sorted(path.stem for path in (DOCS / "hooks").glob("*.md")) == sorted(KINDS)
    assert set(CLASSES) <= set(KINDS)
    assert {name for name in vars(hookspecs) if name.startswith("mdmkit_")} == {f"mdmkit_{kind}" for kind in KINDS}


# -- names, keys, options --------------------------------------------------------------------------------------------


def our_parts() -> list[tuple[str, str]]:
    """(kind, name) of every part that the core and the first-party plugins register."""
    modules = [
        "mdmkit.installed.builtin",
        *(
            f"mdmkit_{name}.plugin"
            for name in ("constrain", "heuristics", "image", "info_gain", "ray", "search", "tasks", "text", "zoo")
        ),
    ]
    found = []
    for module in map(importlib.import_module, modules):
        for kind in KINDS:
            if hasattr(module, f"mdmkit_{kind}"):
                found += [(kind, component.name) for component in getattr(module, f"mdmkit_{kind}")()]
    return found


def test_every_part_in_the_box_is_on_its_hooks_page_and_in_the_readme() -> None:
    readme = README.read_text()
    parts = our_parts()
    assert {("score", "confidence"), ("lookahead", "info_gain"), ("backbone", "zoo"), ("commit", "write")} <= {*parts}
    for kind, name in parts:
        page = (DOCS / "hooks" / f"{kind}.md").read_text()
        assert re.search(rf"^\| `{name}` \|", page, re.M), (
            f"{kind} {name!r} is not in the table of docs/hooks/{kind}.md"
        )
        assert f"`{name}`" in readme, f"{kind} {name!r} is not in README.md"


def test_every_key_of_the_configuration_is_on_its_page() -> None:
    page = (DOCS / "config.md").read_text()
    keys = [*config.STAGES, "cache", *config.SCALARS]
    for section, schema in (("plan", Plan), ("draw", Draw), ("guidance", Guidance)):
        keys += [f"{section}.{field.name}" for field in fields(schema)]
    rows = set(re.findall(r"^\| `([\w.]+)` \|", page, re.M))
    assert rows - {"sampler"} == set(keys)


def test_the_example_with_all_keys_has_all_keys() -> None:
    tree = OmegaConf.to_container(OmegaConf.load(EXAMPLES / "config" / "all_keys.yaml"))
    assert isinstance(tree, dict)
    assert set(tree) == {"sampler", *config.KEYS}
    assert set(tree["plan"]) == {field.name for field in fields(Plan)}
    assert set(tree["draw"]) == {field.name for field in fields(Draw)}
    assert set(tree["guidance"]) == {field.name for field in fields(Guidance)}


def leaves(command: click.Command, name: str) -> dict[str, set[str]]:
    """The options of every command below this one, by its name."""
    if isinstance(command, click.Group):
        every = ((key, command.get_command(click.Context(command), key)) for key in command.list_commands(
            click.Context(command)))  # fmt: skip
        return {leaf: options for key, sub in every if sub for leaf, options in leaves(sub, f"{name} {key}").items()}
    options = (param for param in command.params if isinstance(param, click.Option))
    return {name.strip(): {option for each in options for option in (*each.opts, *each.secondary_opts)}}


COMMANDS = leaves(main, "")
# The pages of commands that have no table of options on the page of the command line.
ELSEWHERE = {"zoo": "zoo", "corpus": "heuristics"}
# Options of other programs: of git, pip, mkdocs, GenEval, and of the scripts in benchmarks/.
OTHERS = {"--apply", "--no-deps", "--strict", "--model-path", "--outfile"}
OTHERS |= {"--head", "--disable-usage-stats", "--address"}  # ray start
OTHERS |= {"--standalone", "--nproc-per-node", "--nnodes", "--rdzv-endpoint"}  # torchrun
OTHERS |= {"--trust-remote-code", "--dllm-algorithm", "--dllm-algorithm-config", "--max-running-requests"}  # SGLang
OTHERS |= {"--enable-deterministic-inference", "--mem-fraction-static", "--no-dllm-fdfo"}
OTHERS |= {"--beside", "--clock", "--layers", "--only", "--pairs", "--sentences", "--small"}
OTHERS |= {"--gpus", "--stop-timeout", "--shutdown-timeout"}  # docker and torchrun


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_on_its_page(name: str) -> None:
    place, page = ELSEWHERE.get(name.split()[0]), (DOCS / "cli.md").read_text()
    if place is not None:
        page = (DOCS / "plugins" / f"{place}.md").read_text()
        assert {option for option in COMMANDS[name] if not re.search(rf"`[^`]*{option}\b", page)} == set()
        return
    section = re.search(rf"^## mdmkit {name}\n(.*?)(?=^## |\Z)", page, re.M | re.S)
    assert section is not None
    there = re.findall(r"(--[a-z-]+)", "\n".join(re.findall(r"^\| (`--.*?) \|", section[1], re.M)))
    assert set(there) == COMMANDS[name]


def test_every_option_on_a_page_is_one_of_a_command() -> None:
    known = OTHERS.union(*COMMANDS.values(), ("--help", "--version", "--debug"))
    for page in PAGES:
        assert {*re.findall(r"(?<![\w-])--[a-z][a-z-]+", page.read_text())} - known == set(), page


def test_every_command_of_the_zoo_is_on_its_page() -> None:
    page = (DOCS / "plugins" / "zoo.md").read_text()
    there = re.findall(r"^\| `mdmkit (zoo [a-z ]+?)(?: [A-Z]+)?` \|", page, re.M)
    assert sorted(there) == sorted(name for name in COMMANDS if name.startswith("zoo "))


# -- examples --------------------------------------------------------------------------------------------------------


def test_every_block_of_code_on_a_page_is_a_file() -> None:
    for page in PAGES:
        for language, title, body in FENCE.findall(page.read_text()):
            if language not in CODE or 'title="mdmkit/' in title:
                continue
            where = f"{page.relative_to(ROOT)}: {body.splitlines()[0] if body else language}"
            assert (found := SNIPPET.fullmatch(body.strip())), f"{where} is not included from a file"
            assert (ROOT / found[1]).is_file(), f"{where} names no file"


def test_every_block_of_code_in_the_readme_is_a_file() -> None:
    """GitHub includes nothing, so the README repeats files; its `make` lines are targets of the Makefile."""
    sources = [*EXAMPLES.rglob("*.*"), *(ROOT / "plugins" / "template").rglob("*.*")]
    texts = {path.read_text().strip() for path in sources if path.suffix in (".py", ".sh", ".yaml", ".toml", ".jsonl")}
    blocks = [body.strip() for language, _, body in FENCE.findall(README.read_text()) if language in CODE]
    made = [line.split()[1] for line in "\n".join(blocks).splitlines() if line.startswith("make ")]
    assert made == ["demo", "test"]
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert set(made) <= set(targets)
    for block in blocks:
        assert block in texts or block == "make demo\nmake test", f"no example file reads\n{block}"


def test_every_example_is_on_a_page_and_every_plugin_file_is_used() -> None:
    pages = "\n".join(page.read_text() for page in PAGES)
    scripts = [command for path in EXAMPLES.rglob("*.sh") for command in commands(path)]
    for path in sorted(p for p in EXAMPLES.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        name = path.relative_to(ROOT).as_posix()
        assert f'--8<-- "{name}"' in pages, f"{name} is on no page"
        if path.suffix == ".py" and "@hookimpl" in (text := path.read_text()):
            runs = "__main__" in text or "mdmkit_command" in text or any(name in command for command in scripts)
            assert runs, f"no example uses {name}"


@pytest.mark.parametrize("path", files(".sh"))
def test_a_shell_example_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert commands(path)
    (tmp_path / "examples").symlink_to(EXAMPLES)
    monkeypatch.chdir(tmp_path)  # what an example writes goes here
    for words in commands(path):
        out = run(words)
        if words[1] == "decode" and "--json" not in words:
            assert re.search(r"\d+ rows, \d+ tokens .* NFE \d+ rows in \d+ calls", out), out
        if "--json" in words:
            assert all(row["nfe"] > 0 and len(row["order"]) == len(row["tokens"]) for row in json.loads(out)["rows"])


@pytest.mark.parametrize("path", files(".py"))
def test_a_python_example_runs(path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(path.parent))  # as Python and pytest do for a file that they run
    runpy.run_path(str(path), run_name="__main__")
    prints = "print(" in path.read_text()
    assert bool(capsys.readouterr().out.strip()) == prints


@pytest.mark.parametrize(
    "path",
    [*files(".yaml"), *(pytest.param(p, id=p.parent.name) for p in sorted(ROOT.glob("plugins/mdmkit-*/example.yaml")))],
)
def test_a_yaml_example_opens_with_the_command_that_runs_it(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first == f"# mdmkit decode --config {path.relative_to(ROOT).as_posix()}"
    assert " rows, " in run(shlex.split(first.removeprefix("# ")))


def test_the_command_example_is_a_command_of_the_group() -> None:
    registry.default().add_file(EXAMPLES / "hooks" / "command.py")
    lines = run(["mdmkit", "vocabulary"]).splitlines()
    assert "1 '_'" in lines[1]
    assert len(lines) == 20


def test_the_task_example_judges_right_and_wrong() -> None:
    task = runpy.run_path(str(EXAMPLES / "hooks" / "task.py"))["Products"]()
    assert task.prompts(3, seed=1) == task.prompts(3, seed=1) != task.prompts(3, seed=2)
    assert task.judge("7*8=_______", "7*8=0111000")
    assert not task.judge("7*8=_______", "7*8=0111001")
    assert not task.judge("7*8=_______", "8*7=0111000")


def test_the_commit_example_gives_weak_tokens_one_second_chance() -> None:
    """The puzzle cannot be certain everywhere, so with floor 1 every token is written exactly twice."""
    registry.default().add_file(EXAMPLES / "hooks" / "commit.py")
    line = ["mdmkit", "decode", "--sampler", "confidence", "--prompt", "_*_=_______", "--json"]
    line += ["--set", "draw.temperature=1", "--seed", "1"]
    once = json.loads(run(line))["rows"][0]
    twice = json.loads(run([*line, "--set", "commit={name: reconsider, floor: 1.0}"]))["rows"][0]
    assert once["order"] != twice["order"]
    assert max(twice["order"]) > max(once["order"])


# -- the hook examples keep the laws ---------------------------------------------------------------------------------


def example(kind: str, name: str) -> type:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(EXAMPLES / "hooks"), *sys.path])
        return runpy.run_path(str(EXAMPLES / "hooks" / f"{kind}.py"))[name]


class TestExampleScore(ScoreContract):
    component = example("score", "Neighbours")


class TestExampleSelect(SelectContract):
    component = example("selecting", "Huddle")


class TestExampleLookahead(LookaheadContract):
    component = example("lookahead", "WeakestLink")


class TestExampleCommit(CommitContract):
    component = example("commit", "Reconsider")


class TestExampleBackbone(BackboneContract):
    prompts = ("a", "x_____", "__d___k__")

    @pytest.fixture
    def backbone(self) -> Any:
        return example("backbone", "Alphabet").load("alphabet", device="cpu", dtype="float32")  # type: ignore[attr-defined]


class TestExampleTask(example("test_task", "TestProducts")):  # type: ignore[misc]
    pass


class TestExampleCommand(example("test_command", "TestVocabulary")):  # type: ignore[misc]
    @pytest.fixture(autouse=True)
    def _installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        point = EntryPoint("example", "command", registry.GROUP)
        monkeypatch.syspath_prepend(str(EXAMPLES / "hooks"))
        monkeypatch.setattr(registry, "_default", registry.Registry([point]))


class TestExampleSampler(example("test_sampler", "TestBoldMargin")):  # type: ignore[misc]
    pass
