"""The toy with a pause in each forward, as model `slow:0`, and one that draws. Tests add this file as a plugin."""

from __future__ import annotations

import time
from typing import Any

from mdmkit import Component, hookimpl
from mdmkit.testing import ToyBackbone


class Slow(ToyBackbone):
    @classmethod
    def accepts(cls, ref: str) -> bool:
        return ref.startswith("slow:")

    @classmethod
    def load(cls, ref: str, **options: Any) -> ToyBackbone:
        return super().load(ref.replace("slow", "toy"), **options)

    def forward(self, *given: Any, **more: Any) -> Any:
        time.sleep(0.01)
        return super().forward(*given, **more)


class Picture(ToyBackbone):
    """A model whose rows are files, as model `picture:0`."""

    files: Any = object()

    @classmethod
    def accepts(cls, ref: str) -> bool:
        return ref.startswith("picture:")

    @classmethod
    def load(cls, ref: str, **options: Any) -> ToyBackbone:
        return super().load(ref.replace("picture", "toy"), **options)


@hookimpl
def mdmkit_backbone() -> list[Component]:
    return [Component("slow", Slow, "the toy with pauses"), Component("picture", Picture, "the toy with files")]
