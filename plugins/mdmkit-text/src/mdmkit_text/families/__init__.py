"""The families, one small file each. A new one is a `Family` subclass and an entry in `FAMILIES`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mdmkit.errors import MdmkitError, unknown
from mdmkit_text.families.decoder import BidirectionalDecoder
from mdmkit_text.families.masked_lm import MaskedLM

if TYPE_CHECKING:
    from mdmkit_text.families.family import Family

# Asked in this order; the first that claims a checkpoint loads it.
FAMILIES: tuple[type[Family], ...] = (MaskedLM, BidirectionalDecoder)


def family_of(config: dict[str, Any], ref: str) -> Family:
    """Find the family that loads a checkpoint with this config.json.

    Raises:
        MdmkitError: no family claims it, with the reason.
    """
    model_type, names = config.get("model_type"), config.get("architectures") or []
    if not isinstance(model_type, str | None):
        raise MdmkitError(f"model {ref!r}: model_type in its config.json must be a text, not {model_type!r}.")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise MdmkitError(
            f"model {ref!r}: architectures in its config.json must be a list of class names, not {names!r}."
        )
    for family in FAMILIES:
        if family.claims(config):
            return family()
    raise MdmkitError(f"model {ref!r}: {_why_not(config)}")


def _why_not(config: dict[str, Any]) -> str:
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    accepted = (
        "Accepted are masked language models (a transformers class ...ForMaskedLM) and decoders whose config.json has "
        '"is_causal": false.'
    )
    model_type = config.get("model_type")
    if model_type is None:
        return f"its config.json names no model_type. {accepted}"
    own = [name for family in FAMILIES for name in family.model_types]
    if model_type not in CONFIG_MAPPING:
        close = unknown("model_type", str(model_type), [*CONFIG_MAPPING.keys(), *own]).split(" Known:")[0]
        remote = " Code that comes with a checkpoint (auto_map) is never run." if "auto_map" in config else ""
        return f"{close} The installed transformers has no class for it.{remote} {accepted}"
    if model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return (
            f"its config.json describes a causal decoder (model_type {model_type!r}), which cannot look past a mask. "
            'If it was trained with bidirectional attention, put "is_causal": false into its config.json. ' + accepted
        )
    return f"model_type {model_type!r} has no masked-language-model class in the installed transformers. {accepted}"
