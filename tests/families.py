"""A tiny model of every family that can be loaded, wrapped or made up, in float64: for tests that go over all of them.

Float64, so that rounding, which depends on what is computed together, decides nothing. `load` makes other types, too.
"""

from __future__ import annotations

import functools
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from checkpoints import GOLDEN, changed

import mdmkit
from mdmkit.model.backbone import unwrapped
from mdmkit.testing import NoiseToy, ToyBackbone, device_of_tests

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
DEVICE = str(device_of_tests())
_dtype = torch.float64  # of what is being made
FULL, BLOCK, NONE = ("none", "prefix", "dual"), ("none", "block"), ("none",)


@dataclass(frozen=True)
class Family:
    """How to make a model, and what to ask it.

    Attributes:
        make: from a folder of its own to the backbone.
        caches: those it offers.
        ids: of ordinary tokens, or of an image's codes.
        words: what an image model can be told to draw; None for what is no image model.
        stands_for: the backbone, or `text:` and a family of text models, that it is one of; None: it is in no listing.
        ties: whether next states can be worth exactly the same. In a chain, what stands on either side of a written
            word is independent: two orders come to one sum, and rounding chooses between them.
        shadows: whether it forwards shadow columns.
        attention: whether it offers attention.
    """

    make: Callable[[Path], Any]
    caches: tuple[str, ...] = NONE
    ids: range = range(5, 120)
    words: tuple[str, ...] | None = None
    stands_for: str | None = None
    ties: bool = False
    shadows: bool = False
    attention: bool = False


def golden(source: str, changes: dict[str, Any] | None = None, **options: Any) -> Callable[[Path], Any]:
    """A golden checkpoint, as it is or with another config.json."""

    def make(folder: Path) -> Any:
        backbone = mdmkit.load(str(changed(source, folder, **(changes or {}))), device=DEVICE, **options)
        backbone.network.model.to(_dtype)
        backbone.network.model.set_experts_implementation("eager")  # the fused one has no float64
        return backbone

    return make


def zoo(name: str) -> Callable[[Path], Any]:
    def make(folder: Path) -> Any:
        backbone = mdmkit.load(f"zoo:{name}", device=DEVICE, dtype="float32")
        backbone.network.model.to(_dtype)
        return backbone

    return make


def wrapped(masked: bool) -> Callable[[Path], Any]:
    """A callable around a golden model; unless `masked` it takes ids alone, so that it cannot be told of padding."""

    def make(folder: Path) -> Any:
        model = golden("dream")(folder).network.model

        def with_mask(ids: Any, attention_mask: Any = None, position_ids: Any = None) -> Any:
            return model(input_ids=ids, attention_mask=attention_mask, position_ids=position_ids).logits

        def bare(ids: Any) -> Any:
            return model(input_ids=ids).logits

        backbone = unwrapped(mdmkit.wrap(with_mask if masked else bare, mask_id=125, shift=True))
        assert backbone.pads == masked
        return backbone

    return make


def tiny() -> Any:
    """The tiny image models of the tests of mdmkit-image."""
    place = str(HERE.parent / "plugins" / "mdmkit-image" / "tests")
    if place not in sys.path:
        sys.path.append(place)
    return importlib.import_module("tiny")


def amused(folder: Path) -> Any:
    backbone = mdmkit.load(f"amused:{tiny().write_amused(folder)}", device=DEVICE)
    backbone.text_encoder.to(_dtype)
    return _typed_uvit(backbone)


def maskgit(folder: Path) -> Any:
    backbone = mdmkit.load(f"maskgit:{tiny().write_maskgit(folder)}", device=DEVICE)
    backbone.classes = backbone.classes.to(_dtype)
    return _typed_uvit(backbone)


def digits(folder: Path) -> Any:
    backbone = mdmkit.load("zoo:digits", device=DEVICE)
    backbone.classes = backbone.classes.to(_dtype)
    return _typed_uvit(backbone)


def mmada(folder: Path) -> Any:
    made = tiny().write_llada(folder, 8192)
    return _typed_trunk(mdmkit.load(f"mmada:{made}", device=DEVICE, vq=str(GOLDEN / "magvitv2"), width=64, height=64))


def lumina(folder: Path) -> Any:
    made = tiny().write_llada(folder, tiny().CODES)
    tiny().vq_model(lookup=False).save_pretrained(folder / "vqvae")
    options = {"width": 8, "height": 6, "image_offset": len(tiny().SPECIALS) + 14}
    return _typed_trunk(mdmkit.load(f"lumina_dimoo:{made}", device=DEVICE, **options))


def _typed_uvit(backbone: Any) -> Any:
    backbone.transformer.to(_dtype)
    backbone.head.to(_dtype)
    return backbone


def _typed_trunk(backbone: Any) -> Any:
    backbone.trunk.body.to(_dtype)
    backbone.trunk.head = backbone.trunk.head.to(_dtype)
    return backbone


def bigram(folder: Path) -> Any:
    """A chain of its own: that of the zoo has 2,000 words, and is slow in float64."""
    from mdmkit_zoo.bigram.backbone import Bigram

    chances = torch.rand(24, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 4
    return Bigram((chances / chances.sum(1, keepdim=True)).to(_dtype), length=8)


# Dream's weights under other names; its own class is no longer named.
DECODER = {"architectures": [], "model_type": "qwen2", "is_causal": False}
SHIFTED_BLOCKS = {"architectures": [], "model_type": "Fast_dLLM_Qwen", "bd_size": 8}
LETTERS, CODES = ("abc", "d", "", "a red cat", "jig"), range(12)
FAMILIES = {
    "llada": Family(golden("llada"), FULL, stands_for="text:llada", shadows=True, attention=True),
    "llada_moe": Family(
        golden("lladamoe", mask_id=125), FULL, stands_for="text:llada_moe", shadows=True, attention=True
    ),
    "llada2": Family(
        golden("llada2", mask_id=125, block_length=8), BLOCK, stands_for="text:llada2", shadows=True, attention=True
    ),
    "dream": Family(golden("dream"), FULL, stands_for="text:dream", attention=True),
    "sdar": Family(golden("sdar", block_length=8), BLOCK, stands_for="text:sdar", shadows=True, attention=True),
    "fast_dllm_v2": Family(golden("dream", SHIFTED_BLOCKS), BLOCK, stands_for="text:fast_dllm_v2", attention=True),
    "a2d": Family(
        golden("dream", DECODER | {"model_type": "a2d-qwen2"}),
        FULL,
        stands_for="text:a2d",
        shadows=True,
        attention=True,
    ),
    "decoder": Family(golden("dream", DECODER), FULL, stands_for="text:decoder", shadows=True, attention=True),
    "antibody": Family(zoo("antibody"), ids=range(4, 24), stands_for="text:masked_lm", shadows=True),
    "puzzles": Family(zoo("puzzles"), FULL, ids=range(2, 20), stands_for="zoo", shadows=True, attention=True),
    "bigram": Family(bigram, ids=range(24), stands_for="zoo", ties=True),
    "wrapped": Family(wrapped(masked=True)),
    "wrapped_unpadded": Family(wrapped(masked=False)),
    "toy": Family(lambda folder: ToyBackbone(dtype=_dtype), ids=range(1, 11), shadows=True, attention=True),
    "noise_toy": Family(lambda folder: NoiseToy(dtype=_dtype), ids=range(1, 11), attention=True),
    "amused": Family(amused, ids=CODES, words=LETTERS, stands_for="amused"),
    "maskgit": Family(maskgit, ids=CODES, words=("cat", "dog", "8"), stands_for="maskgit"),
    "digits": Family(digits, ids=range(128), words=tuple("0123456789"), stands_for="zoo"),
    "mmada": Family(mmada, ids=range(8192), words=LETTERS, stands_for="mmada"),
    "lumina_dimoo": Family(lumina, ids=CODES, words=LETTERS, stands_for="lumina_dimoo"),
}


def load(name: str, folder: str, dtype: torch.dtype = torch.float64) -> Any:
    """The model of a family, made once for each type in a folder that all of them share."""
    return _load(name, folder, dtype)


@functools.cache
def _load(name: str, folder: str, dtype: torch.dtype) -> Any:
    global _dtype
    place = Path(folder) / f"{name}-{dtype}"
    place.mkdir()
    _dtype = dtype
    return FAMILIES[name].make(place)
