"""The parts of this distribution."""

from __future__ import annotations

from mdmkit import Component, hookimpl


@hookimpl
def mdmkit_engine() -> list[Component]:
    return [Component("ray", "mdmkit_ray.engine:Ray", "decode with workers on many machines")]
