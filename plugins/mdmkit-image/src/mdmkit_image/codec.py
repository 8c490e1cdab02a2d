"""Between images and codes: diffusers' VQModel and PIL."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mdmkit import MdmkitError
from mdmkit_image.numbers import named

# Codes that one call of the decoder may hold: a batch of images has very many pixels.
DECODED_AT_ONCE = 1 << 14


class VQCodec:
    """A VQModel, from pixels in [0, 1] to codes and back; always float32.

    Attributes:
        codes: size of the codebook.
        factor: pixels along a side of a code's cell.
        mode: PIL's name of the pixels, `L` or `RGB`.
    """

    def __init__(self, vq: Any):
        channels = vq.config.out_channels
        if channels not in (1, 3) or vq.config.in_channels != channels:
            raise MdmkitError(
                f"a VQ model of {channels} colour channels: images have 1 (grey) or 3 (red, green, blue)."
            )
        self.vq, self.mode = vq, "L" if channels == 1 else "RGB"
        self.codes: int = vq.config.num_vq_embeddings
        self.factor: int = 2 ** (len(vq.config.block_out_channels) - 1)

    def tensors(self) -> dict[str, Tensor]:
        """Its weights, by names that begin with the part's."""
        return named("vqvae", self.vq)

    @property
    def device(self) -> torch.device:
        return self.vq.device

    @torch.inference_mode()
    def pixels(self, codes: Tensor) -> Tensor:
        """Decode codes int64 [B, h, w] into pixels float [B, C, H, W] in [0, 1]."""
        parts = codes.split(max(1, DECODED_AT_ONCE // codes[0].numel()))
        return torch.cat([self._decode(part) for part in parts]).clamp(0, 1)

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> Tensor:
        """The codes int64 [B, h, w] of pixels float [B, C, H, W] in [0, 1]."""
        latents = self.vq.encode(pixels).latents
        return self.vq.quantize(latents)[2][2].view(len(pixels), *latents.shape[-2:])

    def images(self, codes: Tensor) -> list[Image.Image]:
        """Decode codes int64 [B, h, w] into images."""
        values = (self.pixels(codes) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return [Image.fromarray(image[..., 0] if self.mode == "L" else image, self.mode) for image in values]

    def _decode(self, codes: Tensor) -> Tensor:
        width = self.vq.quantize.embedding.weight.shape[1]
        shape = (*codes.shape, width)
        if self.vq.config.lookup_from_codebook:
            return self.vq.decode(codes, force_not_quantize=True, shape=shape).sample
        entries = self.vq.quantize.get_codebook_entry(codes.flatten(), shape)
        return self.vq.decode(entries, force_not_quantize=True).sample
