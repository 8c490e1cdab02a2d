"""The families, one small file each. A new one is a `Family` subclass and an entry in `FAMILIES`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from mdmkit import MdmkitError
from mdmkit_text.families.a2d import A2D
from mdmkit_text.families.decoder import BidirectionalDecoder
from mdmkit_text.families.dream import Dream
from mdmkit_text.families.family import BLOCK_FIELDS
from mdmkit_text.families.fast_dllm_v2 import FastDLLMv2
from mdmkit_text.families.llada import LLaDA
from mdmkit_text.families.llada2 import LLaDA2
from mdmkit_text.families.llada_moe import LLaDAMoE
from mdmkit_text.families.masked_lm import MaskedLM
from mdmkit_text.families.refusals import refusal
from mdmkit_text.families.sdar import SDAR
from mdmkit_text.jsonfile import brief
from mdmkit_text.quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mdmkit_text.families.family import Family

# In this order: the first family that claims a checkpoint loads it.
FAMILIES: tuple[type[Family], ...] = (
    LLaDA,
    LLaDAMoE,
    LLaDA2,
    Dream,
    SDAR,
    FastDLLMv2,
    A2D,
    MaskedLM,
    BidirectionalDecoder,
)


def split_family(ref: str) -> tuple[type[Family] | None, str]:
    """Split `family:reference`; None if the reference names no family."""
    name, colon, rest = ref.partition(":")
    return next(((family, rest) for family in FAMILIES if colon and family.name == name), (None, ref))


def family_of(config: dict[str, Any], forced: type[Family] | None = None) -> Family:
    """Find the family that loads a checkpoint with this config, or check the requested one.

    The class in `architectures` decides before `model_type`: two families have been published with one `model_type`.

    Args:
        config: as `read_config` returns it.
        forced: the family that the user named.

    Raises:
        MdmkitError: no family claims it, and the error says why; or a field of the config is not supported by the
            family.
    """
    model_type, names = config.get("model_type"), config.get("architectures") or []
    if not isinstance(model_type, str | None):
        raise MdmkitError(f"model_type in its config.json must be a text, not {brief(model_type)}.")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise MdmkitError(f"architectures in its config.json must be a list of class names, not {brief(names)}.")
    if forced is not None and not forced.forced(config):
        raise MdmkitError(f"it cannot be of family {forced.name}: {_why_not_forced(config)}")
    found = forced or claimed_by(config)
    if found is None:
        raise MdmkitError(_why_not(config))
    family = found()
    try:
        _check_quantized(config, family)
        _check_covered(config, family)
    except MdmkitError as error:
        claiming = None
        if forced is not None:
            with contextlib.suppress(MdmkitError):  # its config.json names two families, and one was chosen
                claiming = claimed_by(config)
        if claiming in (None, found):
            raise
        raise MdmkitError(
            f"{error} Its config.json is that of family {claiming.name}, which loads it if {found.name!r} is left out."
        ) from None
    return family


def build_config(family: Family, config: dict[str, Any]) -> tuple[Any, Any]:
    """Return transformers' model class and its config object.

    Raises:
        MdmkitError: the config lacks a field, or transformers refuses a value.
    """
    try:
        import transformers  # noqa: F401  # before `quiet`, which silences it only if it is there

        with quiet():
            return family.native(config)
    except MdmkitError:
        raise
    except Exception as error:  # each config class checks its values in its own way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MdmkitError(f"transformers could not build the model: {reason}") from error


def claimed_by(config: dict[str, Any]) -> type[Family] | None:
    """Return the family of a config: the one whose class it names, else the first that claims it; None if none does.

    Raises:
        MdmkitError: the class is that of one family, and the model_type that of another.
    """
    named = next((family for family in FAMILIES if family.named(config)), None)
    if named is not None and named.claims(config):
        return named
    # The last families ask transformers for its classes, which takes a second to import.
    claiming = next((family for family in FAMILIES if family.claims(config)), None)
    if named is None or claiming is None or issubclass(named, claiming):
        return named or claiming
    raise MdmkitError(
        f"its config.json contradicts itself: architectures {brief(config['architectures'])} is of family "
        f"{named.name}, and model_type {brief(config['model_type'])} of family {claiming.name}. Name the right one "
        f"before the reference: {named.name}: or {claiming.name}:."
    )


def _check_covered(config: dict[str, Any], family: Family) -> None:
    faults = {
        field: f"{field} is {brief(config[field]) if field in config else 'absent'} (covered: "
        f"{' or '.join(dict.fromkeys(brief(value) for value in values))})"
        for field, values in family.covered(config).items()
        if config.get(field) not in values
    }
    if faults:
        raise MdmkitError(
            f"its config.json has values that family {family.name} does not cover: {'; '.join(faults.values())}. "
            f"Its logits would be wrong, so it is refused.{_way_out(faults, family)}"
        )


def _way_out(faults: Iterable[str], family: Family) -> str:
    """What the owner of a checkpoint with a length of blocks can do."""
    field = next((field for field in BLOCK_FIELDS if field in faults), None)
    if field is None or family.blocks:
        return ""
    shifts = " Blocks with logits that predict the next position are family fast_dllm_v2." if family.lead else ""
    return (
        f" If {field} only says how many tokens its makers fill at once, remove it there and give plan.block. If "
        f"attention ends with the block, family {family.name} has no such models.{shifts}"
    )


def _check_quantized(config: dict[str, Any], family: Family) -> None:
    """Refuse a checkpoint whose weights are stored in another form than the family reads."""
    settings = config.get("quantization_config") if family.honoured is not None else None
    mlx = isinstance(config.get("quantization"), dict)
    if settings is None and not mlx:
        return
    method = settings.get("quant_method") if isinstance(settings, dict) else None
    what = "mlx" if mlx else str(method or f"config.json says quantization_config: {brief(settings, 60)}")
    raise MdmkitError(
        f"its weights are quantised ({what}), and family {family.name} reads weights as they were trained. Give the "
        "checkpoint from which it was made; --model-option quantization=int8, or nf4, makes its weights small while it "
        "loads."
    )


def _why_not_forced(config: dict[str, Any]) -> str:
    """Why a config does not fit the family that the user named: another family claims it, or none does."""
    with contextlib.suppress(MdmkitError):  # its config.json names two families
        if (claiming := claimed_by(config)) is not None:
            return f"its config.json is that of family {claiming.name}, which loads it if no family is named."
    return _why_not(config)


def _why_not(config: dict[str, Any]) -> str:
    return refusal(config, [name for family in FAMILIES for name in family.model_types])
