"""Memory of a lookahead on images: 1024 cells, N = 8, a codebook of 8192.

Prints the peak of a plain forward of the eight states (weights and activations of the model, no logits) and that of a
whole Info-Gain step, each in a process of its own. Widths are aMUSEd's, with one layer: without gradients the peak does
not grow with their number. Random weights, on the CPU; the peak is the process's resident memory.

    python benchmarks/image_memory.py
"""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import Any

CELLS, CODES, STATES = 32, 8192, 8


def build() -> Any:
    import torch
    from diffusers import UVit2DModel, VQModel

    from mdmkit_image.maskgit import MaskGit

    torch.manual_seed(0)
    transformer = UVit2DModel(
        hidden_size=1024,
        cond_embed_dim=768,
        micro_cond_encode_dim=256,
        micro_cond_embed_dim=1280,
        encoder_hidden_size=768,
        vocab_size=CODES + 64,
        codebook_size=CODES,
        in_channels=768,
        block_out_channels=768,
        num_res_blocks=1,
        block_num_heads=12,
        num_hidden_layers=1,
        num_attention_heads=16,
        intermediate_size=2816,
        sample_size=CELLS,
    ).eval()
    vq = VQModel(block_out_channels=(8,), num_vq_embeddings=CODES, norm_num_groups=4, lookup_from_codebook=True).eval()
    return MaskGit(transformer, vq, torch.randn(2, 768), ["anything"])


def peak(lookahead: bool) -> tuple[float, float]:
    """MiB before and at the peak of the work."""
    import torch

    import mdmkit
    from mdmkit.decoding.prompts import read_prompts
    from mdmkit.loop.whole import fill_canvas

    model = build()
    canvas, conditioning = model.encode(read_prompts(["0"], 0), mdmkit.Plan())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if lookahead:
        select = {"candidates": STATES, "bypass": None, "position_temperature": 0.4}
        sampler = mdmkit.compose("info_gain", select=select, draw={"temperature": 1.0}, plan={"steps": 2})
        fill_canvas(sampler, model, canvas, conditioning)
    else:
        rows = torch.zeros(STATES, dtype=torch.long)
        with torch.inference_mode():
            tokens, valid = canvas.tokens[rows], canvas.valid[rows]
            told = model.select(conditioning, rows)
            model.forward(tokens, valid, told, positions=canvas.positions[rows])
    return before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    if len(sys.argv) > 1:
        print(*peak(sys.argv[1] == "lookahead"))
        return
    told = {}
    for kind in ("forward", "lookahead"):
        out = subprocess.run([sys.executable, __file__, kind], capture_output=True, text=True, check=True).stdout
        before, after = map(float, out.split())
        told[kind] = after - before
        print(
            f"{kind:<10} {before:7.0f} MiB before, {after:7.0f} MiB at its peak, {after - before:7.0f} MiB of its own"
        )
    logits = STATES * CELLS * CELLS * CODES * 4 / 2**20
    print(f"lookahead / forward = {told['lookahead'] / told['forward']:.2f}; all its logits would be {logits:.0f} MiB")


if __name__ == "__main__":
    main()
