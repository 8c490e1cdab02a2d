"""A family: one kind of checkpoint, and how it loads into a class that transformers already has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from mdmkit import MdmkitError

if TYPE_CHECKING:
    from torch import Tensor


class Family(ABC):
    """Says what is peculiar to a kind of checkpoint; everything else is shared.

    Attributes:
        name: what forces the family, as in `name:reference`.
        model_types: the `model_type` values in config.json that name this family and no class of transformers.
        key_mapping: regex -> replacement, from the checkpoint's weight names to the class's; None keeps them.
        ignored_weights: regexes of weights that the checkpoint may hold and filling in never reads.
        mask_id: the mask's id where neither tokenizer nor config.json names it.
        end_tokens: tokens that end an answer beside the tokenizer's end-of-sequence token, by name.
        generates_end: whether the end-of-sequence token may be chosen, and ends the text of a generated answer.
        caches: as in `Backbone.caches`; the exact one is used unless another is asked for.
        lead: as in `Backbone.lead`.
    """

    name: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]] = ()
    key_mapping: ClassVar[dict[str, str] | None] = None
    ignored_weights: ClassVar[tuple[str, ...]] = ()
    mask_id: ClassVar[int | None] = None
    end_tokens: ClassVar[tuple[str, ...]] = ()
    generates_end: ClassVar[bool] = True
    caches: ClassVar[frozenset[str]] = frozenset({"none"})
    lead: ClassVar[int] = 0

    @classmethod
    def claims(cls, config: dict[str, Any]) -> bool:
        """Say whether a checkpoint with this config.json is of the family."""
        return config.get("model_type") in cls.model_types

    @classmethod
    def forced(cls, config: dict[str, Any]) -> bool:
        """Say whether the family takes such a checkpoint where the user asks for it by name."""
        return bool(cls.model_types) or cls.claims(config)

    def covered(self, config: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
        """Give the fields of config.json that change what the model computes, and the values that `native` handles.

        None stands for a field that is null or absent.
        """
        return {}

    @abstractmethod
    def native(self, config: dict[str, Any]) -> tuple[Any, Any]:
        """Give transformers' own model class, and its config object built from a config.json.

        Raises:
            MdmkitError: the config lacks a field.
        """

    def block(self, config: dict[str, Any]) -> int | None:
        """Length of the blocks, counted from a row's first token, at whose ends attention ends; None: it is full.

        Raises:
            MdmkitError: config.json gives one that is no length.
        """
        return None

    def align(self, hidden: Tensor, positions: Tensor) -> Tensor:
        """Move hidden states [M, L, D] to the positions int64 [M, L] that they speak of; position 0 starts a row."""
        return hidden


FULL_CACHES = frozenset({"none", "prefix", "dual"})
BLOCK_CACHES = frozenset({"none", "block"})


def shifted(hidden: Tensor, positions: Tensor) -> Tensor:
    """Undo a shift by one: the state behind position i − 1 is what speaks of position i.

    Position 0 has no left neighbour and keeps its own, as the references have it. A window needs the state to the left
    of it as well: see `Backbone.lead`.
    """
    return torch.where((positions == 0)[..., None], hidden, hidden.roll(1, 1))


def native_config(config: dict[str, Any], **changes: Any) -> Any:
    """Build transformers' config object, without what would point it to code in the checkpoint."""
    from transformers import CONFIG_MAPPING

    kept = {key: value for key, value in config.items() if key != "auto_map"} | changes
    return CONFIG_MAPPING[kept["model_type"]].from_dict(kept)


def size(config: dict[str, Any], *names: str) -> int:
    """Read a size from the first of these fields that is there.

    Raises:
        MdmkitError: none is, or it is no whole number above 0.
    """
    value = next((config[name] for name in names if config.get(name) is not None), None)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        field = " or ".join(names)
        raise MdmkitError(f"config.json must give {field} as a whole number of at least 1, and gives {value!r}.")
    return value


def require_sizes(config: dict[str, Any], *more: str) -> None:
    """Check that a config.json with transformers' own field names gives the model's sizes.

    The class's defaults are those of a model with billions of weights, which would be built before it is found to be
    the wrong one.

    Raises:
        MdmkitError: as `size`.
    """
    for name in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", *more):
        size(config, name)
