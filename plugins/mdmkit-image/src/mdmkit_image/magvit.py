"""MAGVIT-v2's image tokenizer as MMaDA uses it (showlab/magvitv2): a VQGAN whose codes are the signs of its latents.

The network is that of taming-transformers. Its sizes are read from the checkpoint's tensors, and the modules below have
the checkpoint's names, so no tensor is renamed. The codebook is not stored: code c is the vector whose entries are +1
for binary digits 1 of c, the most significant first, and −1 for digits 0 (lookup-free quantisation, arXiv:2310.05737).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from mdmkit import MdmkitError
from mdmkit_image.layout import said
from mdmkit_image.numbers import named

GROUPS, EPSILON = 32, 1e-6
# Other tensors of the checkpoint: both follow from the number of bits.
_TABLES = ("quantize.embedding", "quantize.power_vals")
Sizes = Mapping[str, Tensor]


def _conv(sizes: Sizes, name: str, stride: int = 1, padding: int | None = None) -> nn.Conv2d:
    out, into, side, _ = sizes[f"{name}.weight"].shape
    return nn.Conv2d(into, out, side, stride, side // 2 if padding is None else padding)


def _norm(sizes: Sizes, name: str) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, len(sizes[f"{name}.weight"]), EPSILON)


def _count(sizes: Sizes, name: str) -> int:
    return len({found[1] for key in sizes if (found := re.match(rf"{re.escape(name)}\.(\d+)\.", key))})


class Residual(nn.Module):
    def __init__(self, sizes: Sizes, name: str):
        super().__init__()
        self.norm1, self.conv1 = _norm(sizes, f"{name}.norm1"), _conv(sizes, f"{name}.conv1")
        self.norm2, self.conv2 = _norm(sizes, f"{name}.norm2"), _conv(sizes, f"{name}.conv2")
        wider = f"{name}.nin_shortcut"
        self.nin_shortcut = _conv(sizes, wider) if f"{wider}.weight" in sizes else None

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return new + (x if self.nin_shortcut is None else self.nin_shortcut(x))


class Attention(nn.Module):
    """One head over all cells."""

    def __init__(self, sizes: Sizes, name: str):
        super().__init__()
        self.norm = _norm(sizes, f"{name}.norm")
        self.q, self.k, self.v, self.proj_out = (_conv(sizes, f"{name}.{part}") for part in ("q", "k", "v", "proj_out"))

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        q, k, v = (part(normed).flatten(2).transpose(1, 2) for part in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        return x + self.proj_out(mixed.transpose(1, 2).view_as(x))


class Level(nn.Module):
    """Residual blocks, then half the side (encoder) or twice the side (decoder), if the level has weights for it."""

    def __init__(self, sizes: Sizes, name: str):
        super().__init__()
        self.block = nn.ModuleList(Residual(sizes, f"{name}.block.{i}") for i in range(_count(sizes, f"{name}.block")))
        self.downsample = self.upsample = None
        if f"{name}.downsample.conv.weight" in sizes:
            self.downsample = nn.ModuleDict({"conv": _conv(sizes, f"{name}.downsample.conv", 2, 0)})
        if f"{name}.upsample.conv.weight" in sizes:
            self.upsample = nn.ModuleDict({"conv": _conv(sizes, f"{name}.upsample.conv")})

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        if self.downsample is not None:
            x = self.downsample["conv"](F.pad(x, (0, 1, 0, 1)))
        if self.upsample is not None:
            x = self.upsample["conv"](F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return x


class Coder(nn.Module):
    """The encoder, which has `down`, or the decoder, which has `up`."""

    down: nn.ModuleList
    up: nn.ModuleList
    quant_conv: nn.Conv2d
    post_quant_conv: nn.Conv2d

    def __init__(self, sizes: Sizes, name: str):
        super().__init__()
        self.conv_in = _conv(sizes, f"{name}.conv_in")
        levels = "down" if name == "encoder" else "up"
        self.add_module(
            levels,
            nn.ModuleList(Level(sizes, f"{name}.{levels}.{i}") for i in range(_count(sizes, f"{name}.{levels}"))),
        )
        self.mid = nn.ModuleDict(
            {
                "block_1": Residual(sizes, f"{name}.mid.block_1"),
                "attn_1": Attention(sizes, f"{name}.mid.attn_1"),
                "block_2": Residual(sizes, f"{name}.mid.block_2"),
            }
        )
        self.norm_out, self.conv_out = _norm(sizes, f"{name}.norm_out"), _conv(sizes, f"{name}.conv_out")
        beyond = "quant_conv" if name == "encoder" else "post_quant_conv"
        self.add_module(beyond, _conv(sizes, f"{name}.{beyond}"))

    def _middle(self, x: Tensor) -> Tensor:
        for part in self.mid.values():
            x = part(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        if "down" in self._modules:
            x = self.conv_in(x)
            for level in self.down:
                x = level(x)
            return self.quant_conv(self.conv_out(F.silu(self.norm_out(self._middle(x)))))
        x = self._middle(self.conv_in(self.post_quant_conv(x)))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Magvit(nn.Module):
    """The whole tokenizer, built to the shapes of a checkpoint's tensors."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.encoder, self.decoder = Coder(sizes, "encoder"), Coder(sizes, "decoder")

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Magvit:
        """Read `model.safetensors` of a directory, in float32.

        Raises:
            MdmkitError: there is none, or it holds other tensors.
        """
        file = folder / "model.safetensors"
        try:
            weights = load_file(file)
            model = cls(weights)
            model.load_state_dict({key: value.float() for key, value in weights.items() if key not in _TABLES})
        except KeyError as error:
            raise MdmkitError(f"{file} is not a MAGVIT-v2 tokenizer (showlab/magvitv2): it lacks {error}.") from error
        except Exception as error:  # safetensors raises its own error types
            raise MdmkitError(f"{file} cannot be read as MAGVIT-v2 tokenizer: {said(error)}") from error
        return model.to(device).eval().requires_grad_(False)


class MagvitCodec:
    """From pixels in [0, 1] to codes and back, with the interface of `mdmkit_image.codec.VQCodec`.

    Attributes:
        codes: size of the codebook, 2 to the number of bits.
        factor: pixels along a side of a code's cell.
        mode: PIL's name of the pixels.
    """

    mode = "RGB"

    def __init__(self, model: Magvit):
        self.model = model
        self.bits: int = model.decoder.post_quant_conv.in_channels
        self.codes = 2**self.bits
        self.factor = 2 ** sum(level.downsample is not None for level in model.encoder.down)
        self._digits = torch.arange(self.bits - 1, -1, -1)

    def tensors(self) -> dict[str, Tensor]:
        """Its weights, by names that begin with the part's."""
        return named("magvit", self.model)

    @property
    def device(self) -> torch.device:
        return self.model.decoder.conv_in.weight.device

    @torch.inference_mode()
    def pixels(self, codes: Tensor) -> Tensor:
        """Decode codes int64 [B, h, w] into pixels float [B, 3, H, W] in [0, 1]."""
        return (self.raw(codes) / 2 + 0.5).clamp(0, 1)

    @torch.inference_mode()
    def raw(self, codes: Tensor) -> Tensor:
        """The decoder's own pixels, about −1 to 1."""
        digits = (codes[..., None] >> self._digits.to(codes.device)) & 1
        return self.model.decoder((digits * 2 - 1).float().permute(0, 3, 1, 2))

    @torch.inference_mode()
    def latents(self, pixels: Tensor) -> Tensor:
        """The encoder's latents [B, bits, h, w] of its own pixels, −1 to 1."""
        return self.model.encoder(pixels)

    def encode(self, pixels: Tensor) -> Tensor:
        """The codes int64 [B, h, w] of pixels float [B, 3, H, W] in [0, 1]."""
        return self.codes_of(self.latents(pixels * 2 - 1))

    def codes_of(self, latents: Tensor) -> Tensor:
        """The codes int64 [B, h, w] of latents: a digit is 1 where the latent is above 0."""
        weights = 2 ** self._digits.to(latents.device)
        return ((latents > 0).long() * weights[:, None, None]).sum(1)

    def images(self, codes: Tensor) -> list[Image.Image]:
        """Decode codes int64 [B, h, w] into images, one at a time, because they need much memory."""
        values = [(self.pixels(code[None])[0] * 255).round().to(torch.uint8).permute(1, 2, 0).cpu() for code in codes]
        return [Image.fromarray(value.numpy(), self.mode) for value in values]
