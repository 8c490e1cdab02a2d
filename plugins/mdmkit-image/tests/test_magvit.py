"""MMaDA's image tokenizer: the reference's codes exactly, its pixels to 1e-4, its checkpoint tensor by tensor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mdmkit import MdmkitError
from mdmkit_image.magvit import Magvit, MagvitCodec

GOLDEN = Path(__file__).parents[3] / "tests" / "golden" / "magvitv2"


@pytest.fixture(scope="module")
def codec() -> MagvitCodec:
    return MagvitCodec(Magvit.load(GOLDEN))


@pytest.fixture(scope="module")
def expected() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "expected.safetensors")


def test_codes_become_the_references_pixels(codec: MagvitCodec, expected: dict[str, torch.Tensor]) -> None:
    codes = expected["codes"].view(2, 4, 6)
    torch.testing.assert_close(codec.raw(codes), expected["pixels"], rtol=0, atol=1e-4)
    assert codec.images(codes)[1].size == (96, 64)


def test_an_image_becomes_the_references_codes(codec: MagvitCodec, expected: dict[str, torch.Tensor]) -> None:
    torch.testing.assert_close(codec.latents(expected["image"]), expected["latents"], rtol=0, atol=1e-4)
    assert torch.equal(codec.encode(expected["image"] / 2 + 0.5).flatten(1), expected["image_codes"].view(2, -1))
    assert (codec.codes, codec.factor) == (8192, 16)


def test_the_full_checkpoint_has_a_place_for_every_tensor() -> None:
    shapes = json.loads((GOLDEN / "full_size_shapes.json").read_text())
    with torch.device("meta"):
        model = Magvit({key: torch.empty(shape) for key, shape in shapes.items()})
    own = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert own == {key: shape for key, shape in shapes.items() if not key.startswith("quantize.")}


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MdmkitError, match="cannot be read"):
        Magvit.load(tmp_path)
    save_file({"conv.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(MdmkitError, match=r"lacks 'encoder\.conv_in\.weight'"):
        Magvit.load(tmp_path)
