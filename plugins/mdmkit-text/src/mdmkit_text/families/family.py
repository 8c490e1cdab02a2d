"""A family: one kind of checkpoint, and how it loads into a class that transformers already has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar


class Family(ABC):
    """Says what is peculiar to a kind of checkpoint; everything else is shared.

    Attributes:
        model_types: the `model_type` values in config.json that name this family.
        key_mapping: regex -> replacement, from the checkpoint's weight names to the class's; None keeps them.
        ignored_weights: regexes of weights that the checkpoint may hold and filling in never reads.
        mask_id: the mask's id where neither tokenizer nor config.json names it.
        generates_end: whether the end-of-sequence token may be chosen, and ends the text of a generated answer.
        attention: `"full"` or `"block"`, as in `Backbone.attention`.
        caches: as in `Backbone.caches`.
    """

    model_types: ClassVar[tuple[str, ...]] = ()
    key_mapping: ClassVar[dict[str, str] | None] = None
    ignored_weights: ClassVar[tuple[str, ...]] = ()
    mask_id: ClassVar[int | None] = None
    generates_end: ClassVar[bool] = True
    attention: ClassVar[str] = "full"
    caches: ClassVar[frozenset[str]] = frozenset({"none"})

    @classmethod
    def claims(cls, config: dict[str, Any]) -> bool:
        """Say whether a checkpoint with this config.json is of the family."""
        return config.get("model_type") in cls.model_types

    @abstractmethod
    def native(self, config: dict[str, Any]) -> tuple[Any, Any]:
        """Give transformers' own model class, and its config object built from a config.json.

        Raises:
            MdmkitError: the config has a feature that the native class does not cover.
        """


def native_config(config: dict[str, Any]) -> Any:
    """Build transformers' config object, without what would point it to code in the checkpoint."""
    from transformers import CONFIG_MAPPING

    kept = {key: value for key, value in config.items() if key != "auto_map"}
    return CONFIG_MAPPING[config["model_type"]].from_dict(kept)
