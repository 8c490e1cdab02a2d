"""A plugin of the first edition is told in one paragraph what to write instead."""

from __future__ import annotations

import importlib
import importlib.util
import json
import pickle
import re
import subprocess
import sys
from copy import deepcopy
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
import torch

import mdmkit
from mdmkit import MdmkitError, Plan, Sampler
from mdmkit._gone import GONE
from mdmkit.testing import ByConfidence, LeastEntropyLeft, Spread, TakeQuota, ToyBackbone, make_step


@dataclass(frozen=True)
class Old:
    """Does what `use` says, as a score, commit or lookahead of the first edition did."""

    use: str

    def __call__(self, step, *rest):
        if self.use == "span":
            return step.confidence[:, step.span]
        if self.use == "memory":
            return step.memory.get("mine", step.confidence)
        if self.use == "masked":
            return step.canvas.masked.float()
        if self.use == "slice":
            return rest[-1](lambda belief: belief.entropy, slice(0, 2)).sum(-1)
        if self.use == "now":
            return rest[-1].now(lambda belief: belief.entropy, slice(0, 2)).sum(-1)
        if self.use == "with_tokens":
            return step.canvas.with_tokens(step.canvas.tokens)
        return rest[-1].masked.float()


class Bare(ToyBackbone):
    def forward(self, *args, **kwargs):
        return super().forward(*args, **kwargs).hidden


class Batches(mdmkit.Observer):
    def on_batch(self, prompts):
        pass


@pytest.mark.parametrize(
    ("use", "kind", "instead"),
    [
        ("span", "score", r"step\.window\(x\)"),
        ("memory", "score", r"step\.recall\(name"),
        ("masked", "score", r"canvas\.open"),
        ("with_tokens", "commit", r"canvas\.filled\(place, tokens\)"),
        ("look", "lookahead", r"look\.open\("),
        ("slice", "lookahead", r'look\(reduce, "block", at=columns\)'),
        ("now", "lookahead", r'look\(reduce, "block", at=columns\)'),
    ],
)
def test_what_a_stage_read_has_a_new_name(use, kind, instead):
    stages = {"score": ByConfidence(), "select": Spread(3), "lookahead": LeastEntropyLeft(), kind: Old(use)}
    with pytest.raises(MdmkitError, match=instead) as told:
        mdmkit.decode(Sampler(**stages, plan=Plan(length=5)), ToyBackbone(), ["ab"])
    assert "first edition" in str(told.value) and "\n" not in str(told.value)


def test_a_bare_tensor_from_forward_and_batches_to_hear_of():
    sampler = Sampler(ByConfidence(), TakeQuota(), plan=Plan(length=3))
    with pytest.raises(MdmkitError, match=r"returned Tensor from forward, as in the first edition: .*mdmkit\.Output"):
        mdmkit.decode(sampler, Bare(), ["ab"])
    with pytest.raises(MdmkitError, match=r"observer Batches has on_batch.*Write on_admit"):
        mdmkit.decode(sampler, ToyBackbone(), ["ab"], observers=[Batches()])


class Starts:
    def on_start(self, sampler, backbone, canvas):
        pass


class StartsWithMore:
    def on_start(self, sampler, backbone, more=None):
        pass


class StartsWithAny:
    def on_start(self, *told):
        pass


def test_an_observer_that_wants_the_canvas_at_the_start():
    sampler = Sampler(ByConfidence(), TakeQuota(), plan=Plan(length=3))
    with pytest.raises(MdmkitError, match=r"Starts has on_start\(sampler, backbone, canvas\).*Write on_admit"):
        mdmkit.decode(sampler, ToyBackbone(), ["ab"], observers=[Starts()])
    mdmkit.decode(sampler, ToyBackbone(), ["ab"], observers=[StartsWithMore(), StartsWithAny()])


# -- modules and their names ------------------------------------------------------------------------------------------

# Every module of the first edition, with its public names.
NAMES = json.loads((Path(__file__).parent / "first_edition_names.json").read_text())


def is_told(error: BaseException) -> bool:
    text = str(error)
    return "is of the first edition of mdmkit: " in text and "\n" not in text and text.endswith(".")


@pytest.mark.filterwarnings("ignore:.*has moved:DeprecationWarning")
@pytest.mark.parametrize("module", NAMES)
def test_every_public_name_of_a_module_works_or_the_error_says_what_to_write_instead(module):
    if module in ("mdmkit.agenda", "mdmkit.ending"):
        with pytest.raises(ModuleNotFoundError) as told:
            importlib.import_module(module)
        assert is_told(told.value)
        return
    where = importlib.import_module(module)
    gone = {}
    for name in NAMES[module]:
        try:
            getattr(where, name)
        except ImportError as error:
            gone[name] = error
    for name, error in gone.items():
        assert is_told(error)
        assert str(error).startswith(f"{module}.{name} ")


@pytest.mark.filterwarnings("ignore:.*has moved:DeprecationWarning")
@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("from mdmkit.loop import Loop", r"mdmkit\.Engine"),
        ("from mdmkit.loop import STEPS_PER_COLUMN", r"mdmkit\.loop\.checks"),
        ("from mdmkit.blocks import blocks", r"mdmkit\.canvas\.blocks\.cut"),
        ("from mdmkit.cache import Windowed", r"mdmkit\.model\.cache\.Cache"),
        ("from mdmkit.grouping import grouped", r"mdmkit\.decoding\.units\.units"),
        ("from mdmkit.plan import LONGEST", r"from mdmkit import LONGEST_ROW"),
        ("from mdmkit.runner import FORWARD_TOKENS", r"mdmkit\.loop\.calls"),
        ("from mdmkit.search import settle", r"fill_canvas"),
        ("from mdmkit.task import make", r"make_task"),
        ("from mdmkit.task import bare", r"without_reference"),
        ("from mdmkit.task import scored", r"read_verdict"),
        ("from mdmkit.cli.requests import check", r"check_prompts"),
        ("from mdmkit.cli.requests import Size", r"Encodings"),
        ("from mdmkit.cli.results import open_rows", r"open_record"),
        ("import mdmkit.agenda", r"mdmkit\.loop\.checks"),
        ("from mdmkit.ending import finished", r"mdmkit\.stage\.stop\.ended"),
    ],
)
def test_a_name_that_is_gone_is_told_by_import(line, instead):
    with pytest.raises(ImportError, match=instead) as told:
        exec(line)
    assert is_told(told.value)


def test_what_replaces_a_gone_name_exists():
    for told in (text for names in GONE.values() for text in names.values()):
        for path in re.findall(r"mdmkit(?:\.\w+)+", told):
            module, _, name = path.rpartition(".")
            there = name in ("mdmkit", "") or hasattr(importlib.import_module(module), name)
            assert there or importlib.util.find_spec(path), path


# -- objects that plugins hold ----------------------------------------------------------------------------------------


def test_methods_that_are_gone():
    step = make_step()
    actions = TakeQuota()(step, step.confidence)
    with pytest.raises(MdmkitError, match=r"actions\.written is of the first edition of mdmkit: .*step\.states"):
        actions.written(step.canvas, slice(0, 1))
    with pytest.raises(MdmkitError, match=r"sampler\.run is of the first edition of mdmkit: .*mdmkit\.decode"):
        Sampler(ByConfidence(), TakeQuota()).run(ToyBackbone(), step.canvas)
    for thing in (actions, Sampler(ByConfidence(), TakeQuota())):
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            thing.nothing  # noqa: B018


@pytest.mark.parametrize("form", ["six", "nine", "names"])
def test_a_canvas_of_the_first_edition(form):
    new = make_step().canvas
    old = {name: getattr(new, name) for name in ("tokens", "editable", "valid", "seed", "infill", "mask_id")}
    old |= {"grid": None, "block": None, "surplus": new.surplus}
    values = list(old.values())
    with pytest.raises(MdmkitError, match=r"Canvas was called as in the first edition of mdmkit: .*mdmkit\.lay_out"):
        {
            "six": lambda: mdmkit.Canvas(*values[:6]),
            "nine": lambda: mdmkit.Canvas(*values),
            "names": lambda: mdmkit.Canvas(**old),
        }[form]()


def test_a_canvas_of_today_is_built_copied_and_pickled():
    new = make_step().canvas
    values = [getattr(new, field.name) for field in fields(new)]
    for canvas in (mdmkit.Canvas(*values), mdmkit.Canvas(*values[:8]), pickle.loads(pickle.dumps(new)), deepcopy(new)):
        assert torch.equal(canvas.tokens, new.tokens) and canvas.mask_id == new.mask_id
    with pytest.raises(TypeError):
        mdmkit.Canvas()


def test_a_script_is_told_of_an_old_path_at_its_own_line(tmp_path):
    script = tmp_path / "old.py"
    script.write_text("import mdmkit\nfrom mdmkit.step import Step\nfrom mdmkit.step import Step as Again\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stderr.count("DeprecationWarning") == 1
    assert f"{script}:2: MdmkitDeprecationWarning: mdmkit.step has moved" in done.stderr


def test_the_command_line_tells_of_the_old_path_in_a_plugin_file(tmp_path):
    plugin = tmp_path / "old_score.py"
    plugin.write_text(
        "from dataclasses import dataclass\nfrom mdmkit import Component, hookimpl\nfrom mdmkit.step import Step\n\n\n"
        "@dataclass(frozen=True)\nclass Old:\n    def __call__(self, step: Step):\n        return step.confidence\n\n\n"
        "@hookimpl\ndef mdmkit_score():\n    return [Component('old', Old)]\n"
    )
    words = [
        "decode",
        "--plugin",
        str(plugin),
        "--set",
        "score=old",
        "--model",
        "zoo:puzzles",
        "--prompt",
        "7*8=_______",
    ]
    # In a process of its own, because a path warns once in a process.
    done = subprocess.run([sys.executable, "-m", "mdmkit", *words], capture_output=True, text=True, check=True)
    assert done.stderr.count("Note: mdmkit.step has moved") == 1
