"""Every field of the configs of aMUSEd's parts, changed or left out: what its pipeline computes then, or a refusal."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("diffusers")
sys.path.insert(0, str(Path(__file__).parent))
import tiny
from safetensors.torch import load_file, save_file

import mdmkit
from mdmkit import MdmkitError, Plan
from mdmkit.decoding.prompts import read_prompts
from mdmkit_image.layout import quiet
from mdmkit_image.parts import load_part

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


# -- sizes are compared before anything is built ---------------------------------------------------------------------

CLASSES = {
    "transformer": ("diffusers", "UVit2DModel"),
    "vqvae": ("diffusers", "VQModel"),
    "text_encoder": ("transformers", "CLIPTextModelWithProjection"),
}
# More than any part has tensors, and few enough that a test without the check ends at once.
MANY = 150


def load_changed(folder: Path, part: str, fields: dict[str, Any]) -> Any:
    """Load a copy of a part whose config has other fields."""
    file = folder / part / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    return load_part(folder, part, *CLASSES[part], "cpu")


@pytest.fixture
def unbuilt(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the model that no loader may build."""
    for library, name in CLASSES.values():
        refused = classmethod(lambda cls, *args, **kwargs: pytest.fail(f"{cls} is built"))
        monkeypatch.setattr(getattr(importlib.import_module(library), name), "from_pretrained", refused)
    return Path(shutil.copytree(folder, tmp_path / "model"))


@pytest.mark.parametrize(
    ("part", "fields", "told"),
    [
        ("transformer", {"num_hidden_layers": MANY}, "num_hidden_layers=150"),
        ("transformer", {"num_res_blocks": MANY}, "num_res_blocks=150"),
        ("vqvae", {"layers_per_block": MANY}, "layers_per_block=150"),
        ("vqvae", {"block_out_channels": [4] * MANY}, "block_out_channels with 150 values"),
        ("text_encoder", {"num_hidden_layers": MANY}, "num_hidden_layers=150"),
        ("text_encoder", {"text_config": {"num_hidden_layers": MANY}}, r"text_config\.num_hidden_layers=150"),
    ],
)
def test_more_layers_than_tensors_are_refused_before_they_are_built(
    part: str, fields: dict[str, Any], told: str, unbuilt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdmkit_image.parts._planned", lambda *args: pytest.fail("the layers are planned"))
    with pytest.raises(MdmkitError, match=rf"config\.json says {told}, and its weights have only \d+ tensors"):
        load_changed(unbuilt, part, fields)


@pytest.mark.parametrize(
    ("part", "fields", "told"),
    [
        ("vqvae", {"num_vq_embeddings": 10**15}, r"quantize\.embedding\.weight would be \[1000000000000000, 4\], and"),
        ("vqvae", {"latent_channels": 5}, r"would be \[.*\], and is \[.*\] in its file\. Copy both"),
        ("transformer", {"hidden_size": 10**9}, r"would be \[1000000000, 8\], and is \[16, 8\] in its file"),
        ("transformer", {"vocab_size": 10**15}, r"embed\.embeddings\.weight would be"),
        ("text_encoder", {"hidden_size": 10**9}, r"would be \[54, 1000000000\], and is \[54, 8\]"),
        (
            "text_encoder",
            {"text_config": {"vocab_size": 10**12}},
            r"token_embedding\.weight would be \[1000000000000, ",
        ),
    ],
)
def test_other_sizes_are_refused_before_they_need_memory(
    part: str, fields: dict[str, Any], told: str, unbuilt: Path
) -> None:
    with pytest.raises(MdmkitError, match=f"the sizes in its config.json are not those of its weights: .*{told}"):
        load_changed(unbuilt, part, fields)


def test_a_missing_tensor_is_not_made_if_it_is_larger_than_the_file(unbuilt: Path) -> None:
    file = unbuilt / "vqvae" / "diffusion_pytorch_model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if "embedding" not in k}, file, metadata={"format": "pt"})
    with pytest.raises(MdmkitError, match=r"quantize\.embedding\.weight would be .* and is not there, and all others"):
        load_changed(unbuilt, "vqvae", {"num_vq_embeddings": 10**15})


@pytest.mark.parametrize("content", [b"\0", None], ids=["cut", "no tensors"])
def test_nothing_is_built_for_a_file_without_tensors(content: bytes | None, unbuilt: Path) -> None:
    file = unbuilt / "vqvae" / "diffusion_pytorch_model.safetensors"
    save_file({}, file) if content is None else file.write_bytes(content)
    with pytest.raises(MdmkitError, match="its vqvae cannot be loaded as VQModel"):
        load_part(unbuilt, "vqvae", *CLASSES["vqvae"], "cpu")


@pytest.mark.parametrize("part", list(CLASSES))
def test_an_empty_quantization_config_changes_nothing(part: str, folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "model"))
    plain, told = load_part(copy, part, *CLASSES[part], "cpu"), load_changed(copy, part, {"quantization_config": {}})
    assert type(plain) is type(told)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, told.state_dict()[name])
