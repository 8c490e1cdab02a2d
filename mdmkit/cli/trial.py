"""What `mdmkit check --plugin FILE` tries: a decode with each part of the file, so that its steps are run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mdmkit.cli import checkup
from mdmkit.config.resolution import STAGES
from mdmkit.errors import MdmkitError, explained
from mdmkit.model.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mdmkit.installed.part import Part
    from mdmkit.installed.registry import Registry
    from mdmkit.model.backbone import Backbone


def is_of_file(part: Part) -> bool:
    """True if the part was added with `--plugin`."""
    return part.distribution.startswith("file:")


def of_files(found: Registry) -> list[Part]:
    """The stages, searches, stop rules and constraints that were added with `--plugin`."""
    return [part for part in found.parts if is_of_file(part) and part.kind in STAGES]


def try_parts(
    found: Registry, backbone: Backbone, plain: Mapping[str, str], usable: Callable[[str, bool], str | None]
) -> Iterator[Finding]:
    """Decode a sample with each part of a file.

    Args:
        plain: the names of a score and a select, for a sampler without the part.
        usable: from a kind, and whether it has several alternatives, to the name of such a part; None: there is none.
    """
    for part in of_files(found):
        try:
            yield replace(_tried(part, found, backbone, plain, usable), subject=f"{part}: decode")
        except Exception as error:
            yield Finding(f"{part}: decode", "FAIL", explained(error))


def _tried(part: Part, found: Registry, backbone: Backbone, plain: Mapping[str, str], usable: Any) -> Finding:
    from mdmkit.config.compose import compose, instantiate
    from mdmkit.loop.guard import watched_throughout
    from mdmkit.loop.readiness import check_parts
    from mdmkit.stage.traits import trait

    made = instantiate(part, {}, found)
    nodes = {**plain, part.kind: part.name}
    if part.kind == "lookahead" or (part.kind == "search" and trait("search", made, "chooses")):
        nodes["select"] = usable("select", True) or ""
    elif part.kind == "select" and trait("select", made, "alternatives") > 1:
        nodes["lookahead"] = usable("lookahead", False) or ""
    if lacking := [kind for kind, name in nodes.items() if not name]:
        return Finding("", "skip", f"no {lacking[0]} is installed that it could be tried with")
    sampler = compose(registry=found, plan={"length": checkup.length(backbone)}, **nodes)
    try:
        check_parts(sampler, backbone)
    except MdmkitError as error:
        return Finding("", "skip", str(error))
    with watched_throughout():
        return checkup.decode_sample(backbone, sampler)
