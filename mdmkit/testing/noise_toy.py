"""The toy model without a mask: an open position looks like a random letter, a different one at each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from mdmkit.canvas.canvas import Canvas
from mdmkit.testing.toy import PAD, ToyBackbone


class NoiseToy(ToyBackbone):
    """The network of `ToyBackbone`, with the same weights, which sees uniform random letters at open positions.

    The ids are those of `ToyBackbone`, but the mask's id is an unused id here. So no prompt can hold a mask.
    """

    samples = ("ab", "abc")
    shadows = False  # a shadow holds the mask

    def __init__(self, vocab: int = 13, **options: Any):
        super().__init__(vocab, **options)
        self.mask_id, self.forbidden, self.reads = None, (PAD, vocab - 2, vocab - 1), range(1, vocab - 2)

    @classmethod
    def accepts(cls, ref: str) -> bool:
        return ref.startswith("noise_toy:")

    @classmethod
    def load(cls, ref: str, *, device: str = "cpu", dtype: str = "auto", **options: Any) -> ToyBackbone:
        """Build the toy of a seed, `noise_toy:SEED`; options are the constructor's."""
        return super().load(ref.replace("noise_toy:", "toy:", 1), device=device, dtype=dtype, **options)

    def blank(self, canvas: Canvas, noise: Callable[[str], Tensor]) -> Tensor:
        return 1 + (noise("blank") * len(self.reads)).long()
