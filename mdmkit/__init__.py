"""mdmkit decodes masked diffusion models with samplers composed from parts.

    sampler = mdmkit.compose("info_gain", plan={"length": 64})
    backbone = mdmkit.load("zoo:puzzles")
    decoded = mdmkit.decode(sampler, backbone, ["7*8=_______"], seed=0)

Importing the package imports nothing else: each public name is fetched when it is first asked for, so that a plugin
can be listed without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mdmkit import _moved
from mdmkit.version import __version__ as __version__

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.canvas.layout import lay_out
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.canvas.row import Row
    from mdmkit.canvas.trace import Trace
    from mdmkit.canvas.window import Window
    from mdmkit.config.compose import compose, make_part
    from mdmkit.decoding.engine import UnitEngine
    from mdmkit.decoding.prompts import PromptLike, read_prompts
    from mdmkit.decoding.recipe import Recipe, decode_unit
    from mdmkit.decoding.run import Decoded, decode, stream
    from mdmkit.decoding.unit import Outcome, Unit
    from mdmkit.decoding.work import Work
    from mdmkit.errors import MdmkitError, MdmkitWarning, RowError, shown, unknown
    from mdmkit.hf.wrapping import generate, wrap
    from mdmkit.installed.hookspecs import Component, hookimpl
    from mdmkit.likelihood.choosing import Choice, choose
    from mdmkit.likelihood.scoring import Likelihood, score
    from mdmkit.loop.engine import Engine
    from mdmkit.loop.front import AsyncEngine
    from mdmkit.loop.kept import KeptBlocks
    from mdmkit.loop.observe import Observer
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone, Output
    from mdmkit.model.cache import Reach, View
    from mdmkit.model.files import Files
    from mdmkit.model.finding import Finding
    from mdmkit.model.loading import load
    from mdmkit.model.shadow import Shadow
    from mdmkit.model.store import Store
    from mdmkit.noise import row_seed
    from mdmkit.settings.draw import Draw, Guidance
    from mdmkit.settings.plan import LONGEST_ROW, Plan
    from mdmkit.stage.actions import Actions
    from mdmkit.stage.belief import Belief
    from mdmkit.stage.look import Look, Scope, States
    from mdmkit.stage.protocols import Commit, Constraint, Lookahead, Score, Select, Stop
    from mdmkit.stage.search import Search
    from mdmkit.stage.shifted import Shifted
    from mdmkit.stage.step import Step
    from mdmkit.stage.traits import trait
    from mdmkit.stage.write import Write
    from mdmkit.task import JudgeDown, Task, Verdict
    from mdmkit.watch.final import final_until
    from mdmkit.watch.recording import Recording
    from mdmkit.watch.text_stream import TextStream


__all__ = [
    "LONGEST_ROW",
    "Actions",
    "AsyncEngine",
    "Backbone",
    "Belief",
    "Canvas",
    "Choice",
    "Commit",
    "Component",
    "Constraint",
    "Decoded",
    "Draw",
    "Engine",
    "Files",
    "Finding",
    "Guidance",
    "JudgeDown",
    "KeptBlocks",
    "Likelihood",
    "Look",
    "Lookahead",
    "MdmkitError",
    "MdmkitWarning",
    "Observer",
    "Outcome",
    "Output",
    "Plan",
    "Prompt",
    "PromptLike",
    "Reach",
    "Recipe",
    "Recording",
    "Row",
    "RowError",
    "Sampler",
    "Scope",
    "Score",
    "Search",
    "Select",
    "Shadow",
    "Shifted",
    "States",
    "Step",
    "Stop",
    "Store",
    "Task",
    "TextStream",
    "Trace",
    "Unit",
    "UnitEngine",
    "Verdict",
    "View",
    "Window",
    "Work",
    "Write",
    "choose",
    "compose",
    "decode",
    "decode_unit",
    "final_until",
    "generate",
    "hookimpl",
    "lay_out",
    "load",
    "make_part",
    "read_prompts",
    "row_seed",
    "score",
    "shown",
    "stream",
    "trait",
    "unknown",
    "wrap",
]

_HOME = {
    "Actions": "stage.actions",
    "AsyncEngine": "loop.front",
    "Backbone": "model.backbone",
    "Belief": "stage.belief",
    "Canvas": "canvas.canvas",
    "Choice": "likelihood.choosing",
    "Commit": "stage.protocols",
    "Component": "installed.hookspecs",
    "Constraint": "stage.protocols",
    "Decoded": "decoding.run",
    "Draw": "settings.draw",
    "Engine": "loop.engine",
    "Files": "model.files",
    "Finding": "model.finding",
    "Guidance": "settings.draw",
    "JudgeDown": "task",
    "KeptBlocks": "loop.kept",
    "LONGEST_ROW": "settings.plan",
    "Likelihood": "likelihood.scoring",
    "Look": "stage.look",
    "Lookahead": "stage.protocols",
    "MdmkitError": "errors",
    "MdmkitWarning": "errors",
    "Observer": "loop.observe",
    "Outcome": "decoding.unit",
    "Output": "model.backbone",
    "Plan": "settings.plan",
    "Prompt": "canvas.prompt",
    "PromptLike": "decoding.prompts",
    "Reach": "model.cache",
    "Recipe": "decoding.recipe",
    "Recording": "watch.recording",
    "Row": "canvas.row",
    "RowError": "errors",
    "Sampler": "loop.sampler",
    "Scope": "stage.look",
    "Score": "stage.protocols",
    "Search": "stage.search",
    "Shadow": "model.shadow",
    "Select": "stage.protocols",
    "Shifted": "stage.shifted",
    "States": "stage.look",
    "Step": "stage.step",
    "Stop": "stage.protocols",
    "Store": "model.store",
    "Task": "task",
    "TextStream": "watch.text_stream",
    "Trace": "canvas.trace",
    "Unit": "decoding.unit",
    "UnitEngine": "decoding.engine",
    "Verdict": "task",
    "View": "model.cache",
    "Window": "canvas.window",
    "Work": "decoding.work",
    "Write": "stage.write",
    "choose": "likelihood.choosing",
    "compose": "config.compose",
    "decode": "decoding.run",
    "decode_unit": "decoding.recipe",
    "final_until": "watch.final",
    "generate": "hf.wrapping",
    "hookimpl": "installed.hookspecs",
    "lay_out": "canvas.layout",
    "load": "model.loading",
    "make_part": "config.compose",
    "read_prompts": "decoding.prompts",
    "row_seed": "noise",
    "stream": "decoding.run",
    "score": "likelihood.scoring",
    "shown": "errors",
    "trait": "stage.traits",
    "unknown": "errors",
    "wrap": "hf.wrapping",
}


_moved.install()


def __getattr__(name: str) -> Any:
    if name in ("noise", "ops"):  # the two modules that stages compute with
        return importlib.import_module(f"mdmkit.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'mdmkit' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"mdmkit.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
