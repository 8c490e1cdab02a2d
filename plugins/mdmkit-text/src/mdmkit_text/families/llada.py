"""LLaDA (arXiv:2502.09992), its 1.5, iLLaDA, and the text side of MMaDA: bidirectional Llama with other names."""

from __future__ import annotations

from typing import Any, ClassVar

from mdmkit import MdmkitError
from mdmkit_text.families.family import FULL_CACHES, SHARED, Family, bidirectional, flag, number, rope, size
from mdmkit_text.jsonfile import brief

_OFF = (None, False)
_BLOCK = r"^model\.transformer\.blocks\.(\d+)\."
_LAYER = r"model.layers.\1."


class LLaDA(Family):
    """`LlamaForCausalLM`. The mask's id differs between these models, so it is read, never assumed."""

    name = "llada"
    architectures = ("LLaDAModelLM",)
    model_types = ("llada", "mmada")
    end_tokens = ("<|eot_id|>",)
    caches = FULL_CACHES
    divisible = True
    honoured = SHARED - {"max_position_embeddings"} | {
        *("d_model", "n_heads", "n_kv_heads", "n_layers", "mlp_hidden_size", "mlp_ratio", "multi_query_attention"),
        *("vocab_size", "embedding_size", "max_sequence_length", "rms_norm_eps", "weight_tying"),
    }
    key_mapping: ClassVar[dict[str, str] | None] = {
        r"^model\.transformer\.wte\.": "model.embed_tokens.",
        r"^model\.transformer\.ln_f\.": "model.norm.",
        r"^model\.transformer\.ff_out\.": "lm_head.",
        _BLOCK + r"q_proj\.": _LAYER + "self_attn.q_proj.",
        _BLOCK + r"k_proj\.": _LAYER + "self_attn.k_proj.",
        _BLOCK + r"v_proj\.": _LAYER + "self_attn.v_proj.",
        _BLOCK + r"attn_out\.": _LAYER + "self_attn.o_proj.",
        _BLOCK + r"attn_norm\.": _LAYER + "input_layernorm.",
        _BLOCK + r"ff_norm\.": _LAYER + "post_attention_layernorm.",
        _BLOCK + r"ff_proj\.": _LAYER + "mlp.gate_proj.",
        _BLOCK + r"up_proj\.": _LAYER + "mlp.up_proj.",
        _BLOCK + r"ff_out\.": _LAYER + "mlp.down_proj.",
    }

    @classmethod
    def claims(cls, config: dict[str, Any]) -> bool:
        # Mixtures of experts have been published with the same model_type.
        return super().claims(config) and config.get("num_experts") is None

    def covered(self, config: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
        one_key, keys = config.get("multi_query_attention"), config.get("n_kv_heads")
        # None is not among the first four: the reference has another default, so the field must be present.
        return super().covered(config) | {
            "block_type": ("llama",),
            "layer_norm_type": ("rms",),
            "activation_type": ("silu",),
            "rope": (True,),
            "include_bias": _OFF,
            "alibi": _OFF,
            "include_qkv_bias": _OFF,
            "bias_for_layer_norm": _OFF,
            "attention_layer_norm": _OFF,
            "input_emb_norm": _OFF,
            "scale_logits": _OFF,
            "layer_norm_with_affine": (None, True),
            "block_group_size": (None, 1),
            "clip_qkv": (None,),
            "rope_scaling": (None,),
            "partial_rotary_factor": (None, 1),
            "n_kv_heads": (keys,) if one_key is None or keys is None else (1 if one_key else config.get("n_heads"),),
        }

    def native(self, config: dict[str, Any]) -> tuple[Any, Any]:
        from transformers import LlamaForCausalLM

        width, heads = size(config, "d_model"), size(config, "n_heads")
        rows, tokens = size(config, "embedding_size", "vocab_size"), config.get("vocab_size", 0)
        if not isinstance(tokens, int) or tokens > rows:
            raise MdmkitError(f"config.json gives vocab_size {brief(tokens)}, and only {rows} rows (embedding_size).")
        inner = config.get("mlp_hidden_size")
        one_key = config.get("n_kv_heads") is None and bool(config.get("multi_query_attention"))
        native = bidirectional(
            config,
            "llama",
            vocab_size=rows,
            hidden_size=width,
            intermediate_size=size(config, "mlp_ratio", default=4) * width
            if inner is None
            else size(config, "mlp_hidden_size"),
            num_hidden_layers=size(config, "n_layers"),
            num_attention_heads=heads,
            num_key_value_heads=1 if one_key else size(config, "n_kv_heads", "n_heads"),
            max_position_embeddings=size(config, "max_sequence_length", default=1024),
            rms_norm_eps=number(config, "rms_norm_eps", 1e-5),
            rope_parameters=rope(config, 10000.0),
            tie_word_embeddings=flag(config, "weight_tying", True),
        )
        return LlamaForCausalLM, native
