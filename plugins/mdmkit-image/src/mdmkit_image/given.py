"""The image inputs of a prompt: an image, a mask over it, and the share under the mask that is redrawn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from mdmkit import MdmkitError, Prompt, noise, shown, unknown
from mdmkit_image.reading import Source, read_picture

if TYPE_CHECKING:
    from mdmkit_image.codec import VQCodec

KEYS = ("image", "mask", "strength")
# The share for an image without a mask: it keeps enough cells that the result is a variation of the image.
VARIATION = 0.6
# Under transparent pixels: an image is seen on paper, and only what is white in a mask is redrawn.
BACKGROUNDS = {"image": "white", "mask": "black"}
# Pixels of a mask from this value, of 255, are redrawn.
WHITE = 128


def given_cells(prompt: Prompt, codec: VQCodec, grid: tuple[int, int], mask_id: int, device: Any) -> list[int] | None:
    """The codes of a prompt's image, with the mask's id in the cells to redraw; None if it has no image.

    A cell belongs to the mask if one of its pixels is white. Of the cells under the mask (of all, without one) a share
    `strength` is opened, drawn at random from the row's seed; the others keep their codes.

    Raises:
        MdmkitError: an unknown key, a picture that cannot be read (see `read_picture`), a mask without an image, or
            nothing to redraw.
    """
    given = prompt.inputs or {}
    name = f"prompt {prompt.index}"
    for key in given:
        if key not in KEYS:
            raise MdmkitError(f"{name}: {unknown('input', str(key), KEYS)}")
    if "image" not in given:
        if given:
            raise MdmkitError(f"{name}: {next(iter(given))!r} is for redrawing an image: give 'image' (--image) too.")
        return None
    size = (grid[1] * codec.factor, grid[0] * codec.factor)
    image = read_picture(_source(name, "image", given, size, codec.mode))
    region = torch.ones(grid, dtype=torch.bool)
    if "mask" in given:
        mask = read_picture(_source(name, "mask", given, size, "L"))
        region = F.max_pool2d(_tensor(mask), codec.factor)[0, 0] >= WHITE / 255
        if not region.any():
            raise MdmkitError(
                f"{name}: the mask is black everywhere (its brightest pixel has {mask.getextrema()[1]} of 255, and "
                f"white begins at {WHITE}), so nothing would be redrawn. Make it white where the image is to be "
                "redrawn."
            )
    strength = _strength(name, given)
    codes = codec.encode(_tensor(image).to(device))[0].cpu()
    open_ = _opened_cells(region.flatten(), strength, prompt.seed)
    return codes.flatten().masked_fill(open_, mask_id).tolist()


def _opened_cells(region: Tensor, strength: float, seed: int) -> Tensor:
    """bool [cells]: this share of the region, at least one cell, drawn with the row's random numbers."""
    position = torch.arange(len(region))[None]
    chance = noise.uniform(torch.tensor([seed]), torch.zeros(1, dtype=torch.long), "strength", 1, position)[0, 0]
    rank = chance.masked_fill(~region, 2.0).argsort(stable=True).argsort(stable=True)
    return rank < max(1, math.ceil(strength * int(region.sum()) - 1e-9))


def _strength(name: str, given: Mapping[str, Any]) -> float:
    strength = given.get("strength", 1.0 if "mask" in given else VARIATION)
    is_number = isinstance(strength, Real) and not isinstance(strength, bool)
    if not is_number or not 0 < strength <= 1:
        raise MdmkitError(
            f"{name}: 'strength' is the share of the cells that are redrawn, a number above 0 and at most 1, not "
            f"{shown(strength)}."
        )
    return float(strength)


def _source(name: str, role: str, given: Mapping[str, Any], size: tuple[int, int], mode: str) -> Source:
    wanted = f"{size[0]} x {size[1]}"
    fix = (
        f"this model's have {wanted}. Resize or crop it, as with Pillow's image.resize({size}), or let the model draw "
        "at another size (--model-option width=… and height=…)."
        if role == "image"
        else f"the image {wanted}. Give it the size of the image, and make it white where the image is to be redrawn."
    )
    return Source(name, role, given[role], BACKGROUNDS[role], size, mode, fix)


def _tensor(image: Image.Image) -> Tensor:
    """float [1, C, H, W] in [0, 1]."""
    values = torch.from_numpy(np.asarray(image, dtype=np.float32) / 255)
    return values.view(*values.shape[:2], -1).permute(2, 0, 1)[None]
