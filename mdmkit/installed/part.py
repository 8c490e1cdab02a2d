"""A part, and a plugin that was set aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """A component, and where it came from. `target` is a string, or the object itself."""

    kind: str
    name: str
    target: Any
    summary: str
    distribution: str
    version: str

    @property
    def origin(self) -> str:
        return f"{self.distribution} {self.version}"

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} of {self.origin}"


@dataclass(frozen=True)
class Broken:
    """A plugin that was set aside, and why, in one line."""

    distribution: str
    version: str
    reason: str
