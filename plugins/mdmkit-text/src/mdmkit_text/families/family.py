"""A family: one kind of checkpoint, and how it loads into a class that transformers already has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from mdmkit import MdmkitError

if TYPE_CHECKING:
    from torch import Tensor


class Family(ABC):
    """The properties of one kind of checkpoint; everything else is shared.

    Attributes:
        name: the prefix that sets the family, as in `name:reference`.
        model_types: the `model_type` values in config.json of this family; transformers has no class for them.
        key_mapping: regex -> replacement, from the checkpoint's weight names to the class's; None keeps them.
        ignored_weights: regexes of weights that the checkpoint may hold, and that are not needed to fill masks.
        mask_id: the mask's id if neither tokenizer nor config.json names it.
        end_tokens: names of tokens that end an answer, in addition to the tokenizer's end-of-sequence token.
        generates_end: True if the end-of-sequence token may be chosen, and ends a generated answer.
        caches: as in `Backbone.caches`; the exact one is the default.
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
        """Return True if a checkpoint with this config.json belongs to the family."""
        return config.get("model_type") in cls.model_types

    @classmethod
    def forced(cls, config: dict[str, Any]) -> bool:
        """Return True if the family accepts such a checkpoint when the user names the family."""
        return bool(cls.model_types) or cls.claims(config)

    def covered(self, config: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
        """Return the fields of config.json that change the computation, and the values that `native` supports.

        None stands for a field that is null or absent.
        """
        return {}

    @abstractmethod
    def native(self, config: dict[str, Any]) -> tuple[Any, Any]:
        """Return transformers' model class, and its config object, built from a config.json.

        Raises:
            MdmkitError: the config lacks a field.
        """

    def block(self, config: dict[str, Any]) -> int | None:
        """Length of the attention blocks, counted from a row's first token; None: attention is full.

        Raises:
            MdmkitError: config.json gives a value that is not a length.
        """
        return None

    def align(self, hidden: Tensor, positions: Tensor) -> Tensor:
        """Move hidden states [M, L, D] to the positions int64 [M, L] that they predict; position 0 begins a row."""
        return hidden


FULL_CACHES = frozenset({"none", "prefix", "dual"})
BLOCK_CACHES = frozenset({"none", "block"})


def shifted(hidden: Tensor, positions: Tensor) -> Tensor:
    """Undo a shift by one: the state of position i − 1 predicts position i.

    Position 0 has no left neighbour, so it keeps its own state, as in the reference code. A window also needs the state
    to its left: see `Backbone.lead`.
    """
    return torch.where((positions == 0)[..., None], hidden, hidden.roll(1, 1))


def native_config(config: dict[str, Any], **changes: Any) -> Any:
    """Build transformers' config object, without fields that refer to code in the checkpoint."""
    from transformers import CONFIG_MAPPING

    kept = {key: value for key, value in config.items() if key != "auto_map"} | changes
    return CONFIG_MAPPING[kept["model_type"]].from_dict(kept)


def size(config: dict[str, Any], *names: str) -> int:
    """Read a size from the first of these fields that exists.

    Raises:
        MdmkitError: none exists, or the value is not a whole number above 0.
    """
    value = next((config[name] for name in names if config.get(name) is not None), None)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        field = " or ".join(names)
        raise MdmkitError(f"config.json must give {field} as a whole number of at least 1, and gives {value!r}.")
    return value


def require_sizes(config: dict[str, Any], *more: str) -> None:
    """Check that a config.json with transformers' own field names gives the model's sizes.

    The defaults of the class are those of a model with billions of weights. Without this check, such a model would be
    built before the error is found.

    Raises:
        MdmkitError: as `size`.
    """
    for name in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", *more):
        size(config, name)
