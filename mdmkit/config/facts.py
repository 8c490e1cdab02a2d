"""The facts that a preset declares about itself. Nothing is decoded, and torch is not imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mdmkit.config.resolution import ABOUT, resolve
from mdmkit.errors import MdmkitError

if TYPE_CHECKING:
    from mdmkit.installed.part import Part
    from mdmkit.installed.registry import Registry


@dataclass(frozen=True)
class Facts:
    """One preset.

    Attributes:
        forwards: the least and the most row-forwards of a row's step; None if the preset does not say.
        cache: the cache that it asks for; `auto`: the model chooses.
        modality: the kind of model that it is for; `any` if the preset does not say.
        deterministic: True if every seed gives the same result; None if the preset does not say.
        about: the preset's description, by the keys of `mdmkit.config.resolution.ABOUT`.
        problem: why it cannot be composed here; None if it can.
    """

    part: Part
    forwards: tuple[int, int] | None
    cache: str | None
    modality: str
    deterministic: bool | None
    about: Mapping[str, Any]
    problem: str | None = None


def facts(part: Part, registry: Registry) -> Facts:
    """Collect the facts of a preset. A preset that cannot be composed is listed with the reason, not refused."""
    try:
        config = resolve(f"{part.distribution}:{part.name}", registry=registry).config
    except MdmkitError as error:
        return Facts(part, None, None, "any", None, {}, str(error))
    about = {key: config.get("about", {}).get(key) for key in ABOUT}
    cache, deterministic = config["cache"], about["deterministic"]
    return Facts(
        part,
        _ends(about["forwards"]),
        cache if isinstance(cache, str) else cache["name"],
        str(about["modality"] or "any"),
        deterministic if isinstance(deterministic, bool) else None,
        about,
    )


def _ends(forwards: Any) -> tuple[int, int] | None:
    """The least and the most of `forwards`, which is one number or two; None for anything else."""
    ends = forwards if isinstance(forwards, list) else [forwards, forwards]
    return (ends[0], ends[1]) if len(ends) == 2 and all(type(end) is int for end in ends) else None
