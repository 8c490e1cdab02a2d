"""LLaDA's trunk, which MMaDA and Lumina-DiMOO share: transformers' Llama under other names, bidirectional."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mdmkit import MdmkitError
from mdmkit_image.layout import quiet, why
from mdmkit_image.numbers import named
from mdmkit_image.trunk_config import key_heads, read_trunk_config

_BLOCK, _LAYER = r"^model\.transformer\.blocks\.(\d+)\.", r"model.layers.\1."
_NAMES = {
    "q_proj": "self_attn.q_proj",
    "k_proj": "self_attn.k_proj",
    "v_proj": "self_attn.v_proj",
    "attn_out": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ff_norm": "post_attention_layernorm",
    "ff_proj": "mlp.gate_proj",
    "up_proj": "mlp.up_proj",
    "ff_out": "mlp.down_proj",
}
KEYS = {
    r"^model\.transformer\.wte\.": "model.embed_tokens.",
    r"^model\.transformer\.ln_f\.": "model.norm.",
    r"^model\.transformer\.ff_out\.": "lm_head.",
    **{rf"{_BLOCK}{theirs}\.": f"{_LAYER}{ours}." for theirs, ours in _NAMES.items()},
}


class Trunk:
    """From ids and valid positions to hidden states. The caller applies the head."""

    def __init__(self, model: Any, config: dict[str, Any]):
        self.body, self.head, self.config = model.model, model.lm_head.weight, config
        self.size, self.device = len(self.head), model.device
        self.weights = sum(p.numel() for p in model.parameters())

    @classmethod
    def load(cls, folder: Path, device: str, dtype: torch.dtype) -> Trunk:
        """Read config.json and the weights, safetensors only.

        Raises:
            MdmkitError: a field of the config belongs to another kind of model, or the weights do not fit.
        """
        import transformers

        native_class: Any = transformers.LlamaForCausalLM
        config_class: Any = transformers.LlamaConfig
        config = read_trunk_config(folder)
        try:
            native = config_class(
                vocab_size=config.get("embedding_size") or config["vocab_size"],
                hidden_size=config["d_model"],
                intermediate_size=config.get("mlp_hidden_size") or (config.get("mlp_ratio") or 4) * config["d_model"],
                num_hidden_layers=config["n_layers"],
                num_attention_heads=config["n_heads"],
                num_key_value_heads=key_heads(config),
                max_position_embeddings=config.get("max_sequence_length") or 1024,
                rms_norm_eps=config.get("rms_norm_eps", 1e-5),
                rope_theta=config.get("rope_theta", 10000.0),
                tie_word_embeddings=config.get("weight_tying", True),
                use_cache=False,
            )
            native.is_causal = False
            with quiet():
                model, report = native_class.from_pretrained(
                    folder, config=native, dtype=dtype, key_mapping=KEYS, use_safetensors=True, output_loading_info=True
                )
        except Exception as error:  # transformers raises many unrelated types
            raise MdmkitError(f"{folder} cannot be loaded as a LLaDA checkpoint: {why(error)}") from error
        astray = sorted({*report["missing_keys"], *report["unexpected_keys"]})
        if astray:
            raise MdmkitError(f"{folder}: weights are missing, or belong to another model: {', '.join(astray[:8])}.")
        _check_tied(folder, model, native)
        return cls(model.to(device).eval().requires_grad_(False), config)

    def tensors(self) -> dict[str, Tensor]:
        """Its weights, by transformers' names."""
        return named("model", self.body) | {"lm_head.weight": self.head}

    def __call__(self, ids: Tensor, valid: Tensor) -> Tensor:
        """Hidden states [M, T, D] of ids int64 [M, T]; padding, where valid bool [M, T] is False, is never read."""
        positions = (valid.long().cumsum(1) - 1).clamp_min(0)
        seen = valid[:, None, None, :].expand(-1, 1, ids.shape[1], -1)
        return self.body(ids, attention_mask=seen, position_ids=positions, use_cache=False).last_hidden_state


def _check_tied(folder: Path, model: Any, native: Any) -> None:
    """Refuse two different embeddings where the config says that there is one: transformers would keep both."""
    rows, columns = model.model.embed_tokens.weight, model.lm_head.weight
    if native.tie_word_embeddings and rows is not columns and not torch.equal(rows, columns):
        raise MdmkitError(
            f"{folder}: the weights hold two different embeddings for input and output, and config.json says that "
            "there is one (weight_tying is true, or absent). If the model was trained with both, set weight_tying to "
            "false there."
        )
