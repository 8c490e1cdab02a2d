"""Configuration: how layers combine, what a stage node means, and what each mistake is answered with."""

from __future__ import annotations

import json
import sys
from typing import Any, Literal

import pytest

from mdmkit import MdmkitError
from mdmkit.config.resolution import resolve
from mdmkit.config.schema import REQUIRED, UNKNOWN, of_class, read
from mdmkit.config.values import describe, fit, hint_of

MINIMAL = {"score": "likely", "select": "best"}


@pytest.fixture
def config(installed):
    """Resolve against distribution `toy`, to the plain dict."""
    return lambda *args, **kwargs: resolve(*args, registry=installed, **kwargs).config


@pytest.fixture
def error(config):
    def run(*args, **kwargs) -> str:
        with pytest.raises(MdmkitError) as caught:
            config(*args, **kwargs)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return run


def test_a_preset_resolves_to_every_parameter_without_importing_its_stages(config):
    assert config("plain") == {
        "sampler": "plain",
        "about": {"paper": "A Plain Paper", "arxiv": ["2502.09992"], "note": "The simplest there is."},
        "score": {"name": "likely"},
        "select": {"name": "best", "temperature": 0.5},
        "lookahead": None,
        "commit": {"name": "write"},
        "search": None,
        "stop": None,
        "constraint": None,
        "plan": {
            "length": 12,
            "block": None,
            "steps": None,
            "tokens_per_step": 2,
            "schedule": "linear",
            "early_stop": True,
            "room": 0,
            "logprobs": None,
        },
        "draw": {
            "temperature": 0.0,
            "top_p": None,
            "top_k": None,
            "suppress": [],
            "penalty": {5: 1.5},
            "end_penalty": 0.0,
            "repetition_penalty": 1.0,
            "temperature_end": None,
        },
        "guidance": {"scale": 1.0, "ramp": False},
        "cache": "auto",
        "seed": 0,
        "parts": {
            "sampler": {"distribution": "toy", "version": "1.0"},
            "score": {"distribution": "toy", "version": "1.0"},
            "select": {"distribution": "toy", "version": "1.0"},
            "commit": {"distribution": "mdmkit", "version": "0.1.0"},
        },
    }
    assert "toy_parts.stages" not in sys.modules


def test_later_layers_win(config, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("plan: {length: 20, block: 4}\ndraw: {temperature: 0.1}\nseed: 1\n")
    found = config("plain", file, ["plan.block=5", "seed=2", "draw.top_k=9"], {"seed": 3})
    assert found["plan"]["length"] == 20  # file over preset
    assert found["plan"]["block"] == 5  # --set over file
    assert found["plan"]["tokens_per_step"] == 2  # preset over default
    assert found["seed"] == 3  # Python over --set
    assert (found["draw"]["temperature"], found["draw"]["top_k"]) == (0.1, 9)
    assert found["draw"]["penalty"] == {5: 1.5}


def test_later_overrides_win(config):
    assert config("plain", overrides=["seed=1", "seed=2"])["seed"] == 2


def test_a_bare_string_replaces_the_node(config):
    assert config("forked", overrides=["select=fork"])["select"] == {"name": "fork", "candidates": 2, "spread": 0.1}
    assert config("forked", nodes={"select": "best"})["select"] == {"name": "best", "temperature": 0.0}


def test_a_new_name_replaces_the_node(config):
    found = config("forked", overrides=["select={name: best, temperature: 1}", "lookahead=null"])
    assert found["select"] == {"name": "best", "temperature": 1.0}


def test_a_new_name_set_by_path_replaces_the_node(config):
    assert config("forked", overrides=["select.name=best"])["select"] == {"name": "best", "temperature": 0.0}


def test_a_dict_without_a_name_changes_parameters(config):
    assert config("forked", nodes={"select": {"candidates": 7}})["select"]["candidates"] == 7
    assert config("forked", nodes={"select": {"candidates": 7}})["select"]["spread"] == 0.2


def test_a_dict_with_the_same_name_changes_parameters(config):
    found = config("forked", {"select": {"name": "fork", "candidates": 7}})
    assert found["select"] == {"name": "fork", "candidates": 7, "spread": 0.2}


def test_overrides_on_one_stage_build_on_each_other(config):
    found = config(None, MINIMAL, ["select=fork", "select.candidates=5", "select.spread=0.3"])
    assert found["select"] == {"name": "fork", "candidates": 5, "spread": 0.3}


def test_null_removes_a_lookahead(config):
    assert config("forked")["lookahead"] == {"name": "sure", "scope": "sequence"}
    assert config("forked", overrides=["lookahead=null"])["lookahead"] is None
    assert config("forked", nodes={"lookahead": None})["lookahead"] is None


def test_parameters_for_a_stage_that_is_not_there_need_a_name(error):
    text = error("plain", overrides=["lookahead.scope=block"])
    assert text == (
        "--set lookahead.scope=block: lookahead has parameters (scope) but no name, "
        "and there is no lookahead to change. Add lookahead.name."
    )


def test_a_mapping_valued_parameter_is_replaced_whole_but_set_by_path_item_by_item(config):
    assert config("plain", {"draw": {"penalty": {3: 1.0}}})["draw"]["penalty"] == {3: 1.0}
    found = config("plain", overrides=["draw.penalty.3=1", "draw.penalty.2=0.5"])
    assert found["draw"]["penalty"] == {5: 1.5, 3: 1.0, 2: 0.5}


def test_lists_become_what_the_field_wants(config):
    assert config("plain", overrides=["draw.suppress=[1,2]"])["draw"]["suppress"] == [1, 2]


def test_a_config_file_may_name_its_preset(config, error, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("sampler: plain\nselect: {temperature: 0.25}\n")
    assert config(None, file)["select"] == {"name": "best", "temperature": 0.25}
    assert config("plain", file)["sampler"] == "plain"
    assert (
        error("forked", file)
        == f"sampler 'forked' was asked for, but {file} says sampler: plain. Remove one of the two."
    )


def test_a_resolved_config_resolves_to_itself_also_through_json(config):
    for overrides in (
        [],
        ["draw.penalty=null"],
        ["draw.penalty={3: 2}", "select.temperature=0.75", "plan.length=null"],
    ):
        found = config("plain", overrides=overrides)
        assert config(config=found) == found
        assert config(config=json.loads(json.dumps(found))) == found


def test_interpolations_stay_the_text_they_are(config, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("score: {name: tilted, label: '${seed} ${oc.env:HOME}'}\nselect: best\n")
    assert config(None, file)["score"]["label"] == "${seed} ${oc.env:HOME}"


def test_computed_defaults_are_left_to_the_running_class(config):
    found = config(None, {"score": "tilted", "select": "best"})["score"]
    assert "scale" not in found
    assert found["bias"] == {}
    assert found["ids"] == []


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"nodes": {"plam": {}}}, "compose: unknown key 'plam'. Did you mean 'plan'? Known: cache, commit, "),
        ({"overrides": ["sede=3"]}, "--set sede=3: unknown key 'sede'. Did you mean 'seed'?"),
        ({"config": {"guidence": {"scale": 2.0}}}, "config: unknown key 'guidence'. Did you mean 'guidance'?"),
        ({"overrides": ["paper=x"]}, "unknown key 'paper'"),
        ({"overrides": ["plan.lenght=3"]},
         "unknown plan parameter 'lenght'. Did you mean 'length'? Parameters: block, "),
        ({"overrides": ["draw.top=3"]}, "unknown draw parameter 'top'. Did you mean 'top_p'?"),
        ({"overrides": ["select.temprature=1"]},
         "unknown select 'best' parameter 'temprature'. Did you mean 'temperature'? Parameters: temperature."),
        ({"overrides": ["score=likly"]}, "unknown score 'likly'. Did you mean 'likely'?"),
        ({"overrides": ["plan.length=abc"]}, "plan.length must be a whole number or null, not the text 'abc'."),
        ({"overrides": ["plan.length=2.5"]}, "plan.length must be a whole number or null, not 2.5."),
        ({"overrides": ["plan.length=true"]}, "plan.length must be a whole number or null, not true."),
        ({"overrides": ["draw.temperature=null"]}, "draw.temperature must be a number, not null."),
        ({"overrides": ["draw.suppress=[a]"]}, "draw.suppress must be a list of whole numbers, not ['a']."),
        ({"overrides": ["draw.suppress=3"]}, "draw.suppress must be a list of whole numbers, not 3."),
        ({"overrides": ["draw.penalty={5: much}"]},
         "draw.penalty must be a mapping of whole numbers to numbers or null, not {5: 'much'}."),
        ({"overrides": ["select.temperature=hot"]}, "select.temperature must be a number, not the text 'hot'."),
        ({"overrides": ["plan.length=0"]}, "plan.length=0: it must be a whole number from 1 to 1048576, or null."),
        ({"overrides": ["plan.schedule=cosin"]}, "unknown plan.schedule 'cosin'. Did you mean 'cosine'?"),
        ({"overrides": ["plan=3"]}, "plan must be a mapping, such as plan: {length: 64}, not 3."),
        ({"overrides": ["plan=null"]}, "plan must be a mapping"),
        ({"overrides": ["seed=x"]}, "--set seed=x: seed must be a whole number, not 'x'."),
        ({"overrides": ["cache=2"]}, "cache.name must be a name, not 2."),
        ({"overrides": ["score=5"]}, "score must be a name, a mapping with `name` and parameters, null, or in Python"),
        ({"overrides": ["score.name=5"]}, "score.name must be a text, not 5."),
        ({"overrides": ["seed"]}, "--set 'seed' is not of the form KEY=VALUE"),
        ({"overrides": ["plan..length=3"]}, "is not of the form KEY=VALUE"),
        ({"overrides": ["draw.suppress=[1"]}, "--set 'draw.suppress=[1': the value is not YAML"),
        ({"overrides": ["plan.length.x=1"]}, "plan.length must be a whole number or null, not {'x': 1}."),
        ({"config": 3}, "config must be a mapping or the path of a YAML file, not 3."),
        ({"config": {"sampler": 3}}, "sampler must be the name of a sampler, not 3."),
        ({"config": "/nowhere.yaml"}, "config file '/nowhere.yaml' cannot be read: No such file or directory."),
    ],
)  # fmt: skip
def test_a_mistake_names_the_key_and_the_fix(error, kwargs, said):
    assert said in error("plain", **kwargs)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "is not YAML"),
        ("- a\n- b", "must be a mapping, such as score: margin"),
        ("select: {name: best}\nselect: {name: fork}", "is not YAML"),
    ],
)
def test_an_unreadable_config_file_is_named(error, tmp_path, text, said):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    message = error("plain", file)
    assert str(file) in message
    assert said in message


def test_score_and_select_are_required(error):
    assert error(None, {"select": "best"}).startswith("no score: a sampler needs a score and a select.")
    assert "(installed: best, fork)" in error(None, {"score": "likely"})
    assert "(installed: forked, plain)" in error("plain", overrides=["score=null"])


def test_an_unknown_sampler_is_answered_with_the_nearest(error):
    assert error("plane") == "unknown sampler 'plane'. Did you mean 'plain'? Installed: forked, plain."


def test_a_preset_with_an_unknown_key_names_its_distribution(toy, error):
    toy.path.joinpath("toy_parts/presets/plain.yaml").write_text("scroe: likely\n")
    assert error("plain").startswith("sampler 'plain' of toy 1.0: unknown key 'scroe'. Did you mean 'score'?")


def test_a_preset_without_its_file_names_its_distribution(toy, error):
    toy.path.joinpath("toy_parts/presets/plain.yaml").unlink()
    assert "sampler 'plain' of toy 1.0: its preset is 'toy_parts:presets/plain.yaml', which is not a file" in error(
        "plain"
    )


def test_static_and_imported_schemas_agree(installed):
    for kind in ("score", "select", "lookahead"):
        for part in installed.of_kind(kind):
            static, real = read(part.target), of_class(installed.load(part))
            assert [(f.name, f.hint) for f in static.fields] == [(f.name, f.hint) for f in real.fields]
            for seen, true in zip(static.fields, real.fields, strict=True):
                assert seen.default is UNKNOWN or seen.default == true.default


def test_the_core_sections_are_read_statically():
    from mdmkit import Draw, Plan

    for target, cls in (("mdmkit.settings.plan:Plan", Plan), ("mdmkit.settings.draw:Draw", Draw)):
        assert read(target) == of_class(cls)


SHAPES = """
from dataclasses import dataclass, field
import dataclasses as d

class Other: ...

@dataclass
class Ordinary:
    must: int
    negative: float = -1.5
    quoted: "int | None" = None
    made: list[int] = field(default_factory=list)
    given: int = field(default=3)
    hidden: int = field(default=0, init=False)
    foreign: Other = None

@d.dataclass(frozen=True)
class Attribute:
    x: int = 1

@dataclass
class Child(Ordinary):
    y: int = 2

class Bare:
    x: int = 1
"""


def test_reading_a_schema_covers_what_the_source_plainly_says(site):
    site.add("shapes", {"shapes.py": SHAPES})
    fields = {f.name: (f.hint, f.default) for f in read("shapes:Ordinary").fields}
    assert fields == {
        "must": (int, REQUIRED),
        "negative": (float, -1.5),
        "quoted": (int | None, None),
        "made": (list[int], []),
        "given": (int, 3),
        "foreign": (Any, None),
    }
    assert len(read("shapes:Attribute").fields) == 1
    for unclear in ("shapes:Child", "shapes:Bare", "shapes:Missing", "no_such_module:X"):
        assert read(unclear) is None
    assert "shapes" not in sys.modules


def test_a_required_parameter_must_be_given(site):
    site.add("shapes", {"shapes.py": SHAPES})
    with pytest.raises(MdmkitError, match=r"score 'x' needs a value for 'must' \(a whole number\): set score.must\."):
        read("shapes:Ordinary").complete({}, "score 'x'", "score")


@pytest.mark.parametrize(
    ("value", "hint", "fitted"),
    [
        (1, float, 1.0),
        ([1, 2], tuple[int, ...], (1, 2)),
        ([1, 2.5], tuple[int, float], (1, 2.5)),
        ({"5": 1}, dict[int, float], {5: 1.0}),
        ({"-5": 1}, dict[int, float], {-5: 1.0}),
        (None, int | None, None),
        (1, int | float, 1),
        (1, float | None, 1.0),
        ("up", Literal["up", "down"], "up"),
        ({"a"}, set[str], {"a"}),
        ([[1], []], list[list[int]], [[1], []]),
        (object, Any, object),
    ],
)
def test_values_fit_their_types(value, hint, fitted):
    found = fit(value, hint)
    assert found == fitted
    assert type(found) is type(fitted)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (True, int),
        (True, float),
        (1, bool),
        (1.0, int),
        ("1", int),
        (1, str),
        ("ab", list[str]),
        ([1], tuple[int, int]),
        ("left", Literal["up", "down"]),
        ({"x": 1}, dict[int, float]),
        (None, int),
        (True, Literal[1]),
    ],
)
def test_nothing_is_converted_silently(value, hint):
    with pytest.raises(TypeError):
        fit(value, hint)


def test_types_are_described_in_words():
    assert describe(int | None) == "a whole number or null"
    assert describe(None | float) == "a number or null"
    assert describe(tuple[int, ...]) == "a list of whole numbers"
    assert describe(dict[int, float]) == "a mapping of whole numbers to numbers"
    assert describe(Literal["a", "b"]) == "one of 'a', 'b'"


def test_an_annotation_is_evaluated_without_names_of_its_module():
    assert hint_of("Optional[dict[int, float]]") == dict[int, float] | None
    assert hint_of("Tensor") is Any
    assert hint_of("__import__('os').getcwd()") is Any
