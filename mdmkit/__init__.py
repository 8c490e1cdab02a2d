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

if TYPE_CHECKING:
    from mdmkit.belief import Belief
    from mdmkit.canvas import Canvas, Prompt
    from mdmkit.composing import compose
    from mdmkit.decoding import decode, stream
    from mdmkit.errors import MdmkitError
    from mdmkit.hookspecs import Component, hookimpl
    from mdmkit.loading import load
    from mdmkit.look import Look
    from mdmkit.model import Backbone
    from mdmkit.observe import Observer
    from mdmkit.plan import Plan
    from mdmkit.sampler import Sampler
    from mdmkit.step import Actions, Draw, Guidance, Step
    from mdmkit.task import Task
    from mdmkit.text_stream import TextStream
    from mdmkit.wrapping import wrap

__version__ = "0.1.0"

__all__ = [
    "Actions",
    "Backbone",
    "Belief",
    "Canvas",
    "Component",
    "Draw",
    "Guidance",
    "Look",
    "MdmkitError",
    "Observer",
    "Plan",
    "Prompt",
    "Sampler",
    "Step",
    "Task",
    "TextStream",
    "compose",
    "decode",
    "hookimpl",
    "load",
    "stream",
    "wrap",
]

_HOME = {
    "Actions": "step",
    "Backbone": "model",
    "Belief": "belief",
    "Canvas": "canvas",
    "Component": "hookspecs",
    "Draw": "step",
    "Guidance": "step",
    "Look": "look",
    "MdmkitError": "errors",
    "Observer": "observe",
    "Plan": "plan",
    "Prompt": "canvas",
    "Sampler": "sampler",
    "Step": "step",
    "Task": "task",
    "TextStream": "text_stream",
    "compose": "composing",
    "decode": "decoding",
    "hookimpl": "hookspecs",
    "load": "loading",
    "stream": "decoding",
    "wrap": "wrapping",
}


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
