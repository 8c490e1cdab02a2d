"""The module paths of the first edition, for one release: each still imports, and warns once with the new path.

A lazy `__getattr__` on the package cannot serve `from mdmkit.step import Step`, since that imports `mdmkit.step` first.
So a finder answers for the paths that are gone. Where a room has the name of an old module (`mdmkit.canvas`), the room
itself answers for the names that stood there: see `names_of`.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from mdmkit._gone import GONE, refuse

# Old path -> where each name went; "" stands for every name that is not listed.
MOVED: dict[str, dict[str, str]] = {
    "belief": {"": "stage.belief"},
    "blocks": {"": "canvas.blocks"},
    "builtin": {"": "installed.builtin"},
    "cache": {"": "model.cache"},
    "canvas": {"Canvas": "canvas.canvas", "Prompt": "canvas.prompt", "lay_out": "canvas.layout"},
    "composing": {"": "config.compose"},
    "config": {"": "config.resolution"},
    "decoding": {"": "decoding.run", "Row": "canvas.row"},
    "facts": {"": "config.facts"},
    "files": {"": "model.files"},
    "fitting": {"": "decoding.fitting"},
    "generation": {"": "hf.keywords"},
    "grouping": {"": "decoding.units"},
    "hidden": {"": "stage.hidden"},
    "hookspecs": {"": "installed.hookspecs"},
    "layers": {"": "config.layers"},
    "loading": {"": "model.loading"},
    "look": {"": "stage.look"},
    "model": {"": "model.backbone"},
    "observe": {"": "loop.observe"},
    "plan": {"": "settings.plan"},
    "plugin_file": {"": "installed.plugin_file"},
    "policy": {"": "loop.policy"},
    "prompts": {"": "decoding.prompts"},
    "recording": {"": "watch.recording"},
    "registry": {"": "installed.registry", "Part": "installed.part", "Broken": "installed.part"},
    "runner": {"": "loop.runner"},
    "sampler": {"": "loop.sampler"},
    "schema": {"": "config.schema"},
    "search": {"": "stage.search", "expand": "loop.particles"},
    "stages": {"": "stage.protocols", "Write": "stage.write"},
    "step": {"": "stage.step", "Draw": "settings.draw", "Guidance": "settings.draw", "Actions": "stage.actions"},
    "target": {"": "installed.target"},
    "text_stream": {"": "watch.text_stream"},
    "trace": {"": "canvas.trace"},
    "trace_page": {"": "watch.page"},
    "trace_page.reading": {"": "watch.page.reading"},
    "values": {"": "config.values"},
    "wrapping": {"": "hf.wrapping"},
}


def names_of(old: str) -> Callable[[str], Any]:
    """Make the `__getattr__` of an old path: each name is fetched from its new place, with one warning a path."""
    path, where = f"mdmkit.{old}", MOVED[old]
    warned: list[str] = []

    def find(name: str) -> Any:
        refuse(old, name)
        if name.startswith("__") or not (new := where.get(name, where.get(""))):
            raise AttributeError(f"module {path!r} has no attribute {name!r}")
        try:
            value = getattr(importlib.import_module(f"mdmkit.{new}"), name)
        except AttributeError:
            raise AttributeError(f"module {path!r} has no attribute {name!r}") from None
        if not warned:
            warned.append(name)
            public = _exported(name)
            instead = f"from mdmkit import {name}" if public else f"from mdmkit.{new} import {name}"
            from mdmkit.errors import MdmkitDeprecationWarning

            text = f"{path} has moved and goes with the next release: write `{instead}`."
            warnings.warn(text, MdmkitDeprecationWarning, stacklevel=2)
        return value

    return find


def _exported(name: str) -> bool:
    return name in sys.modules["mdmkit"].__all__


class _Old(Loader):
    def __init__(self, old: str):
        self._old = old

    def exec_module(self, module: ModuleType) -> None:
        module.__getattr__ = names_of(self._old)  # type: ignore[method-assign]


class _Gone(Loader):
    """Refuses a module that has no successor."""

    def __init__(self, old: str):
        self._old = old

    def exec_module(self, module: ModuleType) -> None:
        text = f"{module.__name__} is of the first edition of mdmkit: {GONE[self._old]['']}."
        raise ModuleNotFoundError(text, name=module.__name__)


class _Finder(MetaPathFinder):
    """Asked last, so that nothing that exists is ever hidden by it."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, _, old = fullname.partition(".")
        if package == "mdmkit" and "" in GONE.get(old, {}):
            return ModuleSpec(fullname, _Gone(old))
        if package != "mdmkit" or old not in MOVED:
            return None
        return ModuleSpec(fullname, _Old(old), is_package=f"{old}.reading" in MOVED)


def install() -> None:
    """Answer for the old paths from now on."""
    sys.meta_path.append(_Finder())
