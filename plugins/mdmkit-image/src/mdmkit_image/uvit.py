"""Backbones around diffusers' UVit2DModel: aMUSEd, and class-conditional models in its layout."""

from __future__ import annotations

import math
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mdmkit import MdmkitError, Output, shown, unknown
from mdmkit_image.codec import VQCodec
from mdmkit_image.grid import GridBackbone, grid_of, take, whole
from mdmkit_image.layout import dtype_of, locate, read_config
from mdmkit_image.numbers import named
from mdmkit_image.parts import load_part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mdmkit import Prompt

# aMUSEd's micro-conditioning (arXiv:2401.01808) if no option sets it: crop at the corner, and this score.
AESTHETIC_SCORE = 6.0
# Values of the micro-conditioning: width, height, left, top, score.
MICRO = 5
# Cells along a side of an image of the usual size, at most. A UVit has no positions, so no tensor shows the number.
MOST_SIDE = 256


class UVitBackbone(GridBackbone):
    """A UVit2DModel over the codes of a VQModel.

    A subclass says which other `parts` its directory has, and turns a prompt into a conditioning.
    """

    parts: tuple[str, ...] = ()
    options: tuple[str, ...] = ("width", "height", "crop", "aesthetic_score", "revision")

    def __init__(self, transformer: Any, vq: Any, *, width: int | None = None, height: int | None = None, **micro: Any):
        codec = VQCodec(vq)
        if codec.codes != transformer.config.codebook_size:
            raise MdmkitError(
                f"the transformer chooses among {transformer.config.codebook_size} codes, and the VQ model has "
                f"{codec.codes}: they do not belong to the same model."
            )
        _check_micro(transformer.config)
        _check_side(transformer.config.sample_size)
        usual = transformer.config.sample_size * codec.factor
        self.width = usual if width is None else width
        self.height = usual if height is None else height
        grid = grid_of(self.width, self.height, usual, codec.factor)
        # The mask is the last row of the embedding. Rows between the codebook and the mask only round the number up.
        vocab = transformer.config.vocab_size
        super().__init__(codec, grid, vocab - 1, vocab)
        self.crop, self.score = micro.get("crop", (0, 0)), micro.get("aesthetic_score", AESTHETIC_SCORE)
        self.transformer, self.device = transformer, transformer.device
        # `forward` ends before the head; `project` applies the head where logits are read.
        self.head = transformer.mlm_layer.conv2
        transformer.mlm_layer.conv2 = nn.Identity()
        self.weights = sum(p.numel() for module in (transformer, self.head) for p in module.parameters())

    @classmethod
    def load(cls, ref: str, *, device: str = "cpu", dtype: str = "auto", **options: Any) -> UVitBackbone:
        """Load a directory in diffusers' format or a hub id.

        Args:
            ref: the directory or `organisation/name`.
            device: a torch device.
            dtype: of the transformer; `"auto"` is float32 on the CPU, bfloat16 elsewhere. The VQ model stays float32.
            options: `width` and `height` of the images in pixels; `crop`, [left, top], and `aesthetic_score`, which
                condition the model; `revision` of a hub model; and options of the subclass.

        Raises:
            MdmkitError: the directory lacks something, or an option is wrong.
        """
        for name in options:
            if name not in cls.options:
                raise MdmkitError(unknown("model option", name, cls.options))
        _check(options)  # before weights are loaded
        folder = locate(ref, ("transformer", "vqvae", *cls.parts), options.pop("revision", None))
        precision = dtype_of(dtype, device)
        transformer = load_part(folder, "transformer", "diffusers", "UVit2DModel", device, precision)
        vq = load_part(folder, "vqvae", "diffusers", "VQModel", device)
        _check_mask(folder, transformer.config.vocab_size - 1)
        backbone = cls(transformer, vq, **cls.read(folder, device, precision), **options)
        backbone.loaded_from = (folder,)
        return backbone

    @classmethod
    @abstractmethod
    def read(cls, folder: Path, device: str, dtype: torch.dtype) -> dict[str, Any]:
        """The arguments of the subclass, from its parts of the directory."""

    def tensors(self) -> dict[str, Tensor]:
        head = named("transformer.mlm_layer.conv2", self.head)
        return named("transformer", self.transformer) | head | super().tensors()

    @abstractmethod
    def tell(self, prompts: Sequence[Prompt | None]) -> tuple[Tensor, Tensor]:
        """The conditioning to attend to, [B, S, E], and the one that modulates, [B, E]; None: no prompt."""

    def condition(self, prompts: Sequence[Prompt]) -> tuple[Tensor, ...]:
        hidden, pooled = self.tell([*prompts, *[None] * len(prompts)])
        values = [float(self.width), float(self.height), *map(float, self.crop), float(self.score)]
        micro = torch.tensor(values, device=hidden.device, dtype=hidden.dtype)
        return hidden, pooled, micro.expand(len(hidden), -1)

    def select(self, conditioning: Any, rows: Tensor) -> tuple[Tensor, ...]:
        return take(conditioning, rows)

    def forward(
        self, tokens: Tensor, valid: Tensor, conditioning: Any, *, positions: Tensor, cache: Any = None, **more: Any
    ) -> Output:
        hidden, pooled, micro = conditioning
        if len(hidden) != len(tokens):  # outside of a decode: only the rows with a prompt
            hidden, pooled, micro = (each[: len(tokens)] for each in conditioning)
        grid = self.transformer(tokens.reshape(-1, *self.grid), hidden, pooled, micro)
        return Output(grid.flatten(2).transpose(1, 2))

    def project(self, hidden: Tensor) -> Tensor:
        logits = F.linear(hidden, self.head.weight[:, :, 0, 0], self.head.bias)
        # Ids beyond the codebook are forbidden, so their logits do not matter.
        return F.pad(logits, (0, self.vocab - logits.shape[-1]))

    def save(self, folder: Path | str) -> None:
        """Write the transformer and the VQ model as diffusers does, each in its folder."""
        self.transformer.mlm_layer.conv2 = self.head
        try:
            self.transformer.save_pretrained(Path(folder) / "transformer")
        finally:
            self.transformer.mlm_layer.conv2 = nn.Identity()
        self.codec.vq.save_pretrained(Path(folder) / "vqvae")


def _check_micro(config: Any) -> None:
    """Refuse sizes of the micro-conditioning that do not fit each other: every forward would fail."""
    width = MICRO * config.micro_cond_encode_dim
    if width != config.micro_cond_embed_dim:
        raise MdmkitError(
            f"the transformer's config.json says micro_cond_encode_dim={config.micro_cond_encode_dim} and "
            f"micro_cond_embed_dim={config.micro_cond_embed_dim}, and {MICRO} values of the first make {width}. "
            "Correct the one that is wrong."
        )


def _check_side(cells: Any) -> None:
    """Refuse a usual size that is no number of cells, or for which no machine has the memory."""
    if not isinstance(cells, int) or isinstance(cells, bool) or not 1 <= cells <= MOST_SIDE:
        raise MdmkitError(
            f"the transformer's config.json says sample_size={shown(cells)}: it is the number of cells along a side "
            f"of an image, a whole number from 1 to {MOST_SIDE}. Copy the file again, or correct it."
        )


def _check_mask(folder: Path, mask: int) -> None:
    """Refuse a scheduler's config with another mask: diffusers' pipelines read the mask's id there, if there is one."""
    file = folder / "scheduler" / "scheduler_config.json"
    if not file.is_file():
        return
    given = read_config(file).get("mask_token_id", mask)
    if given != mask:
        raise MdmkitError(
            f"{file} says mask_token_id={shown(given)}, and the mask of this model is {mask}, the last of the "
            "vocab_size ids in transformer/config.json. Correct the one that is wrong."
        )


def _check(options: dict[str, Any]) -> None:
    crop, score = options.get("crop", (0, 0)), options.get("aesthetic_score", AESTHETIC_SCORE)
    for name in ("width", "height"):
        if name in options:
            whole(name, options[name], 1)
    if not isinstance(crop, list | tuple) or len(crop) != 2 or not all(map(_is_number, crop)):
        raise MdmkitError(f"model option crop={crop!r}: it is two numbers of pixels, left and top, as in crop=[0,0].")
    if not _is_number(score):
        raise MdmkitError(f"model option aesthetic_score={score!r}: it is a number, {AESTHETIC_SCORE} if not given.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
