"""The registry: what is listed, what is set aside, and what each mistake is answered with."""

from __future__ import annotations

import sys

import pytest

from mdmkit import MdmkitError
from mdmkit.installed import builtin
from mdmkit.installed.registry import NotInstalled, Registry, first_party

SCORE = """
    from mdmkit import Component, hookimpl

    @hookimpl
    def mdmkit_score():
        return [Component({name!r}, {target!r}, "a score")]
"""


def add_score(site, distribution, name, *, version="1.0", target=None, requires=()):
    """A distribution that registers one score."""
    module = distribution.replace("-", "_")
    target = target or f"{module}:Score"
    plugin = SCORE.format(name=name, target=target)
    site.add(distribution, {f"{module}.py": plugin}, version=version, plugin=module, requires=requires)


def error(call, *args) -> str:
    with pytest.raises(MdmkitError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_part_knows_its_kind_distribution_and_version(toy):
    parts = {(p.kind, p.name): (p.distribution, p.version) for p in toy.registry().parts}
    assert parts["score", "likely"] == ("toy", "1.0")
    assert parts["sampler", "forked"] == ("toy", "1.0")
    assert parts["commit", "write"][0] == "mdmkit"
    own = {component.name for component in builtin.mdmkit_command()}
    assert {name for kind, name in parts if kind == "command"} == own | {"greet"}


def test_listing_imports_the_plugin_module_only(toy):
    import sys

    assert toy.registry().find("score", "likely").summary == "probability of the best token"
    assert "toy_parts.plugin" in sys.modules
    assert "toy_parts.stages" not in sys.modules


def test_hooks_are_evaluated_once(site):
    counting = "calls = 0\n" + SCORE.format(name="a", target="m:A").replace(
        "return", "global calls; calls += 1; return"
    )
    site.add(
        "counted",
        {"counted.py": "\n".join(line.removeprefix("    ") for line in counting.split("\n"))},
        plugin="counted",
    )
    registry = site.registry()
    for _ in range(3):
        assert registry.find("score", "a").distribution == "counted"
    import counted

    assert counted.calls == 1


def test_load_imports_a_string_target(toy):
    registry = toy.registry()
    assert registry.load(registry.find("select", "fork"))(candidates=3).alternatives == 3


def test_a_broken_import_is_set_aside_and_the_rest_works(toy):
    toy.add("bad", {"bad.py": "import a_module_that_is_not_there"}, version="0.3", plugin="bad")
    registry = toy.registry()
    assert registry.find("score", "likely").distribution == "toy"
    (broken,) = registry.broken
    assert (broken.distribution, broken.version) == ("bad", "0.3")
    assert broken.reason == "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"


def test_a_plugin_that_exits_on_import_is_set_aside(toy):
    toy.add("bad", {"bad.py": "import sys; sys.exit(3)"}, plugin="bad")
    registry = toy.registry()
    assert registry.find("score", "likely")
    assert registry.broken[0].reason == "SystemExit: 3"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            SCORE.format(name="a", target="m:A").replace("mdmkit_score", "mdmkit_scor"),
            "unknown hook 'mdmkit_scor'. Did you mean 'mdmkit_score'?",
        ),
        (SCORE.format(name="a", target="m:A").replace("mdmkit_score()", "mdmkit_score(step)"), "step"),
        (SCORE.format(name="a", target="m:A").replace("@hookimpl", ""), "no function marked @mdmkit.hookimpl"),
        (SCORE.format(name="a", target="m:A").replace("return", "raise OSError('disk') #"), "OSError: disk"),
        (
            SCORE.format(name="a", target="m:A").replace("return", "return 0 and"),
            "must return a list of components, and returned 0",
        ),
        (SCORE.format(name="a", target="no_colon"), "not of the form 'package.module:Attr'"),
        (SCORE.format(name="a b", target="m:A"), "a name is a word"),
        (SCORE.format(name="a", target="m:A").replace("[Component", "2 * [Component"), "registers score 'a' twice"),
        (SCORE.format(name="a", target="m:A").replace("[Component(", "[(").replace(")]", ")]"), "must list Component"),
    ],
)
def test_a_plugin_with_a_mistake_is_set_aside_alone(toy, source, reason):
    toy.add("bad", {"bad.py": source}, plugin="bad")
    registry = toy.registry()
    assert registry.find("score", "likely")
    assert reason in registry.broken[0].reason
    assert [p for p in registry.parts if p.distribution == "bad"] == []


def test_a_misspelt_hook_does_not_condemn_the_next_plugin(toy):
    toy.add("a-bad", {"a_bad.py": SCORE.format(name="a", target="m:A").replace("_score", "_scor")}, plugin="a_bad")
    assert [b.distribution for b in toy.registry().broken] == ["a-bad"]


def test_an_unknown_name_is_answered_with_the_nearest_and_all(toy):
    text = error(toy.registry().find, "score", "likly")
    assert text == "unknown score 'likly'. Did you mean 'likely'? Installed: likely, tilted."


def test_an_unknown_name_mentions_what_was_set_aside(toy):
    toy.add("bad", {"bad.py": "1 / 0"}, version="0.3", plugin="bad")
    text = error(toy.registry().find, "score", "marvellous")
    assert text.endswith("Set aside as broken: bad 0.3 (ZeroDivisionError: division by zero).")


def test_a_first_party_name_that_is_not_installed_names_the_pip_line(toy):
    with pytest.raises(NotInstalled, match=r"pip install mdmkit-info-gain provides it\.") as caught:
        toy.registry().find("lookahead", "info_gain")
    assert caught.value.distribution == "mdmkit-info-gain"


def test_a_first_party_distribution_that_is_broken_is_not_said_to_be_missing(toy):
    toy.add("mdmkit-info-gain", {"gain.py": "1 / 0"}, plugin="gain")
    text = error(toy.registry().find, "lookahead", "info_gain")
    assert "pip install" not in text
    assert "Set aside as broken: mdmkit-info-gain 1.0" in text


def test_first_party_names_are_of_known_kinds():
    from mdmkit.installed.registry import KINDS

    assert {kind for kinds in first_party().values() for kind in kinds} <= set(KINDS)


def test_two_distributions_with_one_name_are_an_error_only_when_used(site):
    add_score(site, "one-dist", "same", version="1.0")
    add_score(site, "two-dist", "same", version="2.5")
    add_score(site, "three", "other")
    registry = site.registry()
    assert registry.broken == ()
    assert registry.find("score", "other").distribution == "three"
    text = error(registry.find, "score", "same")
    assert "one-dist 1.0 and of two-dist 2.5" in text
    assert "one-dist:same or two-dist:same" in text
    assert registry.find("score", "two-dist:same").version == "2.5"
    assert registry.find("score", "One_Dist:same").version == "1.0"


def test_two_entry_points_of_one_name_both_count(site):
    for name in ("one", "two"):
        add_score(site, name, name)
        info = site.path / f"{name}-1.0.dist-info" / "entry_points.txt"
        info.write_text(f"[mdmkit]\nsame = {name}\n")
    assert {p.name for p in site.registry().of_kind("score")} == {"one", "two"}


def test_one_distribution_may_have_several_entry_points(site):
    files = {f"{m}.py": SCORE.format(name=m, target="m:A") for m in ("first", "second")}
    site.add("pair", files, plugin="first\nmore = second")
    assert [(p.name, p.distribution) for p in site.registry().of_kind("score")] == [
        ("first", "pair"),
        ("second", "pair"),
    ]


@pytest.mark.parametrize(
    ("source", "requires", "said"),
    [
        (
            "import not_there_at_all",
            (),
            "the package 'not_there_at_all' is missing. Install it: pip install not_there_at_all",
        ),
        ("import not_there.sub", ("not-there>=2",), "pip install 'not-there>=2'"),
        ("import not_there", ('not_there>=2; extra == "fast"',), "pip install 'lacking[fast]'"),
        ("raise RuntimeError('no driver')", (), "RuntimeError: no driver"),
        ("x = 1", (), "lacking_parts has no 'Score'"),
    ],
)
def test_a_target_that_cannot_be_imported_says_what_is_missing(site, source, requires, said):
    add_score(site, "lacking", "odd", version="0.7", target="lacking_parts:Score", requires=requires)
    site.path.joinpath("lacking_parts.py").write_text(source)
    registry = site.registry()
    text = error(registry.load, registry.find("score", "odd"))
    assert text.startswith("score 'odd' of lacking 0.7 cannot be imported: ")
    assert said in text


def test_a_target_in_a_missing_module_of_its_own_is_a_damaged_installation(site):
    add_score(site, "lacking", "odd", target="lacking.gone:Score")
    registry = site.registry()
    text = error(registry.load, registry.find("score", "odd"))
    assert "lacking.gone" in text
    assert "pip install --force-reinstall --no-deps lacking" in text


MINE = """
from __future__ import annotations
from dataclasses import dataclass
from mdmkit import Component, hookimpl

@dataclass(frozen=True)
class Mine:
    weight: float = 2.0
    def __call__(self, step):
        return step.confidence * self.weight

@hookimpl
def mdmkit_score():
    return [Component("mine", Mine), Component("same_mine", "my:Mine")]

@hookimpl
def mdmkit_sampler():
    return [Component("my_preset", {"score": "mine", "select": "best"})]
"""


def test_a_file_is_a_plugin_whose_targets_are_objects_or_strings(toy, tmp_path):
    file = tmp_path / "my.py"
    file.write_text(MINE)
    registry = toy.registry()
    registry.add_file(file)
    mine, same = registry.find("score", "mine"), registry.find("score", "same_mine")
    assert mine.distribution == "file:my.py"
    assert registry.load(mine)() == registry.load(same)(weight=2.0)
    assert registry.find("score", "file:my.py:mine") == mine
    assert registry.find("sampler", "my_preset").target["score"] == "mine"


def test_adding_a_file_again_reloads_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # Python's default
    file = tmp_path / "my.py"
    file.write_text(MINE)
    registry = Registry([])
    registry.add_file(file)
    first = registry.find("score", "mine")
    file.write_text(MINE.replace("2.0", "3.0"))
    registry.add_file(file)
    second = registry.find("score", "mine")
    assert registry.load(second)().weight == 3.0
    assert first.version != second.version


def test_two_files_of_one_name_are_told_apart(tmp_path):
    registry = Registry([])
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "my.py").write_text(MINE.replace('"mine"', f'"{folder}"'))
        registry.add_file(tmp_path / folder / "my.py")
    assert registry.find("score", "a").distribution == "file:my.py"
    assert registry.find("score", "b").distribution == f"file:{tmp_path / 'b' / 'my.py'}"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (None, "does not exist"),
        ("import not_there", "No module named 'not_there'"),
        ("x = 1", "no function marked @mdmkit.hookimpl"),
        (MINE.replace("mdmkit_score", "mdmkit_scores"), "Did you mean 'mdmkit_score'?"),
        (MINE.replace("my:Mine", "my:Yours"), "the file has no 'Yours'"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_at_once(tmp_path, source, said):
    file = tmp_path / "my.py"
    if source is not None:
        file.write_text(source)
    assert said in error(Registry([]).add_file, file)


def test_a_file_of_another_kind_is_not_read(tmp_path):
    (tmp_path / "my.safetensors").write_text(MINE)
    assert "its name must end in .py" in error(Registry([]).add_file, tmp_path / "my.safetensors")
