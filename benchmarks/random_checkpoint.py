"""Write a checkpoint of a large model's shape with random weights, in the model's own format, shard by shard.

python benchmarks/random_checkpoint.py llada-8b DIR              # 16 GB
python benchmarks/random_checkpoint.py sdar-8b DIR --layers 2    # a quick look on a small machine
mdmkit decode --model DIR --prompt-ids "5 7 9" --set plan.length=32

No more than one shard is in memory. There is no tokenizer: prompts are token ids.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file

SHARD_BYTES = 2 << 30
# Standard deviation of the logits: enough that some tokens are near certain, as in a trained model, and others are not.
LOGIT_STD = 7.0


@dataclass(frozen=True)
class Shape:
    """Sizes of a transformer, and the ids that mean something."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    vocab: int
    mask: int
    end: int
    rope: float
    positions: int

    @property
    def small(self) -> Shape:
        """The same in miniature, for a test."""
        few = {"hidden": 64, "inner": 96, "layers": 2, "heads": 4, "kv_heads": 2, "head": 16}
        return replace(self, **few, vocab=256, mask=250, end=251, positions=512)


def llada(s: Shape) -> tuple[dict, dict[str, tuple[int, ...]]]:
    config = {
        "architectures": ["LLaDAModelLM"],
        "model_type": "llada",
        "activation_type": "silu",
        "alibi": False,
        "attention_layer_norm": False,
        "bias_for_layer_norm": False,
        "block_group_size": 1,
        "block_type": "llama",
        "d_model": s.hidden,
        "embedding_size": s.vocab,
        "eos_token_id": s.end,
        "include_bias": False,
        "include_qkv_bias": False,
        "input_emb_norm": False,
        "layer_norm_type": "rms",
        "layer_norm_with_affine": True,
        "mask_token_id": s.mask,
        "max_sequence_length": s.positions,
        "mlp_hidden_size": s.inner,
        "n_heads": s.heads,
        "n_kv_heads": s.kv_heads,
        "n_layers": s.layers,
        "pad_token_id": s.end,
        "rms_norm_eps": 1e-5,
        "rope": True,
        "rope_theta": s.rope,
        "scale_logits": False,
        "vocab_size": s.vocab,
        "weight_tying": False,
    }
    parts = layer_parts(s, "attn_norm", "ff_norm", "{}_proj", "attn_out", ("ff_proj", "up_proj", "ff_out"))
    weights = {"model.transformer.wte.weight": (s.vocab, s.hidden)}
    for i in range(s.layers):
        weights |= {f"model.transformer.blocks.{i}.{name}": shape for name, shape in parts.items()}
    weights |= {
        "model.transformer.ln_f.weight": (s.hidden,),
        "model.transformer.ff_out.weight": (s.vocab, s.hidden),
    }
    return config, weights


def qwen(s: Shape, config: dict, extra: dict[str, tuple[int, ...]]) -> tuple[dict, dict[str, tuple[int, ...]]]:
    config |= {
        "hidden_act": "silu",
        "hidden_size": s.hidden,
        "intermediate_size": s.inner,
        "num_hidden_layers": s.layers,
        "num_attention_heads": s.heads,
        "num_key_value_heads": s.kv_heads,
        "head_dim": s.head,
        "vocab_size": s.vocab,
        "mask_token_id": s.mask,
        "eos_token_id": s.end,
        "pad_token_id": s.end,
        "max_position_embeddings": s.positions,
        "rms_norm_eps": 1e-6,
        "rope_theta": s.rope,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
    }
    norms = ("input_layernorm", "post_attention_layernorm")
    mlp = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
    parts = layer_parts(s, *norms, "self_attn.{}_proj", "self_attn.o_proj", mlp) | extra
    weights = {"model.embed_tokens.weight": (s.vocab, s.hidden)}
    for i in range(s.layers):
        weights |= {f"model.layers.{i}.{name}": shape for name, shape in parts.items()}
    return config, weights | {"model.norm.weight": (s.hidden,), "lm_head.weight": (s.vocab, s.hidden)}


def dream(s: Shape) -> tuple[dict, dict[str, tuple[int, ...]]]:
    sizes = {"q": s.heads * s.head, "k": s.kv_heads * s.head, "v": s.kv_heads * s.head}
    biases = {f"self_attn.{name}_proj.bias": (size,) for name, size in sizes.items()}
    return qwen(s, {"architectures": ["DreamModel"], "model_type": "Dream"}, biases)


def sdar(s: Shape) -> tuple[dict, dict[str, tuple[int, ...]]]:
    norms = {f"self_attn.{name}_norm.weight": (s.head,) for name in ("q", "k")}
    config = {"architectures": ["SDARForCausalLM"], "model_type": "sdar", "block_size": 4, "attention_bias": False}
    return qwen(s, config, norms)


def layer_parts(
    s: Shape, before: str, after: str, qkv: str, out: str, mlp: tuple[str, str, str]
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of one layer's weights, without the layer's own prefix."""
    wide, narrow = s.heads * s.head, s.kv_heads * s.head
    gate, up, down = mlp
    shapes = {
        before: (s.hidden,),
        qkv.format("q"): (wide, s.hidden),
        qkv.format("k"): (narrow, s.hidden),
        qkv.format("v"): (narrow, s.hidden),
        out: (s.hidden, wide),
        after: (s.hidden,),
        gate: (s.inner, s.hidden),
        up: (s.inner, s.hidden),
        down: (s.hidden, s.inner),
    }
    return {f"{name}.weight": shape for name, shape in shapes.items()}


# name -> (format, sizes): those of the published checkpoints.
MODELS = {
    "llada-8b": (llada, Shape(4096, 12288, 32, 32, 32, 128, 126464, 126336, 126081, 500000.0, 4096)),
    "dream-7b": (dream, Shape(3584, 18944, 28, 28, 4, 128, 152064, 151666, 151643, 1e6, 131072)),
    "sdar-8b": (sdar, Shape(4096, 12288, 36, 32, 8, 128, 151936, 151669, 151643, 1e6, 32768)),
}


def shape_of(name: str, layers: int | None = None, small: bool = False) -> Shape:
    shape = MODELS[name][1]
    shape = shape.small if small else shape
    return shape if layers is None else replace(shape, layers=layers)


def write(name: str, folder: Path, shape: Shape, *, seed: int = 0, shard_bytes: int = SHARD_BYTES) -> int:
    """Write config.json, the shards and their index; return the number of weights."""
    config, weights = MODELS[name][0](shape)
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    shards = list(shared_out(weights, shard_bytes))
    index = {}
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file({key: drawn(key, weights[key], generator) for key in names}, folder / file, {"format": "pt"})
        index |= dict.fromkeys(names, file)
    count = sum(size(dims) for dims in weights.values())
    told = {"metadata": {"total_size": 2 * count}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(told, indent=1))
    (folder / "config.json").write_text(json.dumps(config | {"torch_dtype": "bfloat16"}, indent=1))
    return count


def drawn(key: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """One weight: norms are 1; every layer's output is as large as its input, so that nothing overflows."""
    if "norm" in key or "ln_f" in key:
        return torch.ones(shape, dtype=torch.bfloat16)
    if key.endswith("bias"):
        return torch.zeros(shape, dtype=torch.bfloat16)
    embedding = "wte" in key or "embed_tokens" in key
    head = key in ("lm_head.weight", "model.transformer.ff_out.weight")
    std = 1.0 if embedding else (LOGIT_STD if head else 1.0) * shape[1] ** -0.5
    return torch.empty(shape, dtype=torch.bfloat16).normal_(0, std, generator=generator)


def shared_out(weights: dict[str, tuple[int, ...]], limit: int) -> Iterator[list[str]]:
    """Share weights out over files of at most `limit` bytes, or one weight."""
    names, held = [], 0
    for name, shape in weights.items():
        if names and held + 2 * size(shape) > limit:
            yield names
            names, held = [], 0
        names.append(name)
        held += 2 * size(shape)
    yield names


def size(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, help="fewer layers than the model has")
    parser.add_argument("--small", action="store_true", help="a miniature with the same names, for a test")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.folder.exists() and any(options.folder.iterdir()):
        parser.error(f"{options.folder} is not empty")
    shape = shape_of(options.model, options.layers, options.small)
    count = write(options.model, options.folder, shape, seed=options.seed)
    print(f"{options.folder}: {options.model}, {shape.layers} layers, {count:,} random bf16 weights")


if __name__ == "__main__":
    main()
