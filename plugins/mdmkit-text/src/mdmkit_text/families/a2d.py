"""A2D checkpoints: autoregressive models of transformers' own classes, trained further as bidirectional ones."""

from __future__ import annotations

from typing import Any

from mdmkit_text.families.decoder import BidirectionalDecoder


class A2D(BidirectionalDecoder):
    """The class of the original model: `a2d-qwen3` is a Qwen3."""

    name = "a2d"
    architectures = ("A2DLlamaLMHeadModel", "A2DQwen2LMHeadModel", "A2DQwen3LMHeadModel")
    model_types = ("a2d-llama", "a2d-qwen2", "a2d-qwen3")
    end_tokens = ("<|im_end|>", "<|eot_id|>")

    @classmethod
    def claims(cls, config: dict[str, Any]) -> bool:
        return config.get("model_type") in cls.model_types

    @classmethod
    def forced(cls, config: dict[str, Any]) -> bool:
        return cls.claims(config) or super().forced(config)

    def native(self, config: dict[str, Any]) -> tuple[Any, Any]:
        return super().native(config | {"model_type": str(config.get("model_type")).removeprefix("a2d-")})
