"""The recipe that made `zoo:digits`: seeded, committed, one command (`mdmkit zoo train digits`).

First a VQ model of 4x4 codes learns the images: first as a plain autoencoder, then with a codebook that begins at the
k-means centres of its latents, so that every code is used. Then a UVit learns to fill masked codes of a class: mask
rates cos(π/2 · u) of uniform u, cross-entropy over the masked cells (MaskGIT, arXiv:2202.04200), without the class in a
tenth of the rows, because guidance needs a branch without it (arXiv:2207.12598).
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from mdmkit_zoo.digits.data import CLASSES, SIDE, Digits, digits
from mdmkit_zoo.digits.judge import save_judge, train_judge

GRID = 4
Report = Callable[[str, int, float], None]


@dataclass(frozen=True)
class Recipe:
    """Everything that the weights depend on."""

    seed: int = 0
    codes: int = 128
    plain_steps: int = 200  # of the VQ model without its codebook
    code_steps: int = 600
    vq_batch: int = 24
    vq_rate: float = 4e-3
    steps: int = 2400
    batch: int = 64
    learning_rate: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.05
    hidden: int = 96
    layers: int = 3
    convolutions: int = 2  # only their padding tells a UVit the position of a cell: two reach across half the grid
    heads: int = 4
    dropout: float = 0.1
    class_dropped: float = 0.1  # share of rows that are trained without their class
    average: float = 0.998  # decay of the running weight average that is saved


def train(output: Path, recipe: Recipe | None = None, *, device: str = "cpu", report: Report | None = None) -> Path:
    """Train from the seed and save the model to `output` in aMUSEd's layout; `report(stage, step, loss)` on the way."""
    recipe = recipe or Recipe()
    torch.manual_seed(recipe.seed)
    began = time.time()
    shown, _ = digits()
    shown = Digits(shown.images.to(device), shown.labels.to(device))
    vq = train_vq(shown, recipe, report)
    with torch.no_grad():
        latents = vq.encode(shown.images).latents
        codes = vq.quantize(latents)[2][2].view(len(shown.images), GRID, GRID)
        drawn = vq.decode(latents).sample.clamp(0, 1)
    transformer, classes = train_transformer(codes, shown.labels, recipe, report)
    save(output, vq, transformer, classes)
    save_judge(train_judge(shown, drawn, recipe.seed), output, shown)
    told = asdict(recipe) | {"minutes": round((time.time() - began) / 60, 1), "torch": torch.__version__}
    (output / "recipe.json").write_text(json.dumps(told, indent=2) + "\n")
    return output


def train_vq(shown: Digits, recipe: Recipe, report: Report | None = None) -> Any:
    """Train the VQ model: 32x32 grey images, 4x4 codes."""
    from diffusers import VQModel

    vq: Any = VQModel(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 16, 32, 32),
        layers_per_block=1,
        latent_channels=8,
        sample_size=SIDE,
        num_vq_embeddings=recipe.codes,
        norm_num_groups=4,
        mid_block_add_attention=False,
        lookup_from_codebook=True,
    )
    vq.to(shown.images.device)
    optimizer = torch.optim.AdamW(vq.parameters(), lr=recipe.vq_rate)
    total = recipe.plain_steps + recipe.code_steps
    for step in range(total):
        for group in optimizer.param_groups:
            group["lr"] = recipe.vq_rate * _schedule(step, total, 20)
        if step == recipe.plain_steps:
            with torch.no_grad():
                latents = vq.encode(shown.images).latents.permute(0, 2, 3, 1).flatten(0, 2)
                vq.quantize.embedding.weight.copy_(_centres(latents, recipe.codes))
        rows = torch.randint(len(shown.images), (recipe.vq_batch,), device=shown.images.device)
        images = shown.images[rows]
        latents = vq.encode(images).latents
        commit: Tensor | float = 0.0
        if step >= recipe.plain_steps:
            latents, commit, _ = vq.quantize(latents)
        drawn = vq.decoder(vq.post_quant_conv(latents))
        loss = F.mse_loss(drawn, images) + 0.25 * commit
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if report is not None:
            report("vq", step, float(loss.detach()))
    return vq.eval().requires_grad_(False)


def _centres(points: Tensor, count: int, rounds: int = 20) -> Tensor:
    """Find k-means centres [count, D] of points [N, D]; an empty one moves to a random point."""
    centres = points[torch.randperm(len(points), device=points.device)[:count]]
    for _ in range(rounds):
        nearest = torch.cdist(points, centres).argmin(1)
        sizes = torch.bincount(nearest, minlength=count)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        spare = points[torch.randint(len(points), (count,), device=points.device)]
        centres = torch.where(sizes[:, None] > 0, sums / sizes.clamp_min(1)[:, None], spare)
    return centres


def build_transformer(recipe: Recipe) -> Any:
    from diffusers import UVit2DModel

    return UVit2DModel(
        hidden_size=recipe.hidden,
        hidden_dropout=recipe.dropout,
        cond_embed_dim=recipe.hidden,
        micro_cond_encode_dim=8,
        micro_cond_embed_dim=40,
        encoder_hidden_size=recipe.hidden,
        vocab_size=recipe.codes + 1,
        codebook_size=recipe.codes,
        in_channels=recipe.hidden,
        block_out_channels=recipe.hidden,
        num_res_blocks=recipe.convolutions,
        block_num_heads=recipe.heads,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        intermediate_size=2 * recipe.hidden,
        sample_size=GRID,
    )


def train_transformer(
    codes: Tensor, labels: Tensor, recipe: Recipe, report: Report | None = None
) -> tuple[Any, Tensor]:
    """Train the UVit on codes int64 [N, 4, 4]; return it and the class embeddings [11, E], the last for no class."""
    device = codes.device
    model = build_transformer(recipe).to(device).train()
    classes = torch.nn.Embedding(len(CLASSES) + 1, recipe.hidden, device=device)
    both = torch.nn.ModuleList((model, classes))
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding):
            torch.nn.init.normal_(module.weight, std=0.02)
    average: Any = copy.deepcopy(both).eval().requires_grad_(False)
    decayed = [p for p in both.parameters() if p.dim() > 1]
    rest = [p for p in both.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
    )
    micro = micro_conditions(device)
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(step, recipe.steps, recipe.warmup)
        rows = torch.randint(len(codes), (recipe.batch,), device=device)
        true, label = codes[rows], labels[rows]
        label = torch.where(torch.rand(len(rows), device=device) < recipe.class_dropped, len(CLASSES), label)
        rate = torch.cos(torch.rand(len(rows), 1, 1, device=device) * math.pi / 2)
        noise = torch.rand(true.shape, device=device)
        masked = (noise < rate) | (noise == noise.amin((1, 2), keepdim=True))
        told = classes(label)
        logits = model(true.masked_fill(masked, recipe.codes), told[:, None], told, micro.expand(len(rows), -1))
        losses = F.cross_entropy(logits, true, reduction="none")
        loss = (losses * masked).sum() / masked.sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(both.parameters(), 1.0)
        optimizer.step()
        decay = min(recipe.average, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, new in zip(average.parameters(), both.parameters(), strict=True):
                mean.lerp_(new, 1 - decay)
        if report is not None:
            report("transformer", step, float(loss.detach()))
    return average[0], average[1].weight.detach()


def micro_conditions(device: torch.device | str = "cpu") -> Tensor:
    """aMUSEd's five: width and height of the original, its crop, the aesthetic score. Here they are constant."""
    return torch.tensor([[float(SIDE), float(SIDE), 0.0, 0.0, 6.0]], device=device)


def save(output: Path, vq: Any, transformer: Any, classes: Tensor) -> None:
    """Write a directory for the backbone `maskgit`: aMUSEd's layout, with classes instead of the text encoder."""
    output.mkdir(parents=True, exist_ok=True)
    vq.save_pretrained(output / "vqvae")
    transformer.save_pretrained(output / "transformer")
    (output / "class_embedding").mkdir(exist_ok=True)
    save_file({"weight": classes.detach().cpu().contiguous()}, output / "class_embedding" / "model.safetensors")
    index = {
        "_class_name": "MaskGitPipeline",
        "id2label": {str(i): name for i, name in enumerate(CLASSES)},
        "transformer": ["diffusers", "UVit2DModel"],
        "vqvae": ["diffusers", "VQModel"],
    }
    (output / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def _schedule(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then a cosine down to a hundredth."""
    return min((step + 1) / warmup, 0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2)
