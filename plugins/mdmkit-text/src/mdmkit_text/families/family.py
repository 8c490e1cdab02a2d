"""A family: one kind of checkpoint, and how it loads into a class that transformers already has."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from mdmkit import MdmkitError
from mdmkit_text.config import AT_TOP, by_layer
from mdmkit_text.jsonfile import brief

if TYPE_CHECKING:
    from torch import Tensor


class Family(ABC):
    """The properties of one kind of checkpoint; everything else is shared.

    Attributes:
        name: the prefix that sets the family, as in `name:reference`.
        architectures: the class names in `architectures` of config.json that only this family has.
        model_types: the `model_type` values in config.json of this family; transformers has no class for them.
        honoured: the fields of config.json that the family reads. None: all, since the class is that of the
            `model_type`, and reads its own config.
        control_tokens: tokens with which a model does more than fill masks, and what it does with them. A checkpoint
            whose tokenizer has one is refused. One is common to all, since any of them may be trained further with it.
        key_mapping: regex -> replacement, from the checkpoint's weight names to the class's; None keeps them.
        ignored_weights: regexes of weights that the checkpoint may hold, and that are not needed to fill masks.
        mask_id: the mask's id if neither tokenizer nor config.json names it.
        end_tokens: names of tokens that end an answer, in addition to the tokenizer's end-of-sequence token.
        generates_end: True if the end-of-sequence token may be chosen, and ends a generated answer.
        caches: as in `Backbone.caches`, if attention is full; the exact one is the default.
        blocks: True if attention may be by blocks, of which `BLOCK_CACHES` are the caches.
        lead: as in `Backbone.lead`.
        divisible: True if the model can be divided over processes (see `mdmkit_text.tensor_parallel`).
        undivided: parts of the names of weights that every process holds whole, if the model is divided.
    """

    name: ClassVar[str]
    architectures: ClassVar[tuple[str, ...]] = ()
    model_types: ClassVar[tuple[str, ...]] = ()
    honoured: ClassVar[frozenset[str] | None] = None
    control_tokens: ClassVar[dict[str, str]] = {
        "<|expand|>": "turns one mask into two, or into none, while it decodes, as DreamOn does"
    }
    key_mapping: ClassVar[dict[str, str] | None] = None
    ignored_weights: ClassVar[tuple[str, ...]] = ()
    mask_id: ClassVar[int | None] = None
    end_tokens: ClassVar[tuple[str, ...]] = ()
    generates_end: ClassVar[bool] = True
    caches: ClassVar[frozenset[str]] = frozenset({"none"})
    blocks: ClassVar[bool] = False
    lead: ClassVar[int] = 0
    divisible: ClassVar[bool] = False
    undivided: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def claims(cls, config: dict[str, Any]) -> bool:
        """Return True if a checkpoint with this config.json belongs to the family, by its `model_type`."""
        return config.get("model_type") in cls.model_types

    @classmethod
    def named(cls, config: dict[str, Any]) -> bool:
        """Return True if `architectures` names a class of this family, whatever the `model_type` is."""
        return not {*cls.architectures}.isdisjoint(config.get("architectures") or ())

    @classmethod
    def forced(cls, config: dict[str, Any]) -> bool:
        """Return True if the family accepts such a checkpoint when the user names the family."""
        return bool(cls.model_types) or cls.claims(config)

    def covered(self, config: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
        """Return the fields of config.json that change the computation, and the values that `native` supports.

        None stands for a field that is null or absent: allowed if the reference then computes what `native` does, or
        if the names and shapes of the weights decide.
        """
        # A model of any family may be trained further with blocks, or with a token that grows the row.
        read = {"block_size"} if self.honoured is None else self.honoured
        own = next((config[field] for field in BLOCK_FIELDS if field in read and field in config), None)
        elsewhere = {field: (None,) if own is None else (None, own) for field in BLOCK_FIELDS if field not in read}
        # A class of transformers reads its own config, and has layers with local attention where that says so.
        local = {} if self.honoured is None else _full_attention(config)
        return elsewhere | local | {"expand_token_id": (None,)}

    @abstractmethod
    def native(self, config: dict[str, Any]) -> tuple[Any, Any]:
        """Return transformers' model class, and its config object, built from a config.json.

        Raises:
            MdmkitError: the config lacks a field.
        """

    def block(self, config: dict[str, Any], ref: str = "") -> int | None:
        """Length of the attention blocks, counted from a row's first token; None: attention is full.

        Args:
            config: as `read_config` returns it.
            ref: how the user named the model.

        Raises:
            MdmkitError: config.json gives a value that is not a length, or none where the model's name gives another
                one than the family's default.
        """
        return None

    def align(self, hidden: Tensor, positions: Tensor) -> Tensor:
        """Move hidden states [M, L, D] to the positions int64 [M, L] that they predict; position 0 begins a row."""
        return hidden


# The length of attention's blocks, as makers of models name it.
BLOCK_FIELDS = ("block_size", "bd_size", "block_length")
FULL_CACHES = frozenset({"none", "prefix", "dual"})
BLOCK_CACHES = frozenset({"none", "block"})
# Read from config.json of every family: which family and tokens it has, and the length of its rows.
SHARED = frozenset(
    {
        *("model_type", "architectures", "max_position_embeddings", "rope_parameters", "rope_theta", "dtype"),
        *("torch_dtype", "bos_token_id", "eos_token_id", "pad_token_id", "mask_token_id"),
    }
)
# The sizes of a decoder, under the names of transformers.
DECODER = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
DENSE = (*DECODER, "intermediate_size", "num_key_value_heads")
_ROPE = (*AT_TOP, "rope_scaling")
_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "mask_token_id")


def shifted(hidden: Tensor, positions: Tensor) -> Tensor:
    """Undo a shift by one: the state of position i − 1 predicts position i.

    Position 0 has no left neighbour, so it keeps its own state, as in the reference code. A window also needs the state
    to its left: see `Backbone.lead`.
    """
    return torch.where((positions == 0)[..., None], hidden, hidden.roll(1, 1))


def _full_attention(config: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    """The fields that give a layer local attention, and their values for full attention in every layer."""
    layers = config.get("layer_types")
    every = ["full_attention"] * len(layers) if isinstance(layers, list) else None
    return {"use_sliding_window": (None, False), "layer_types": (None, every)}


def native_config(config: dict[str, Any], **changes: Any) -> Any:
    """Build transformers' config object, without fields that refer to code in the checkpoint."""
    from transformers import CONFIG_MAPPING

    kept = {key: value for key, value in config.items() if key != "auto_map"} | changes
    if kept.get("rope_parameters") is not None and not by_layer(kept["rope_parameters"]):
        # The class reads nothing at the top then, so what stands only there goes in.
        top = {key: kept[key] for key in AT_TOP if kept.get(key) is not None}
        kept = {key: value for key, value in kept.items() if key not in _ROPE}
        kept["rope_parameters"] = top | kept["rope_parameters"]
    return CONFIG_MAPPING[kept["model_type"]].from_dict(kept)


def bidirectional(config: dict[str, Any], model_type: str, **fields: Any) -> Any:
    """Build the config object of a decoder without the causal mask, from these fields and the special ids only.

    No other field of config.json reaches the class, so none can change what it computes. An absent id is None, and not
    the default of the class, which belongs to another tokenizer.
    """
    kept = {name: config.get(name) for name in _IDS}
    kept |= {name: config[name] for name in ("dtype", "torch_dtype") if name in config}
    return native_config(kept, model_type=model_type, is_causal=False, use_cache=False, **fields)


def rope(config: dict[str, Any], theta: float | None, **more: Any) -> dict[str, Any]:
    """Return `rope_parameters` of unscaled positions; `theta` is the reference's default, None if it has none.

    Raises:
        MdmkitError: the base is missing or no number, or settings differ from layer to layer.
    """
    if by_layer(config.get("rope_parameters")):
        raise MdmkitError(
            f"config.json gives rope_parameters for each kind of layer ({brief(config['rope_parameters'])}), and "
            "models of this family have one setting for all layers."
        )
    return {"rope_type": "default", "rope_theta": number(config, "rope_theta", theta), **more}


def number(config: dict[str, Any], name: str, default: float | None) -> float:
    """Read a number above 0; an absent field has the reference's default, None if it must be there.

    Raises:
        MdmkitError: the field is no such number.
    """
    value = config.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise MdmkitError(f"config.json must give {name} as a number above 0, and gives {brief(value)}.")
    return value


def flag(config: dict[str, Any], name: str, default: bool) -> bool:
    """Read true or false; an absent field has the reference's default.

    Raises:
        MdmkitError: the field is neither.
    """
    value = config.get(name, default)
    if not isinstance(value, bool):
        raise MdmkitError(f"config.json must give {name} as true or false, and gives {brief(value)}.")
    return value


def size(config: dict[str, Any], *names: str, default: int | None = None) -> int:
    """Read a size from the first of these fields that exists; if none does, it is the reference's default.

    Raises:
        MdmkitError: none exists and there is no default, or the value is not a whole number above 0.
    """
    value = next((config[name] for name in names if config.get(name) is not None), default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        field = " or ".join(names)
        raise MdmkitError(f"config.json must give {field} as a whole number of at least 1, and gives {brief(value)}.")
    return value


def sizes(config: dict[str, Any], *names: str) -> dict[str, int]:
    """Read several sizes, each from the field of its own name, without a default."""
    return {name: size(config, name) for name in names}


def shared_width(config: dict[str, Any]) -> int:
    """Return the width of one head if the heads share the model's width."""
    return size(config, "hidden_size") // size(config, "num_attention_heads")


def head_dim(config: dict[str, Any]) -> int:
    """Read the width of one head; an absent one is `shared_width`."""
    return size(config, "head_dim", default=shared_width(config))
