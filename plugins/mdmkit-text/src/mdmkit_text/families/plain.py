"""The small decoders that come with the toolkit: Llama without the causal mask, computed without transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mdmkit_text.families.decoder import BidirectionalDecoder
from mdmkit_text.families.family import SHARED, flag, head_dim, number, rope, size, sizes

if TYPE_CHECKING:
    from mdmkit_text.plain.decoder import Settings

_SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "mask_token_id")


class Plain(BidirectionalDecoder):
    """A Llama decoder without biases and without scaled positions, in `mdmkit_text.plain`.

    It is not in `FAMILIES`: a model directory asks for it in `mdmkit.json`. For models of a few million weights the
    import of transformers takes longer than a decode. Every other checkpoint is loaded into the class of transformers,
    which is better kept than ours; so is this one, if the user names a family, as in `decoder:./directory`.
    """

    name = "plain"
    own = True
    honoured = SHARED | {*_SIZES, "num_key_value_heads", "head_dim", "rms_norm_eps", "tie_word_embeddings"}

    @classmethod
    def claims(cls, config: dict[str, Any]) -> bool:
        return False

    @classmethod
    def forced(cls, config: dict[str, Any]) -> bool:
        return True

    def covered(self, config: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
        return super().covered(config) | {
            "model_type": ("llama",),
            "is_causal": (False,),
            "hidden_act": (None, "silu"),
            "attention_bias": (None, False),
            "mlp_bias": (None, False),
            "rope_scaling": (None,),
            "partial_rotary_factor": (None, 1),
            "layer_types": (None,),
        }

    def settings(self, config: dict[str, Any]) -> Settings:
        """Read the sizes.

        Raises:
            MdmkitError: one is missing or of the wrong kind.
        """
        from mdmkit_text.plain.decoder import Settings

        ids: dict[str, Any] = {name: config.get(name) for name in _IDS}
        return Settings(
            **sizes(config, *_SIZES),
            num_key_value_heads=size(config, "num_key_value_heads", default=size(config, "num_attention_heads")),
            head_dim=head_dim(config),
            max_position_embeddings=size(config, "max_position_embeddings"),
            rms_norm_eps=number(config, "rms_norm_eps", 1e-6),
            rope_theta=rope(config, None)["rope_theta"],
            tie_word_embeddings=flag(config, "tie_word_embeddings", False),
            **ids,
        )
