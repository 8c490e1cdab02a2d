"""A run is continued only if its files hold what they held: weights, tokenizer, inputs, tables, plugin files."""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import warm
from click.testing import CliRunner

import mdmkit
from mdmkit.cli import contents, main
from mdmkit.cli.resuming import differences
from mdmkit.installed import registry
from mdmkit.installed.plugin_file import fingerprint
from mdmkit_zoo.catalogue import ENTRIES

PLUGIN = '''
import mdmkit
from mdmkit import Component, Observer, hookimpl


class Other:
    """Another name for a model that `mdmkit.load` knows."""

    @classmethod
    def accepts(cls, ref):
        return False

    @classmethod
    def load(cls, ref, **options):
        options.pop("table", None)
        return mdmkit.load(ref, **options)


class Stopping(Observer):
    """Stops like Ctrl-C when the last row has joined."""

    def on_admit(self, id, prompt, canvas):
        if prompt.index == 7:
            raise KeyboardInterrupt


@hookimpl
def mdmkit_backbone():
    return [Component("other", Other)]


@hookimpl
def mdmkit_observer():
    return [Component("stopping", Stopping)]
'''


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a copy of the puzzle model, prompts, a table and a plugin file, and in it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ENTRIES["puzzles"].folder, tmp_path / "model")
    (tmp_path / "p.jsonl").write_text("".join(f'"{i + 2}*7=__"\n' for i in range(8)))
    (tmp_path / "table.txt").write_text("1 2 3")
    (tmp_path / "other.py").write_text(PLUGIN)
    return tmp_path


@pytest.fixture
def decode(place, monkeypatch):
    def call(*options):
        monkeypatch.setattr(registry, "_default", None)  # every command is a process of its own
        line = ["decode", "--plugin", "other.py", "--model", "other:./model", "--model-option", "table=table.txt"]
        line += ["--prompts", "p.jsonl", "--output", "out.jsonl", "--batch", "1", "--no-live", "--device", "cpu"]
        return CliRunner().invoke(main, [*line, "--sampler", "confidence", *options])

    return call


def spoil(file: Path) -> None:
    """Change the last bytes, and leave size and time as they are: of a safetensors file these are weights."""
    before, content = file.stat(), bytearray(file.read_bytes())
    content[-8:] = bytes(byte ^ 1 for byte in content[-8:])
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("model/model.safetensors", "the model's files differ (model.safetensors)"),
        ("model/tokenizer.json", "the model's files differ (tokenizer.json)"),
        ("table.txt", "files differ (table.txt)"),
        ("other.py", "the model's plugin (file:other.py "),
    ],
)
def test_a_run_whose_files_have_changed_is_not_continued(decode, place, file, said):
    stopped = decode("--observer", "stopping")
    assert stopped.exit_code == 130, stopped.output
    before = (place / "out.jsonl").read_bytes()
    if file.endswith(".safetensors"):
        spoil(place / file)
    else:
        with open(place / file, "a") as changed:
            changed.write("\n")
    result = decode("--resume")
    assert result.exit_code == 2
    assert f"out.jsonl is of another run: {said}" in " ".join(result.stderr.split())
    assert (place / "out.jsonl").read_bytes() == before


def test_files_that_are_touched_copied_or_beside_the_model_change_nothing(decode, place):
    assert decode("--observer", "stopping").exit_code == 130
    shutil.copytree(place / "model", place / "copy")
    shutil.rmtree(place / "model")
    (place / "copy").rename(place / "model")
    os.utime(place / "model/model.safetensors", (1, 1))
    (place / "model/README.md").write_text("A puzzle model.")
    result = decode("--resume")
    assert result.exit_code == 0, result.output
    assert len((place / "out.jsonl").read_text().splitlines()) == 8


def test_a_record_without_contents_is_not_continued(decode, place):
    assert decode("--observer", "stopping").exit_code == 130
    record = place / "out.jsonl.run.json"
    document = json.loads(record.read_text())
    del document["run"]["contents"]
    record.write_text(json.dumps(document))
    assert "is of mdmkit's first edition. It does not tell" in " ".join(decode("--resume").stderr.split())


def test_of_a_large_file_the_beginning_the_size_and_the_time_count(tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "HASHED", 16)
    file = tmp_path / "large.safetensors"
    file.write_bytes(bytes(100))
    seen = {contents.fingerprint(file)}
    os.utime(file, (1, 1))
    seen.add(contents.fingerprint(file))
    for content in (bytes(101), b"1" + bytes(99)):
        file.write_bytes(content)
        os.utime(file, (1, 1))
        seen.add(contents.fingerprint(file))
    assert len(seen) == 4
    spoil(file)
    assert contents.fingerprint(file) in seen  # nothing of it shows that it has changed


def test_a_file_of_the_hubs_cache_is_known_by_its_blob(tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshots/1a2b").mkdir(parents=True)
    (tmp_path / "blobs/abc").write_text("{}")
    link = tmp_path / "snapshots/1a2b/config.json"
    link.symlink_to("../../blobs/abc")
    assert contents.fingerprint(link) == "abc"
    os.utime(tmp_path / "blobs/abc", (1, 1))
    assert contents.fingerprint(link) == "abc"


def test_a_model_names_the_files_that_it_was_read_from(place):
    model = mdmkit.load("./model", device="cpu")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in model.loaded_from}
    assert mdmkit.load("zoo:bigram", device="cpu").loaded_from == (ENTRIES["bigram"].folder,)


def test_long_lists_of_changed_files_are_cut():
    ours = {"backbone": "a 1", "model": {f"{i}.safetensors": "a" for i in range(9)}, "files": {}}
    theirs = {**ours, "model": {}}
    said = list(differences({"contents": theirs}, {"contents": ours}))
    assert said == ["the model's files differ (0.safetensors, 1.safetensors, 2.safetensors, 3.safetensors and 5 more)"]


def test_images_and_masks_of_prompts_count_too(place):
    model = mdmkit.load("./model", device="cpu")
    prompts = [mdmkit.Prompt(text="a", inputs={"image": "table.txt", "mask": "other.py", "strength": 0.5})]
    before = contents.contents(model, {"score": {"name": "p.jsonl"}}, prompts)
    assert set(before["files"]) == {"table.txt", "other.py"}  # the name of a part is none of a file
    (place / "table.txt").write_text("1 2 4")
    after = contents.contents(model, {}, prompts)
    assert list(differences({"contents": before}, {"contents": after})) == ["files differ (table.txt)"]


HELPED = """
from mdmkit import Component, hookimpl
from mdmkit.testing.reference import ByConfidence
{imports}

class Helped(ByConfidence):
    def __call__(self, step):
        {lazily}
        return super().__call__(step)


@hookimpl
def mdmkit_score():
    return [Component("helped", {target}), Component("by_confidence", ByConfidence)]


@hookimpl
def mdmkit_select():
    from mdmkit.testing.reference import TakeQuota

    return [Component("take_quota", TakeQuota)]
"""


@pytest.mark.parametrize(
    ("imports", "lazily", "target", "changed"),
    [
        ("import near", "", "Helped", "near.py"),
        ("from near import MORE", "", "Helped", "near.py"),
        ("", "from inner.deep import MORE", "Helped", "inner/deep.py"),
        ("from inner import deep", "", "Helped", "inner/__init__.py"),
        ("import inner.deep", "", "Helped", "inner/sibling.py"),  # which deep.py imports
        ("", "", "'near:Scored'", "near.py"),
    ],
)
def test_a_module_beside_the_plugin_file_belongs_to_the_run(place, monkeypatch, imports, lazily, target, changed):
    score = "from mdmkit.testing.reference import ByConfidence as Scored\nMORE = 1\n"
    (place / "inner").mkdir()
    for name, content in {
        "near": score,
        "inner/__init__": "",
        "inner/deep": "from . import sibling\nMORE = 1\n",
    }.items():
        (place / f"{name}.py").write_text(content)
    (place / "inner/sibling.py").write_text("")
    (place / "unused.py").write_text("")
    (place / "helped.py").write_text(HELPED.format(imports=imports, lazily=lazily or "pass", target=target))
    monkeypatch.syspath_prepend(str(place))

    def decode(*options):
        monkeypatch.setattr(registry, "_default", None)  # every command is a process of its own
        for name in ("near", "inner", "inner.deep", "inner.sibling"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        line = ["decode", "--plugin", "helped.py", "--prompt", "2*7=__", "--output", "out.jsonl", "--no-live"]
        given = ["--set", "score=helped", "--set", "select=take_quota", "--sampler", "confidence", "--device", "cpu"]
        return CliRunner().invoke(main, [*line, *given, *options])

    assert decode().exit_code == 0
    (place / "unused.py").write_text("MORE = 2\n")
    assert decode("--resume").exit_code == 0
    with open(place / changed, "a") as file:
        file.write("# other\n")
    result = decode("--resume")
    said = " ".join(result.stderr.split())
    assert result.exit_code == 2 and "sampler.parts.score.version" in said and f" {changed} " in said


COMPUTED = "import importlib, os, sys\nsys.path.insert(0, os.path.abspath({folder!r}))\n"
BY_HAND = "import importlib.util\nspec = importlib.util.spec_from_file_location('alone', 'lib/alone.py')\n"
BY_HAND += "far = importlib.util.module_from_spec(spec)\n"
ALONE = "def more(): return 1\nclass More:\n    @classmethod\n    def __call__(cls): return 1\n"
LOADS = [
    (COMPUTED.format(folder="lib") + "importlib.import_module('f' + 'ar')", "lib/far.py"),
    (COMPUTED.format(folder="lib") + "from far import MORE", "lib/far.py"),
    (COMPUTED.format(folder="lib") + "import far", "lib/deep/er.py"),  # which far.py imports
    (COMPUTED.format(folder="..") + "importlib.import_module('a' + 'bove')", "../above.py"),
    (COMPUTED.format(folder=".") + "importlib.import_module('n' + 'ear')", "near.py"),
    (COMPUTED.format(folder=".") + "import near", "near.py"),  # a link to real/near.py, which changes
    (COMPUTED.format(folder=".") + "load = lambda: importlib.import_module('n' + 'ear')", "near.py"),  # in a hook
    (BY_HAND + "spec.loader.exec_module(far)", "lib/alone.py"),
    (BY_HAND + "spec.loader.exec_module(far)\nmore, far = far.more, None", "lib/alone.py"),
    (BY_HAND + "spec.loader.exec_module(far)\nMore, far = far.More, None", "lib/alone.py"),
    ("import runpy\nmore = runpy.run_path('lib/alone.py')['more']", "lib/alone.py"),
    (COMPUTED.format(folder="lib") + "import alone\nmore = alone.more\ndel sys.modules['alone']", "lib/alone.py"),
    (COMPUTED.format(folder="packed.zip") + "import zipped", "packed.zip"),
]


@pytest.fixture
def helping(tmp_path, monkeypatch):
    """A folder with modules around it, and in it; `helping(imports)` writes the plugin file that imports some."""
    place = tmp_path / "work"
    for folder in ("lib/deep", "real"):
        (place / folder).mkdir(parents=True)
    files = {"lib/far.py": "import deep.er\nMORE = 1\n", "lib/deep/er.py": "", "../above.py": "", "unused.py": ""}
    for name, content in (files | {"real/near.py": "MORE = 1\n", "lib/alone.py": ALONE}).items():
        (place / name).write_text(content)
    with zipfile.ZipFile(place / "packed.zip", "w") as packed:
        packed.writestr("zipped.py", "MORE = 1\n")
    (place / "near.py").symlink_to("real/near.py")
    monkeypatch.chdir(place)

    def write(imports):
        helped = HELPED.format(imports=imports, lazily="pass", target="Helped")
        hook = "\n    load()" if "load = " in imports else ""
        (place / "helped.py").write_text(helped.replace("def mdmkit_score():", f"def mdmkit_score():{hook}"))

    return write


@pytest.mark.parametrize(("imports", "changed"), LOADS)
def test_a_module_that_the_plugin_file_loads_in_any_way_is_part_of_its_version(helping, monkeypatch, imports, changed):
    helping(imports)

    def version():
        monkeypatch.setattr(sys, "path", [*sys.path])
        for name in ("far", "deep", "deep.er", "above", "near", "alone", "zipped"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        found = registry.Registry()
        found.add_file("helped.py")
        return found.find("score", "helped").version

    before = version()
    Path("unused.py").write_text("MORE = 2\n")
    assert f" {changed} " in before and version() == before
    if changed.endswith(".zip"):
        with zipfile.ZipFile(changed, "a") as packed:
            packed.writestr("other.py", "")
    else:
        with open(changed, "a") as file:
            file.write("# other\n")
    assert version() != before and f" {changed} " in version()


def test_a_run_whose_computed_import_has_changed_is_not_continued(helping):
    helping(LOADS[0][0])
    line = ["decode", "--plugin", "helped.py", "--prompt", "2*7=__", "--no-live"]
    line += ["--output", "out.jsonl", "--set", "score=helped", "--set", "select=take_quota", "--device", "cpu"]

    def decode(*options):
        return warm.mdmkit(*line, *options)

    assert (first := decode()).returncode == 0, first.stderr
    assert (same := decode("--resume")).returncode == 0, same.stderr
    Path("lib/far.py").write_text("MORE = 2\n")
    other = decode("--resume")
    said = " ".join(other.stderr.split())
    assert other.returncode == 2 and "sampler.parts.score.version" in said and " lib/far.py " in said, said


def test_a_module_that_an_earlier_plugin_file_has_loaded_belongs_to_both(tmp_path, monkeypatch):
    (tmp_path / "shared_by_two.py").write_text("MORE = 1\nclass Kept: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    folders = [tmp_path / name for name in ("a", "b", "c")]
    loads = "import importlib\n"
    for folder, more in zip(
        folders, ("m = importlib.import_module('shared_' + 'by_two')", "K = m.Kept\ndel m", ""), strict=True
    ):
        folder.mkdir()
        own = loads + (more if folder.name != "b" else f"m = importlib.import_module('shared_' + 'by_two')\n{more}")
        (folder / "mine.py").write_text(own + HELPED.format(imports="", lazily="pass", target="Helped"))
    found = registry.Registry()
    versions = []
    for folder in (*folders, folders[0]):
        found.add_file(folder / "mine.py")
        versions.append([part.version for part in found.parts if part.name == "helped"][-1])
    by_folder = {part.distribution: part.version for part in found.parts if part.name == "helped"}
    assert len(by_folder) == 3
    with_it = ["../shared_by_two.py" in version for version in by_folder.values()]
    assert sorted(with_it) == [False, True, True], by_folder


def test_of_many_modules_beside_a_plugin_file_the_version_has_one_hash(tmp_path):
    names = [f"m{i}" for i in range(5)]
    for name in names:
        (tmp_path / f"{name}.py").write_text("")
    file = tmp_path / "my.py"
    file.write_text("".join(f"import {name}\n" for name in names))
    before = fingerprint(file)
    assert " with 5 other files " in before and len(before) < 50
    (tmp_path / "m3.py").write_text("1")
    assert fingerprint(file) != before and fingerprint(file)[:8] == before[:8]
