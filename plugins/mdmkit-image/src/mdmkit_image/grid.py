"""The base of image backbones: the canvas is a grid of codes, read row by row."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mdmkit import Backbone, Canvas, Finding, MdmkitError, Prompt, lay_out
from mdmkit_image.given import KEYS, given_cells
from mdmkit_image.numbers import inspect_numbers
from mdmkit_image.pictures import Pictures

if TYPE_CHECKING:
    from PIL import Image

    from mdmkit import Plan
    from mdmkit_image.codec import VQCodec

# An image has at most this many times the cells of the model's usual size. The cost of attention grows with the square.
MOST_CELLS = 16


class GridBackbone(Backbone):
    """A model whose canvas is a flattened grid of codes. Its window is the whole grid; the prompt is not in it.

    Guidance moves away from the belief without the prompt, for which `condition` gives the conditioning. Both branches
    see the prompt tokens of the grid.
    """

    guided = True
    pads = False
    inputs = KEYS
    mask_id: int

    def __init__(self, codec: VQCodec, grid: tuple[int, int], mask_id: int, vocab: int):
        self.codec, self.grid, self.mask_id, self.vocab = codec, grid, mask_id, vocab
        self.forbidden = range(codec.codes, vocab)
        self.files = Pictures(codec, grid, mask_id)

    def tensors(self) -> dict[str, Tensor]:
        """All weights of the model, its image tokenizer's too, by names that begin with the part's."""
        return self.codec.tensors()

    def inspect(self) -> Sequence[Finding]:
        return [inspect_numbers(self.tensors())]

    @property
    def cells(self) -> int:
        return self.grid[0] * self.grid[1]

    @abstractmethod
    def condition(self, prompts: Sequence[Prompt]) -> Any:
        """The conditioning of 2·B rows, after `select`: those of the prompts, then B times that of no prompt."""

    def encode(self, prompts: Sequence[Prompt], plan: Plan) -> tuple[Canvas, Any]:
        """Lay out grids: all masks; or `prompt_ids`, one id per cell, where the mask's id is open; or an image's codes.

        An image, a mask over it and a strength are a prompt's `inputs`: see `mdmkit_image.given`.
        """
        before = [self._given(prompt) for prompt in prompts]
        canvas = lay_out(
            [self._sized(prompt, row) for prompt, row in zip(prompts, before, strict=True)],
            before,
            [()] * len(prompts),
            mask_id=self.mask_id,
            pad_id=0,
            vocab=self.vocab,
        )
        if plan.length is not None and plan.length != self.cells:
            raise MdmkitError(
                f"plan.length={plan.length}, and this model's images always have {self.cells} cells "
                f"({self.grid[0]} x {self.grid[1]}). Leave it out."
            )
        for prompt, row in zip(prompts, before, strict=True):
            if prompt.ids is not None and len(row) != self.cells:
                raise MdmkitError(
                    f"prompt {prompt.index}: {len(row)} ids, and an image of this model has {self.cells} cells "
                    f"({self.grid[0]} x {self.grid[1]}). Give one id for each, row by row, and {self.mask_id} for an "
                    "open cell."
                )
        return replace(canvas, grid=self.grid), self.condition(prompts)

    def _given(self, prompt: Prompt) -> list[int]:
        if prompt.ids is not None and prompt.inputs:
            raise MdmkitError(
                f"prompt {prompt.index}: ids of all cells and {next(iter(prompt.inputs))!r} are given. Drop one: an "
                "image is redrawn for a text."
            )
        if prompt.ids is not None:
            return list(prompt.ids)
        return given_cells(prompt, self.codec, self.grid, self.mask_id, self.device) or []

    def _sized(self, prompt: Prompt, row: list[int]) -> Prompt:
        if prompt.ids is not None:
            return replace(prompt, length=prompt.length if prompt.length else 0)
        if prompt.length not in (None, self.cells):
            raise MdmkitError(
                f"prompt {prompt.index}: length {prompt.length}, and this model's images always have {self.cells} "
                "cells. Leave it out."
            )
        return replace(prompt, length=0 if row else self.cells, inputs=None)

    def decode(self, canvas: Canvas) -> list[Image.Image]:
        """The image of each row."""
        return self.codec.images(canvas.tokens.reshape(-1, *self.grid).to(self.device))

    def render(self, token: int) -> str:
        return "·" if token == self.mask_id else f"{token} "


def take(values: Sequence[Tensor], rows: Tensor) -> tuple[Tensor, ...]:
    """Rows int64 [M] of every tensor of a conditioning."""
    return tuple(value[rows.to(value.device)] for value in values)


def whole(name: str, value: Any, low: int) -> int:
    """Read a model option that is a whole number of at least `low`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise MdmkitError(f"model option {name}={value!r}: it must be a whole number of at least {low}.")
    return value


def grid_of(width: int | None, height: int | None, usual: int, factor: int) -> tuple[int, int]:
    """Return the rows and columns of cells of an image, from its size in pixels; None is the usual size.

    Raises:
        MdmkitError: a side is not a multiple of the cell's, or there are too many cells.
    """
    sides = {"height": usual if height is None else height, "width": usual if width is None else width}
    rows, columns = (_side(name, pixels, factor) for name, pixels in sides.items())
    most = MOST_CELLS * max(1, usual // factor) ** 2
    if rows * columns > most:
        raise MdmkitError(
            f"model options width={sides['width']} and height={sides['height']}: that is {rows * columns} cells, and "
            f"the limit for this model is {most}, {MOST_CELLS} times those of its usual size, {usual} x {usual} "
            f"pixels. Choose a smaller size, such as {usual} x {usual}."
        )
    return rows, columns


def _side(name: str, pixels: int, factor: int) -> int:
    """The number of cells along a side of `pixels` pixels."""
    if whole(name, pixels, factor) % factor:
        near = max(factor, round(pixels / factor) * factor)
        raise MdmkitError(
            f"model option {name}={pixels}: a cell of this model is {factor} pixels wide, so it must be a multiple of "
            f"{factor}, such as {near}."
        )
    return pixels // factor
