"""Every field of the configs of aMUSEd's parts, changed or left out: what its pipeline computes then, or a refusal."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("diffusers")
sys.path.insert(0, str(Path(__file__).parent))
import tiny

import mdmkit
from mdmkit import MdmkitError, Plan
from mdmkit.decoding.prompts import read_prompts
from mdmkit_image.layout import quiet

TEXT = "abc"
# Fields without which the pipeline cannot be made, or cannot decode codes. Here they change nothing.
OURS_ALONE = {"lookup_from_codebook", "mask_token_id"}
# part -> the fewest changes that are drawn alike, and that are refused. Fields differ between versions of diffusers.
LEAST = {"transformer": (10, 15), "vqvae": (10, 10), "text_encoder": (15, 10), "scheduler": (5, 1)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_amused(tmp_path_factory.mktemp("amused"))


@pytest.fixture(scope="module")
def parts(folder: Path) -> dict[str, Any]:
    from diffusers import AmusedPipeline

    with quiet():
        return dict(AmusedPipeline.from_pretrained(folder).components)


def other(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, list):
        return [*value, *value[:1]]
    return f"{value}_x" if isinstance(value, str) else 1 if value is None else value * 2 + (value == 0)


@torch.inference_mode()
def theirs(folder: Path, same: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The pipeline's first canvas, its logits there, and the pixels of codes. `same`: parts that need no reading."""
    from diffusers import AmusedPipeline

    calls: list[Any] = []
    with quiet():
        made = AmusedPipeline.from_pretrained(folder, **same)
    made.set_progress_bar_config(disable=True)
    hook = made.transformer.register_forward_hook(lambda module, args, out: calls.append((args[0], out)))
    made(TEXT, num_inference_steps=1, guidance_scale=1.0, output_type="latent")
    hook.remove()
    tokens, logits = calls[0]
    codes = torch.arange(tokens.numel()).view_as(tokens) % tiny.CODES
    shape = (*codes.shape, made.vqvae.config.latent_channels)
    pixels = made.vqvae.decode(codes, force_not_quantize=True, shape=shape).sample.clip(0, 1)
    return tokens, logits.flatten(2).transpose(1, 2), pixels


@torch.inference_mode()
def ours(model: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    canvas, told = model.encode(read_prompts([TEXT], 0), Plan())
    logits = model.project(model.forward(canvas.tokens, canvas.valid, told, positions=None).hidden)
    codes = torch.arange(model.cells).view(1, *model.grid) % tiny.CODES
    return canvas.tokens.view_as(codes), logits[..., : tiny.CODES], model.codec.pixels(codes)


@pytest.mark.parametrize("part", list(LEAST))
def test_no_change_of_a_config_draws_something_else(part: str, folder: Path, parts: dict[str, Any]) -> None:
    file = folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
    before, same = file.read_text(), {name: each for name, each in parts.items() if name != part}
    unchanged = theirs(folder, same)
    config, drawn, refused, silent = json.loads(before), 0, 0, []
    for field, change in [(field, change) for field in config for change in (None, other)]:
        changed = {key: value for key, value in config.items() if key != field}
        file.write_text(json.dumps(changed if change is None else changed | {field: change(config[field])}))
        try:
            model = mdmkit.load(str(folder), device="cpu")
        except MdmkitError:
            refused += 1
            continue
        drawn += 1
        pairs = zip(ours(model), unchanged if field in OURS_ALONE else theirs(folder, same), strict=True)
        if not all(a.shape == b.shape and torch.allclose(a, b, rtol=1e-5, atol=1e-5) for a, b in pairs):
            silent.append((field, changed.get(field)))
    file.write_text(before)
    assert silent == []
    assert drawn >= LEAST[part][0]
    assert refused >= LEAST[part][1]
