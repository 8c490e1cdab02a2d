"""Decoded images as files: one PNG each, a contact sheet, the order of filling as a heat map and an animated GIF."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image, ImageDraw

from mdmkit_image.whole import is_cut

if TYPE_CHECKING:
    from mdmkit import Row
    from mdmkit_image.codec import VQCodec

# The least width of a tile of a contact sheet or film. Small images are enlarged, pixel by pixel.
TILE = 128
GAP = 4
FRAME_MILLISECONDS, LAST_MILLISECONDS = 150, 1500
# From early to late, in colours whose lightness rises evenly (viridis).
COLOURS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
GIVEN, OPEN = (128, 128, 128), (90, 90, 110)


class Pictures:
    """The `files` of an image backbone: see `mdmkit.Files`."""

    suffix = ".png"
    beside: Sequence[str] = (".gif",)

    def __init__(self, codec: VQCodec, grid: tuple[int, int], mask_id: int):
        self.codec, self.grid, self.mask_id = codec, grid, mask_id

    def save(self, item: Image.Image, path: Path) -> None:
        item.save(path, format="PNG")

    def intact(self, path: Path) -> bool:
        """True if a file holds a whole PNG of the model's size, whatever its name says."""
        try:
            with Image.open(path, formats=["PNG"]) as image:
                image.verify()  # the checksum of every chunk up to the last one, which `load` does not miss
            with Image.open(path, formats=["PNG"]) as image:
                image.load()
                if is_cut(path, "PNG"):
                    return False
                return image.size == (self.grid[1] * self.codec.factor, self.grid[0] * self.codec.factor)
        except Exception:  # Pillow's readers raise many unrelated types for damaged files
            return False

    def sheet(self, items: Sequence[Image.Image], path: Path) -> None:
        """Write a contact sheet, nearly square, left to right and then down."""
        tile(items).save(path, format="PNG")

    def picture(self, rows: Sequence[Row], path: Path) -> None:
        """Write heat maps of the order (dark early, bright late, grey given) and a GIF of the canvases beside them."""
        tile([self.heat_map(row) for row in rows]).save(path, format="PNG")
        frames = self.film(rows)
        frames[0].save(
            path.with_suffix(".gif"),
            format="GIF",
            save_all=True,
            append_images=frames[1:],
            duration=[FRAME_MILLISECONDS] * (len(frames) - 1) + [LAST_MILLISECONDS],
            loop=0,
        )

    def heat_map(self, row: Row) -> Image.Image:
        """The tick at which each cell was written, as a colour."""
        order = row.trace["order"]
        last = max(1, *order)
        size = max(1, -(-TILE // max(self.grid)))
        image = Image.new("RGB", (self.grid[1] * size, self.grid[0] * size))
        draw = ImageDraw.Draw(image)
        for cell, tick in enumerate(order):
            y, x = divmod(cell, self.grid[1])
            colour = GIVEN if tick < 0 else _colour(tick / last)
            draw.rectangle((x * size, y * size, (x + 1) * size - 1, (y + 1) * size - 1), fill=colour)
        return image

    def film(self, rows: Sequence[Row]) -> list[Image.Image]:
        """The canvases before the first step and after each step. An open cell has one plain colour."""
        order = torch.tensor([row.trace["order"] for row in rows])
        tokens = torch.tensor([row.trace["tokens"] for row in rows])
        frames = []
        for tick in range(-1, int(order.max()) + 1):
            open_ = order > tick
            codes = tokens.masked_fill(open_, 0).view(-1, *self.grid)
            images = self.codec.images(codes.to(self.codec.device))
            tiles = [_cover(image, hole.view(self.grid)) for image, hole in zip(images, open_, strict=True)]
            frames.append(tile(tiles))
        return frames


def tile(images: Sequence[Image.Image], across: int | None = None) -> Image.Image:
    """Put images of one size on one sheet, `columns` in a row or nearly square; small ones are enlarged to `TILE`."""
    times = max(1, -(-TILE // max(images[0].size)))
    width, height = (side * times for side in images[0].size)
    across = across or math.ceil(math.sqrt(len(images)))
    down = -(-len(images) // across)
    sheet = Image.new("RGB", (across * (width + GAP) - GAP, down * (height + GAP) - GAP), "white")
    for place, image in enumerate(images):
        y, x = divmod(place, across)
        large = image.convert("RGB").resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(large, (x * (width + GAP), y * (height + GAP)))
    return sheet


def _cover(image: Image.Image, open_: torch.Tensor) -> Image.Image:
    """Cover the open cells, bool [h, w], of an image with a plain colour."""
    image = image.convert("RGB")
    hole = Image.fromarray((open_ * 255).to(torch.uint8).numpy(), "L").resize(image.size, Image.Resampling.NEAREST)
    image.paste(OPEN, (0, 0, *image.size), hole)
    return image


def _colour(share: float) -> tuple[int, ...]:
    place = share * (len(COLOURS) - 1)
    low = min(int(place), len(COLOURS) - 2)
    return tuple(round(a + (place - low) * (b - a)) for a, b in zip(COLOURS[low], COLOURS[low + 1], strict=True))
