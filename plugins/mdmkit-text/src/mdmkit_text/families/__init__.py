"""The families, one small file each. A new one is a `Family` subclass and an entry in `FAMILIES`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mdmkit import MdmkitError, unknown
from mdmkit_text.families.a2d import A2D
from mdmkit_text.families.decoder import BidirectionalDecoder
from mdmkit_text.families.dream import Dream
from mdmkit_text.families.fast_dllm_v2 import FastDLLMv2
from mdmkit_text.families.llada import LLaDA
from mdmkit_text.families.llada2 import LLaDA2
from mdmkit_text.families.llada_moe import LLaDAMoE
from mdmkit_text.families.masked_lm import MaskedLM
from mdmkit_text.families.sdar import SDAR

if TYPE_CHECKING:
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


def family_of(config: dict[str, Any], ref: str, forced: type[Family] | None = None) -> Family:
    """Find the family that loads a checkpoint with this config.json, or check the requested one.

    Raises:
        MdmkitError: no family claims it, and the error says why; or a field of the config is not supported by the
            family.
    """
    model_type, names = config.get("model_type"), config.get("architectures") or []
    if not isinstance(model_type, str | None):
        raise MdmkitError(f"model {ref!r}: model_type in its config.json must be a text, not {model_type!r}.")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise MdmkitError(
            f"model {ref!r}: architectures in its config.json must be a list of class names, not {names!r}."
        )
    if forced is not None and not forced.forced(config):
        raise MdmkitError(f"model {ref!r} cannot be of family {forced.name}: {_why_not(config)}")
    found = forced or next((family for family in FAMILIES if family.claims(config)), None)
    if found is None:
        raise MdmkitError(f"model {ref!r}: {_why_not(config)}")
    family = found()
    _check_covered(config, ref, family)
    return family


def _check_covered(config: dict[str, Any], ref: str, family: Family) -> None:
    faults = [
        f"{field} is {json.dumps(config[field]) if field in config else 'absent'} (covered: "
        f"{' or '.join(json.dumps(value) for value in values)})"
        for field, values in family.covered(config).items()
        if config.get(field) not in values
    ]
    if faults:
        raise MdmkitError(
            f"model {ref!r}: its config.json has values that family {family.name} does not cover: "
            f"{'; '.join(faults)}. "
            "Its logits would be wrong, so it is refused."
        )


def _why_not(config: dict[str, Any]) -> str:
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    own = [name for family in FAMILIES for name in family.model_types]
    accepted = (
        "Accepted are masked language models (a transformers class ...ForMaskedLM), decoders whose config.json has "
        f'"is_causal": false, and the model types {", ".join(own)}.'
    )
    model_type = config.get("model_type")
    if model_type is None:
        return f"its config.json names no model_type. {accepted}"
    if model_type not in CONFIG_MAPPING:
        close = unknown("model_type", str(model_type), [*CONFIG_MAPPING.keys(), *own]).split(" Known:")[0]
        remote = " Code that comes with a checkpoint (auto_map) is never run." if "auto_map" in config else ""
        return (
            f"{close} The installed transformers has no class for it.{remote} {accepted} Load any other model in your "
            "own code, and wrap it: mdmkit.wrap(model, tokenizer)."
        )
    if model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return (
            f"its config.json describes a causal decoder (model_type {model_type!r}), in which no position attends to "
            "later ones. "
            'If it was trained with bidirectional attention, put "is_causal": false into its config.json. ' + accepted
        )
    return f"model_type {model_type!r} has no masked-language-model class in the installed transformers. {accepted}"
