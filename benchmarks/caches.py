"""What each cache computes: row-tokens forwarded per generated token, and NFE, against `none`.

    python benchmarks/caches.py [--prompt 64] [--length 256] [--block 32]

The numbers are counts, the same on every machine and for every size of model, so two tiny random models stand for all:
one whose attention is full (Llama), one whose attention goes by blocks (Qwen3, as in SDAR).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

import mdmkit

SIZE: dict[str, Any] = {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 4096,
    "mask_token_id": 127,
}
SAMPLERS = {
    "confidence": ("confidence", {}),
    "info_gain, N = 8, no bypass": ("info_gain", {"select": {"bypass": None}}),
}


def model(folder: Path, kind: str, block: int) -> mdmkit.Backbone:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM
    from transformers.utils import logging

    torch.manual_seed(0)
    config = Qwen3Config(**SIZE, is_causal=False)
    network = Qwen3ForCausalLM(config)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.2)
    logging.disable_progress_bar()
    network.save_pretrained(folder / kind)
    family = "sdar" if kind == "block" else "decoder"
    options = {"block_length": block} if kind == "block" else {}
    return mdmkit.load(f"{family}:{folder / kind}", device="cpu", **options)


@click.command()
@click.option("--prompt", default=64, show_default=True, help="Tokens of the prompt.")
@click.option("--length", default=256, show_default=True, help="Tokens to generate.")
@click.option("--block", default=32, show_default=True, help="Block length.")
@click.option("--refresh-every", default=8, show_default=True, help="Steps, for the rows with refreshes.")
def main(prompt: int, length: int, block: int, refresh_every: int) -> None:
    print(f"| attention | sampler | cache | row-tokens per token | of `none` | NFE |\n{'|---' * 6}|")
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("full", "block"):
            backbone = model(Path(folder), kind, block)
            caches: list[Any] = ["none", "block"]
            if kind == "full":
                caches = ["none", "prefix", "dual", {"name": "dual", "refresh_every": refresh_every}]
            for label, (preset, nodes) in SAMPLERS.items():
                base = None
                for cache in caches:
                    sampler = mdmkit.compose(
                        preset, **nodes, cache=cache, plan={"length": length, "block": block, "tokens_per_step": 1}
                    )
                    row = mdmkit.decode(sampler, backbone, [[1 + i % 100 for i in range(prompt)]]).rows[0]
                    cost = row.row_tokens / length
                    base = base or cost
                    name = f"`{cache}`" if isinstance(cache, str) else f"`dual`, `refresh_every` {refresh_every}"
                    print(f"| {kind} | {label} | {name} | {cost:.0f} | {100 * cost / base:.0f} % | {row.nfe} |")


if __name__ == "__main__":
    main()
