"""A toy model for tests of samplers: small, and with random weights, so that nothing is downloaded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from mdmkit.canvas.canvas import Canvas
from mdmkit.canvas.layout import lay_out
from mdmkit.canvas.prompt import Prompt
from mdmkit.errors import MdmkitError
from mdmkit.model.backbone import Backbone, Output
from mdmkit.testing.device import device_of_tests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mdmkit.model.shadow import Shadow
    from mdmkit.settings.plan import Plan

PAD = 0


class ToyBackbone(Backbone):
    """Two layers of full attention with fixed random weights: each logit depends on every token and on its position.

    The vocabulary: 0 is padding, then the letters a, b, c, …, then the mask `_`, then one id that the model never
    uses. Padding and the unused id are forbidden. A prompt is ids, or a text of letters and `_`.

    Args:
        vocab: V; the mask is V−2.
        seed: seed of the weights.
        dtype: type of the weights; use float64 if rounding must not change a result.
        length: how many masks are appended to a prompt without masks.
        max_length: the largest number of positions; None: no limit.

    Attributes:
        reads: the ids that a text may hold.
    """

    mask_id: int | None

    samples = ("ab", "a__b")
    shadows = True
    offers: Mapping[str, Literal["row", "column", "key"]] = {"attention": "key"}

    def __init__(
        self,
        vocab: int = 13,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        length: int | None = 8,
        max_length: int | None = 256,
        dim: int = 16,
        device: torch.device | str | None = None,
    ):
        self.vocab, self.mask_id, self.forbidden = vocab, vocab - 2, (PAD, vocab - 1)
        self.reads = range(1, vocab - 1)
        self.length, self.max_length = length, max_length
        self.device = device_of_tests() if device is None else torch.device(device)
        generator = torch.Generator().manual_seed(seed)

        def weight(rows: int, columns: int, scale: float) -> Tensor:
            drawn = torch.randn(rows, columns, generator=generator, dtype=torch.float64) * scale
            return drawn.to(self.device, dtype)

        self.embedding = weight(vocab, dim, 1.0)
        self.layers = [{name: weight(dim, dim, dim**-0.5) for name in ("q", "k", "v", "up", "down")} for _ in range(2)]
        self.head = weight(dim, vocab, 2.0 * dim**-0.5)

    @classmethod
    def accepts(cls, ref: str) -> bool:
        return ref.startswith("toy:")

    @classmethod
    def load(cls, ref: str, *, device: str = "cpu", dtype: str = "auto", **options: Any) -> ToyBackbone:
        """Build the toy of a seed, `toy:SEED`; options are the constructor's."""
        seed = ref.removeprefix("toy:")
        if not seed.isdigit():
            raise MdmkitError(f"model {ref!r}: a toy is named by the seed of its weights, as in toy:0.")
        kind = torch.float32 if dtype == "auto" else getattr(torch, dtype)
        return cls(seed=int(seed), dtype=kind, device="cpu" if device == "auto" else device, **options)

    def encode(self, prompts: Sequence[Prompt], plan: Plan) -> tuple[Canvas, None]:
        canvas = lay_out(
            prompts,
            [self._ids(prompt) for prompt in prompts],
            [[]] * len(prompts),
            mask_id=self.mask_id,
            pad_id=PAD,
            vocab=self.vocab,
            plan_length=plan.length,
            default_length=self.length,
            max_length=self.max_length,
        )
        return canvas, None

    def _ids(self, prompt: Prompt) -> list[int]:
        if prompt.ids is not None:
            return list(prompt.ids)
        letters = {self.render(i): i for i in self.reads}
        text = prompt.text or ""
        strange = [c for c in text if c not in letters]
        if strange:
            raise MdmkitError(f"prompt {prompt.index}: the toy reads {''.join(letters)}, not {strange[0]!r}.")
        return [letters[c] for c in text]

    def forward(
        self, tokens: Tensor, valid: Tensor, conditioning: Any, *, positions: Tensor, cache: Any = None, **more: Any
    ) -> Output:
        shadow: Shadow | None = more.get("shadow")
        allowed, length = valid[:, None], tokens.shape[1]
        if shadow is not None:
            allowed = shadow.mask(allowed.expand(-1, length, -1), allowed, positions)
            tokens, _, positions = shadow.behind(tokens, valid, positions)
        x = self.embedding[tokens] + self._places(positions)
        # The bias is finite, so that a row of padding only does not become NaN, and within half precision.
        low = max(-1e9, torch.finfo(x.dtype).min / 2)
        bias = torch.zeros(allowed.shape, dtype=x.dtype, device=x.device).masked_fill(~allowed, low)
        attention = x.new_zeros(bias.shape)
        for layer in self.layers:
            match = (x @ layer["q"]) @ (x @ layer["k"]).transpose(1, 2) / math.sqrt(x.shape[-1])
            weights = (match + bias).softmax(-1)
            attention = attention + weights / len(self.layers)
            x = x + weights @ (x @ layer["v"])
            x = x + (x @ layer["up"]).tanh() @ layer["down"]
            x = x / x.square().mean(-1, keepdim=True).sqrt()
        extra = {} if shadow is None else {"shadow": x[:, length:]}
        if "attention" in more.get("extras", ()):
            extra["attention"] = attention[:, :length, :length]
        return Output(x[:, :length], extra or None)

    def _places(self, positions: Tensor) -> Tensor:
        """Sinusoids of the position, [M, L, D]."""
        half = self.embedding.shape[1] // 2
        rates = 30.0 ** -(torch.arange(half, device=positions.device, dtype=self.embedding.dtype) / half)
        angle = positions[..., None] * rates
        return torch.cat((angle.sin(), angle.cos()), -1)

    def project(self, hidden: Tensor) -> Tensor:
        return hidden @ self.head

    def decode(self, canvas: Canvas) -> list[str]:
        shown = canvas.shown
        rows = zip(canvas.tokens.tolist(), shown.tolist(), strict=True)
        return ["".join(self.render(t) for t, keep in zip(row, keeps, strict=True) if keep) for row, keeps in rows]

    def texts(self) -> list[bytes | None]:
        return [self.render(i).encode() for i in range(self.vocab)]

    def render(self, token: int) -> str:
        return "·" if token == PAD else "_" if token == self.mask_id else chr(ord("a") + token - 1)
