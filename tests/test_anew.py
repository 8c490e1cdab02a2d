"""What the version of a plugin file names is what runs: its modules are compiled and loaded as their source is now."""

from __future__ import annotations

import importlib
import os
import py_compile
import subprocess
import sys
import zipfile

import pytest

from mdmkit import MdmkitError, MdmkitWarning
from mdmkit.installed.plugin_file import fingerprint
from mdmkit.installed.registry import Registry

PARTS = """
from mdmkit import Component, hookimpl

@hookimpl
def mdmkit_score():
    return [Component("mine", object)]
"""
# Ways to import a module SIGN of a file: beside the plugin file, in a package, in folders below and above, by its path.
WAYS = (
    PARTS
    + """
import importlib.util, os, sys
import sign
from pkg.inner import SIGN as inner
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))
import below, above
spec = importlib.util.spec_from_file_location("alone", os.path.join(os.path.dirname(__file__), "alone.py"))
alone = importlib.util.module_from_spec(spec)
spec.loader.exec_module(alone)

def signs():
    import late
    from pkg import later
    return sign.SIGN, inner, below.SIGN, above.SIGN, alone.SIGN, late.SIGN, later.SIGN
"""
)
FILES = ("sign", "pkg/inner", "lib/below", "../above", "alone", "late", "pkg/later")
TELL = """
from mdmkit.installed.registry import Registry
registry = Registry([])
registry.add_file("my.py")
print(*registry._manager.get_plugin("file:my.py").signs())
"""


@pytest.mark.parametrize("linked", [False, True])
def test_every_source_file_that_a_version_names_is_compiled_each_time(tmp_path, linked):
    """Archives, and some copies, give files the same time; and a changed sign leaves the size."""
    place, seen = tmp_path / "real", tmp_path / "link"
    seen.symlink_to(place)
    for folder in ("pkg", "lib"):
        (place / folder).mkdir(parents=True)
    (place / "my.py").write_text(WAYS)
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    ours = [str(seen if linked else place), str(tmp_path)]
    env["PYTHONPATH"] = os.pathsep.join([*ours, *(path for path in sys.path if path)])
    for text in ("+1", "-1"):
        for name in FILES:
            (place / f"{name}.py").write_text(f"SIGN = {text}\n")
            os.utime(place / f"{name}.py", (10**9, 10**9))
        ran = subprocess.run([sys.executable, "-c", TELL], cwd=place, env=env, capture_output=True, text=True)
        assert [int(sign) for sign in ran.stdout.split()] == [int(text)] * len(FILES), ran.stderr
        # Python's own imports compile nothing anew: what they find is what they compiled.
        names = "import sign, below, above, alone, late, pkg.inner, pkg.later"
        subprocess.run([sys.executable, "-c", names], cwd=place / "lib", env=env, check=True)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder on Python's path, whose modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = {*sys.modules}
    yield tmp_path
    for name in {*sys.modules} - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def added(registry, file):
    registry.add_file(file)
    return registry._manager.get_plugin(f"file:{file.name}"), registry.find("score", "mine").version


def test_adding_a_file_again_loads_modules_anew_that_were_edited(place):
    """Also one that holds a value of the edited one, one of a folder without __init__.py, and one imported later."""
    (place / "my_space").mkdir()
    values = {"my_value.py": "VALUE = 1\n", "my_user.py": "from my_value import VALUE\n", "my_late.py": "VALUE = 1\n"}
    values |= {"my_space/deep.py": "VALUE = 1\n", "my_other.py": ""}
    for name, text in values.items():
        (place / name).write_text(text)
    later = "\ndef values():\n    import my_late\n    return my_value.VALUE, VALUE, deep.VALUE, my_late.VALUE\n"
    file, other = place / "my.py", place / "other.py"
    file.write_text(PARTS + "import my_value\nfrom my_user import VALUE\nfrom my_space import deep\n" + later)
    other.write_text(PARTS.replace("mine", "other"))
    registry = Registry([])
    plugin, version = added(registry, file)
    assert plugin.values() == (1, 1, 1, 1)
    registry.add_file(other)
    again, same = added(registry, file)
    assert again.my_value is plugin.my_value and same == version  # nothing was edited
    for name, text in values.items():
        (place / name).write_text(text.replace("= 1", "= 200"))
    again, other = added(registry, file)
    assert again.values() == (200, 200, 200, 200) and other != version
    assert plugin.my_value.VALUE == 1 and other == fingerprint(file)


def test_a_module_that_has_no_source_is_loaded_as_in_plain_python(place):
    (place / "my_bare.py").write_text("VALUE = 3\n")
    py_compile.compile(str(place / "my_bare.py"), str(place / "my_bare.pyc"))
    (place / "my_bare.py").unlink()
    importlib.invalidate_caches()
    (place / "my.py").write_text(PARTS + "from my_bare import VALUE\n")
    plugin, version = added(Registry([]), place / "my.py")
    assert plugin.VALUE == 3 and " my_bare.pyc " in version


@pytest.mark.parametrize(
    "line",
    {
        "a long target": f"text = '{'x' * 300}:chain'",
        "a target of many parts": f"text = '{'a.' * 50000}a:chain'",
        "a long module": f"def later():\n    import {'y' * 300}",
        "a long name of a file": "space = {}\nexec(compile('def f(): 0', 'x' * 300, 'exec'), space)\nf = space['f']",
    }.items(),
    ids=lambda line: line[0],
)
def test_a_plugin_file_may_hold_any_text(place, line):
    (place / "my.py").write_text(f"{PARTS}\n{line[1]}\n")
    added(Registry([]), place / "my.py")


def test_a_module_that_cannot_be_compiled_does_not_matter_until_it_is_imported(place):
    (place / "my_deep.py").write_text("-" * 10**5 + "1")
    (place / "my.py").write_text(PARTS + "\ndef later():\n    import my_deep\n")
    assert " my_deep.py " in added(Registry([]), place / "my.py")[1]


def test_a_module_that_the_program_had_before_is_loaded_as_it_is_now(place):
    (place / "my_early.py").write_text("VALUE = 1\n")
    early = importlib.import_module("my_early")
    (place / "my_early.py").write_text("VALUE = 2\n")
    (place / "my.py").write_text(PARTS + "import my_early\n")
    plugin, version = added(Registry([]), place / "my.py")
    assert plugin.my_early.VALUE == 2 and early.VALUE == 1 and " my_early.py " in version


def test_a_module_of_the_program_that_a_plugin_file_holds_counts_from_wherever(place):
    (place / "my_early.py").write_text("class Kept: pass\n")
    importlib.import_module("my_early")
    (place / "in").mkdir()
    (place / "in/my.py").write_text(PARTS + "import sys\nKept = sys.modules['my_' + 'early'].Kept\n")
    assert " ../my_early.py " in added(Registry([]), place / "in/my.py")[1]


def test_a_link_that_names_another_file_is_loaded_anew(place):
    for name in ("one", "two"):
        (place / name).mkdir()
        (place / f"{name}/real.py").write_text(f"VALUE = {name!r}\n")
    (place / "my_link.py").symlink_to("one/real.py")
    (place / "my.py").write_text(PARTS + "import my_link\n")
    registry = Registry([])
    plugin, version = added(registry, place / "my.py")
    (place / "my_link.py").unlink()
    (place / "my_link.py").symlink_to("two/real.py")
    again, other = added(registry, place / "my.py")
    assert (plugin.my_link.VALUE, again.my_link.VALUE) == ("one", "two") and other != version


def packed(file, text):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("my_zipped.py", text)


@pytest.mark.parametrize("line", ["import my_zipped", "from my_zipped import VALUE"])
def test_a_changed_archive_is_refused_because_the_old_module_would_run(place, line):
    packed(place / "my.zip", "VALUE = 1\n")
    lines = f"import sys\nsys.path.insert(0, __file__[:-2] + 'zip')\n{line}\n"
    (place / "my.py").write_text(PARTS + lines)
    registry = Registry([])
    assert added(registry, place / "my.py")[1] == added(registry, place / "my.py")[1]
    packed(place / "my.zip", "VALUE = 200\n")
    with pytest.raises(MdmkitError, match=r"my\.zip was changed since my_zipped was loaded .* Start a new process"):
        registry.add_file(place / "my.py")


LATER = "\ndef later():\n    import my_late\n    return my_late.VALUE\n"


def test_a_file_that_was_edited_before_it_is_imported_late_is_refused(place):
    """Its content at the time when the plugin file was read is on record."""
    (place / "my_late.py").write_text("VALUE = 1\n")
    (place / "my.py").write_text(PARTS + LATER)
    registry = Registry([])
    plugin, version = added(registry, place / "my.py")
    (place / "my_late.py").write_text("VALUE = 2\n")
    with pytest.raises(MdmkitError, match=r"my_late\.py was edited after .* Run the command again, or add the plugin"):
        plugin.later()
    again, other = added(registry, place / "my.py")
    assert again.later() == 2 and other != version


def test_a_module_without_source_that_is_imported_late_is_part_of_the_version(place):
    def compiled(value):
        (place / "my_late.py").write_text(f"VALUE = {value}\n")
        py_compile.compile(str(place / "my_late.py"), str(place / "my_late.pyc"))
        (place / "my_late.py").unlink()
        importlib.invalidate_caches()

    compiled(1)
    (place / "my.py").write_text(PARTS + LATER)
    registry = Registry([])
    plugin, version = added(registry, place / "my.py")
    assert " my_late.pyc " in version
    compiled(2)
    with pytest.raises(MdmkitError, match=r"my_late\.pyc was edited after"):
        plugin.later()
    plugin, other = added(registry, place / "my.py")
    assert plugin.later() == 2 and other != version


def test_a_target_in_another_folder_is_part_of_the_version(place):
    (place / "my_far.py").write_text("class Far: pass\n")
    (place / "in").mkdir()
    (place / "in/my.py").write_text(PARTS.replace("object", "'my_far:Far'"))
    registry = Registry([])
    version = added(registry, place / "in/my.py")[1]
    assert " ../my_far.py " in version
    (place / "my_far.py").write_text("class Far: more = 1\n")
    with pytest.raises(MdmkitError, match=r"my_far\.py was edited after"):
        registry.load(registry.find("score", "mine"))


@pytest.mark.parametrize("kind", ["source", "archive", "compiled"])
def test_what_no_version_names_and_a_plugin_file_loads_late_is_noted(place, kind):
    """A computed name is known only when it is imported."""
    packed(place / "my.zip", "VALUE = 1\n")
    (place / "my_zipped.py").write_text("VALUE = 1\n")
    where = place
    if kind == "archive":
        where = place / "my.zip"
    elif kind == "compiled":
        (where := place / "out").mkdir()
        py_compile.compile(str(place / "my_zipped.py"), str(where / "my_zipped.pyc"))
    lines = f"import importlib, sys\nsys.path.insert(0, {str(where)!r})\n"
    lines += "def later():\n    return importlib.import_module('my_' + 'zipped').VALUE\n"
    (place / "my.py").write_text(PARTS + lines)
    plugin, _ = added(Registry([]), place / "my.py")
    with pytest.warns(MdmkitWarning, match=r"my\.py has loaded .*my_?\S*zip\S* after .* not on the run's record"):
        assert plugin.later() == 1


def test_what_others_load_is_not_noted(place, recwarn):
    (place / "my_own.py").write_text("VALUE = 1\n")
    (place / "my.py").write_text(PARTS)
    added(Registry([]), place / "my.py")
    importlib.import_module("my_own")
    assert not recwarn.list


def two_folders(place, line):
    """Two plugin files that import a module of the same name, each from its own folder."""
    for name in ("one", "two"):
        (place / name).mkdir()
        (place / f"{name}/my_helper.py").write_text(f"VALUE = {name!r}\n")
        path = f"import sys\nsys.path.insert(0, {str(place / name)!r})\n"
        (place / f"{name}/{name}.py").write_text(PARTS.replace('"mine"', f'"{name}"') + path + line)
    return place / "one/one.py", place / "two/two.py"


@pytest.mark.parametrize("line", ["from my_helper import VALUE\n", "def later():\n    from my_helper import VALUE\n"])
def test_two_plugin_files_with_modules_of_one_name_are_refused(place, monkeypatch, line):
    """Python would run the first one's module for both, and the version would name the other."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    one, two = two_folders(place, line)
    registry = Registry([])
    registry.add_file(one)
    with pytest.raises(MdmkitError, match=r"two/my_helper\.py\. .*one/my_helper\.py, .* Rename one of") as error:
        registry.add_file(two)
    assert str(two) in str(error.value)
    registry.add_file(one)  # the refused one is not in its way
    two.with_name("my_helper.py").rename(two.with_name("my_other_helper.py"))
    two.write_text(two.read_text().replace("my_helper", "my_other_helper"))
    registry.add_file(two)
    assert " my_other_helper.py " in registry.find("score", "two").version


@pytest.mark.parametrize(
    "line",
    [
        'import importlib\nVALUE = importlib.import_module("my_" + "helper").VALUE\n',
        'VALUE = __import__("my_helper").VALUE\n',
        'import importlib as i\ndef mdmkit_select():\n    i.import_module("my_" + "helper")\n    return []\n',
    ],
)
def test_a_module_of_the_same_name_is_refused_however_it_is_named(place, monkeypatch, line):
    monkeypatch.setattr(sys, "path", [*sys.path])
    one, two = two_folders(place, line.replace("def mdmkit", "@hookimpl\ndef mdmkit"))
    registry = Registry([])
    registry.add_file(one)
    first = sys.modules["my_helper"]
    with pytest.raises(MdmkitError, match=r"two/my_helper\.py\. .*one/my_helper\.py, .* Rename one of"):
        registry.add_file(two)
    assert sys.modules["my_helper"] is first
    two.write_text(PARTS.replace('"mine"', '"two"'))  # the file stays there, and nothing imports it
    registry.add_file(two)
    assert "my_helper" not in registry.find("score", "two").version


def test_a_module_that_python_finds_elsewhere_first_is_refused(place, monkeypatch):
    """Nothing is loaded yet; the folder of the plugin file is behind another one on the path."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    one, two = two_folders(place, "from my_helper import VALUE\n")
    monkeypatch.syspath_prepend(str(one.parent))
    two.write_text(two.read_text().replace("sys.path.insert(0, ", "sys.path.append("))
    with pytest.raises(MdmkitError, match=r"two/my_helper\.py\. .*one/my_helper\.py, which is loaded already"):
        Registry([]).add_file(two)


def test_a_module_of_the_program_that_has_the_name_of_the_own_one_is_refused(place, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    one, two = two_folders(place, "from my_helper import VALUE\n")
    monkeypatch.syspath_prepend(str(one.parent))
    importlib.import_module("my_helper")
    with pytest.raises(MdmkitError, match=r"one/my_helper\.py, which is loaded already"):
        Registry([]).add_file(two)


def test_a_module_that_was_loaded_before_counts_if_only_a_statement_names_it(place, monkeypatch):
    """Its value is a number, which does not say where it is from."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("one", "two"):
        (place / f"{name}/lib").mkdir(parents=True)
        (place / f"{name}/lib/my_deep.py").write_text("VALUE = 1\n")
        path = f"import sys\nsys.path.insert(0, {str(place / name / 'lib')!r})\n"
        (place / f"{name}/{name}.py").write_text(PARTS.replace("mine", name) + path + "from my_deep import VALUE\n")
    registry = Registry([])
    registry.add_file(place / "one/one.py")
    registry.add_file(place / "two/two.py")
    assert " ../one/lib/my_deep.py " in registry.find("score", "two").version  # it is what runs
