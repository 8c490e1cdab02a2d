"""LLaDA (arXiv:2502.09992), its 1.5, iLLaDA, and the text side of MMaDA: bidirectional Llama with other names."""

from __future__ import annotations

from typing import Any, ClassVar

from mdmkit_text.families.family import FULL_CACHES, Family, native_config, size

_OFF = (None, False)
_BLOCK = r"^model\.transformer\.blocks\.(\d+)\."
_LAYER = r"model.layers.\1."


class LLaDA(Family):
    """`LlamaForCausalLM`. The mask's id differs between these models, so it is read, never assumed."""

    name = "llada"
    model_types = ("llada", "mmada")
    end_tokens = ("<|eot_id|>",)
    caches = FULL_CACHES
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

    def covered(self, config: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
        # None is not allowed: the reference has another default, so the field must be present.
        return {
            "block_type": ("llama",),
            "layer_norm_type": ("rms",),
            "activation_type": ("silu",),
            "rope": (True,),
            "include_bias": (False,),
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
        }

    def native(self, config: dict[str, Any]) -> tuple[Any, Any]:
        from transformers import LlamaForCausalLM

        width, heads = size(config, "d_model"), size(config, "n_heads")
        inner = config.get("mlp_hidden_size")
        one_key = config.get("n_kv_heads") is None and bool(config.get("multi_query_attention"))
        ids = {f"{name}_token_id": config.get(f"{name}_token_id") for name in ("bos", "eos", "pad", "mask")}
        native = native_config(
            ids,
            model_type="llama",
            vocab_size=size(config, "embedding_size", "vocab_size"),
            hidden_size=width,
            intermediate_size=size(config, "mlp_ratio") * width if inner is None else size(config, "mlp_hidden_size"),
            num_hidden_layers=size(config, "n_layers"),
            num_attention_heads=heads,
            num_key_value_heads=1 if one_key else size(config, "n_kv_heads", "n_heads"),
            max_position_embeddings=size(config, "max_sequence_length"),
            rms_norm_eps=config.get("rms_norm_eps", 1e-5),
            rope_theta=config.get("rope_theta", 10000.0),
            tie_word_embeddings=bool(config.get("weight_tying", True)),
            is_causal=False,
            use_cache=False,
        )
        return LlamaForCausalLM, native
