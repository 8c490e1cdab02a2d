"""`mdmkit check MODEL` finds weights that are no numbers, in every part of a model of images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("diffusers")
sys.path.insert(0, str(Path(__file__).parent))
import tiny
from click.testing import CliRunner

import mdmkit
from mdmkit.cli import main

GOLDEN = Path(__file__).parents[3] / "tests" / "golden"
UVIT = "transformer/diffusion_pytorch_model.safetensors"
VQ = "vqvae/diffusion_pytorch_model.safetensors"
MAGVIT = ("vq/model.safetensors", "magvit.")


def lumina(folder: Path) -> Path:
    tiny.vq_model(lookup=False).save_pretrained(tiny.write_llada(folder, tiny.CODES) / "vqvae")
    return folder


def mmada(folder: Path) -> Path:
    (tiny.write_llada(folder, 8192) / "vq").mkdir()
    (folder / MAGVIT[0]).write_bytes((GOLDEN / "magvitv2" / "model.safetensors").read_bytes())
    return folder


WRITE = {"amused": tiny.write_amused, "maskgit": tiny.write_maskgit, "lumina_dimoo": lumina, "mmada": mmada}


def load(name: str, folder: Path) -> Any:
    options: dict[str, Any] = {"amused": {}, "maskgit": {}, "mmada": {"vq": str(folder / "vq")}}.get(
        name, {"width": 6, "height": 4, "image_offset": len(tiny.SPECIALS) + 14}
    )
    return mdmkit.load(f"{name}:{folder}", device="cpu", **options)


@pytest.mark.parametrize(
    ("name", "file", "prefix"),
    [
        ("amused", UVIT, "transformer."),
        ("amused", VQ, "vqvae."),
        ("amused", "text_encoder/model.safetensors", "text_encoder."),
        ("maskgit", UVIT, "transformer."),
        ("maskgit", VQ, "vqvae."),
        ("maskgit", "class_embedding/model.safetensors", "class_embedding."),
        ("lumina_dimoo", VQ, "vqvae."),
        ("lumina_dimoo", "model.safetensors", ""),
        ("mmada", *MAGVIT),
        ("mmada", "model.safetensors", ""),
    ],
)
def test_a_tensor_of_any_part_is_looked_at(name: str, file: str, prefix: str, tmp_path: Path) -> None:
    """Every tensor of a file counts: with NaN in all of them, the model has as many that are odd."""
    folder = WRITE[name](tmp_path)
    assert [each.verdict for each in load(name, folder).inspect()] == ["ok"]
    weights = load_file(folder / file)
    spoiled = {key: torch.full_like(each, float("nan")) for key, each in weights.items() if each.is_floating_point()}
    save_file(weights | spoiled, folder / file, metadata={"format": "pt"})
    model = load(name, folder)
    odd = {key for key, each in model.tensors().items() if each.is_floating_point() and each.isnan().any()}
    assert all(key.startswith(prefix) for key in odd)
    # MAGVIT-v2's table of codes is not loaded, because it follows from their number.
    unread = [key for key in spoiled if name == "mmada" and key.startswith("quantize.")]
    assert len(odd) == len(spoiled) - len(unread)
    (found,) = model.inspect()
    assert (found.subject, found.verdict) == ("numbers", "FAIL")
    assert all(key in found.detail for key in [key for key in model.tensors() if key in odd][:3])


def test_one_infinite_weight_of_the_image_tokenizer_is_said_on_the_command_line(tmp_path: Path) -> None:
    folder = tiny.write_maskgit(tmp_path)
    weights = load_file(folder / VQ)
    weights["encoder.conv_in.bias"][-1] = float("inf")  # never read when an image is drawn
    save_file(weights, folder / VQ, metadata={"format": "pt"})
    done = CliRunner().invoke(main, ["check", str(folder)])
    assert done.exit_code == 1
    assert "weights that are infinite or no numbers (NaN): vqvae.encoder.conv_in.bias" in " ".join(done.output.split())
    assert "and " not in done.output.split("vqvae.encoder.conv_in.bias")[1].split("\n")[0]
