"""Check, before the first forward, that a sampler's parts can work with the model."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from mdmkit.errors import MdmkitError, MdmkitWarning, unknown
from mdmkit.loop.guard import Preparing, Wrong, got, named
from mdmkit.loop.sampler import Sampler
from mdmkit.model.backbone import Backbone, require_cache
from mdmkit.model.cache import AUTO, CACHES, Cache
from mdmkit.model.shadow import SHADOWS
from mdmkit.stage.checking import NEEDED
from mdmkit.stage.traits import trait

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from mdmkit.stage.protocols import Constraint

# Extras that every model has: `written`, the belief at filled positions too.
WRITTEN = "written"
ALWAYS = (WRITTEN,)


def make_cache(sampler: Sampler, backbone: Backbone) -> Cache:
    """Make the sampler's cache.

    Raises:
        MdmkitError: the model does not support it.
    """
    name = backbone.cache if sampler.cache == AUTO else sampler.cache
    require_cache(backbone, name)
    return CACHES[name](backbone.lead, sampler.refresh_every)


def reads_of(sampler: Sampler) -> list[str]:
    """Return the names of all extras that the sampler's parts read, sorted."""
    return sorted({name for kind, part in sampler.stages().items() for name in trait(kind, part, "reads")})


def extras_of(sampler: Sampler) -> tuple[list[str], str | None]:
    """Return the names of the model's extras that the sampler's parts read, and the kind of shadow columns, or None."""
    reads = reads_of(sampler)
    extras = [name for name in reads if name not in (*ALWAYS, *SHADOWS)]
    return extras, next((name for name in reads if name in SHADOWS), None)


def reads_open_only(sampler: Sampler) -> bool:
    """Return True if no part reads beliefs at filled positions: a constraint does, unless it is `whole`."""
    shapes_written = sampler.constraint is not None and not trait("constraint", sampler.constraint, "whole")
    return not shapes_written and WRITTEN not in reads_of(sampler)


def _check_reads(sampler: Sampler, kind: str, reads: Sequence[str], backbone: Backbone) -> None:
    """Refuse a part that reads what the model does not offer."""
    offers = {*backbone.offers, *ALWAYS, *(SHADOWS if backbone.shadows and backbone.mask_id is not None else ())}
    for name in reads:
        if name not in offers:
            raise MdmkitError(
                f"{named(sampler, kind)} reads {name!r}, and backbone {type(backbone).__name__!r} does not offer "
                f"it (it offers: {', '.join(sorted(offers))}). Use another {kind}, or a model that does."
            )


def _check_offers(backbone: Backbone) -> None:
    for name, axes in backbone.offers.items():
        if axes not in ("row", "column", "key"):
            said = unknown("kind of extra", str(axes), ("row", "column", "key"))
            raise MdmkitError(f"backbone {type(backbone).__name__!r} offers {name!r}: {said}")


def check_pair(sampler: Sampler, backbone: Backbone) -> None:
    """Refuse what is no sampler, or no model.

    Raises:
        MdmkitError: it says how to make one.
    """
    if not isinstance(sampler, Sampler):
        raise MdmkitError(
            f"this wants a sampler, not {sampler!r}: compose it first, as in mdmkit.compose('info_gain')."
        )
    if not isinstance(backbone, Backbone):
        raise MdmkitError(f"this wants a model, not {backbone!r}: load it first, as in mdmkit.load('zoo:puzzles').")


def note_without_effect(sampler: Sampler, backbone: Backbone) -> None:
    """Warn of a setting that changes nothing with this model, such as one that a preset has for other models."""
    if sampler.draw.end_penalty and not backbone.endings:
        warnings.warn(
            f"draw.end_penalty={sampler.draw.end_penalty} has no effect: this model has no end or padding token that "
            "it could choose.",
            MdmkitWarning,
            stacklevel=3,
        )

    if (
        sampler.lookahead is not None
        and sampler.search is None
        and trait("select", sampler.select, "alternatives") == 1
    ):
        warnings.warn(
            f"lookahead {sampler.name_of('lookahead')!r} is never asked: select {sampler.name_of('select')!r} "
            "proposes one alternative.",
            MdmkitWarning,
            stacklevel=3,
        )


def prepared(sampler: Sampler, backbone: Backbone, never: Tensor) -> Constraint | None:
    """Return the sampler's constraint with what it needs of the model, or None if the sampler has none.

    Raises:
        MdmkitError: the constraint cannot work with the model.
    """
    prepare = getattr(sampler.constraint, "prepare", None)
    if prepare is None:
        return sampler.constraint
    with Preparing(sampler, "constraint", "prepare"):
        ready = prepare(backbone, never)
        if not all(callable(getattr(ready, method, None)) for method in NEEDED["constraint"]):
            raise Wrong(f"{got(ready)} from prepare; it must return a constraint, with the methods shape and settle.")
        for name in ("whole", "per_prompt"):
            if trait("constraint", ready, name) != trait("constraint", sampler.constraint, name):
                raise Wrong(f"a constraint from prepare whose trait `{name}` is not its own. Give both the same.")
    return ready


def check_parts(sampler: Sampler, backbone: Backbone) -> None:
    """Refuse a sampler that this model cannot run.

    Raises:
        MdmkitError: a part does not fit the model, a part reads an extra that the model does not offer, or guidance
            needs a mask that the model does not have.
    """
    for kind, part in sampler.stages().items():
        if callable(fits := getattr(part, "fits", None)):
            with Preparing(sampler, kind, "fits"):
                fits(backbone)
        _check_reads(sampler, kind, trait(kind, part, "reads"), backbone)
    _check_offers(backbone)
    both = [name for name in reads_of(sampler) if name in SHADOWS]
    if len(both) > 1:
        raise MdmkitError(
            f"two parts of this sampler read {both[0]!r} and {both[1]!r}, and a forward holds shadow columns of one "
            "kind. Use parts that read the same."
        )
    if backbone.mask_id is None and sampler.guidance.scale != 1.0 and not backbone.guided:
        raise MdmkitError(
            f"guidance.scale={sampler.guidance.scale} masks the prompt, and backbone {type(backbone).__name__!r} has "
            "no mask. Set guidance.scale to 1."
        )
    _check_room(sampler, backbone)


def _check_room(sampler: Sampler, backbone: Backbone) -> None:
    """Refuse room for growth that the commit does not use, or that the model would read before it is used."""
    if sampler.plan.room and not trait("commit", sampler.commit, "grows"):
        raise MdmkitError(
            f"plan.room={sampler.plan.room} lets a row grow, and {named(sampler, 'commit')} never brings a place into "
            "a row. Leave plan.room out, or use a commit whose trait `grows` is true."
        )
    if sampler.plan.room and not backbone.pads:
        raise MdmkitError(
            f"plan.room={sampler.plan.room} lets a row grow, and this model takes no attention mask, and so would read "
            "the places before they are in the row. Leave plan.room out, or use a model that can be padded."
        )
