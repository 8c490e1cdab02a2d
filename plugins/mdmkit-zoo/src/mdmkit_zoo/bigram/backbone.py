"""`zoo:bigram` as a backbone: an exact masked model of English words, or of any small chain of a test."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from mdmkit import Backbone, Canvas, MdmkitError, Output, Prompt, lay_out, unknown
from mdmkit_zoo.bigram.chain import Chain
from mdmkit_zoo.bigram.smoothing import witten_bell
from mdmkit_zoo.bigram.text import MASK, PUNCTUATION, join, split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mdmkit import Plan

# The mask's own logit: its probability is 0 in both dtypes, and differences of logits are never NaN.
NEVER = -1e4
DTYPES = {"auto": torch.float32, "float32": torch.float32, "float64": torch.float64}

# The forward pass computes the columns one by one, and keeps log marginals [M, L, V].
LONGEST = 1024


class Bigram(Backbone):
    """A word chain: hidden states are the exact log marginals; the head returns them.

    Ids 0 to V − 1 are words; id V is the mask, and pads. Logits have V + 1 entries; the mask's is −10⁴.

    Args:
        transitions: float32 or float64 [V, V], P(next | previous); the backbone computes on its device.
        initial: [V], the distribution of the first word; None: the stationary one.
        words: the V words; None: `w0`, `w1`, …
    """

    mask_id: int
    drops_space = True

    def __init__(
        self,
        transitions: Tensor,
        initial: Tensor | None = None,
        words: Sequence[str] | None = None,
        *,
        length: int | None = None,
        samples: Sequence[str] = (),
    ):
        self.chain = Chain(transitions, initial)
        self.words = list(words) if words is not None else [f"w{i}" for i in range(self.chain.words)]
        self.ids = {word: i for i, word in enumerate(self.words)} | {MASK: self.chain.mask_id}
        self.mask_id, self.vocab = self.chain.mask_id, self.chain.words + 1
        self.forbidden = (self.mask_id,)
        self.length, self.samples, self.device = length, samples, transitions.device

    @classmethod
    def load(cls, ref: str, *, device: str = "cpu", dtype: str = "auto", **options: Any) -> Bigram:
        """Load a directory that `mdmkit zoo build bigram` wrote; dtype is float32 (auto) or float64.

        Raises:
            MdmkitError: a dtype that is too imprecise, any option (there are none), or a missing file.
        """
        if options:
            raise MdmkitError(unknown("option of zoo:bigram", next(iter(options)), ()))
        if dtype not in DTYPES:
            raise MdmkitError(
                f"zoo:bigram computes exact probabilities, which is not possible in {dtype!r}: use {', '.join(DTYPES)}."
            )
        folder = Path(ref)
        try:
            counts = load_file(folder / "counts.safetensors")
            words = (folder / "vocabulary.txt").read_text(encoding="utf-8").split()
            use = json.loads((folder / "mdmkit.json").read_text())
        except OSError as problem:
            raise MdmkitError(
                f"{ref} is not a bigram model ({problem}). `mdmkit zoo build bigram TEXT` makes one."
            ) from None
        transitions = witten_bell(counts["first"], counts["second"], counts["count"], counts["unigram"])
        initial = counts["unigram"].double() / counts["unigram"].sum()
        model = cls(transitions.to(device, DTYPES[dtype]), initial, words, length=use["length"], samples=use["samples"])
        model.loaded_from = (folder,)
        return model

    def encode(self, prompts: Sequence[Prompt], plan: Plan) -> tuple[Canvas, None]:
        before = [list(p.ids) if p.ids is not None else self.tokens(p.text or "", f"prompt {p.index}") for p in prompts]
        canvas = lay_out(
            prompts,
            before,
            [[] for _ in prompts],
            mask_id=self.mask_id,
            pad_id=self.mask_id,
            vocab=self.vocab,
            plan_length=plan.length,
            default_length=self.length,
            max_length=LONGEST,
        )
        return canvas, None

    def tokens(self, text: str, name: str = "text") -> list[int]:
        """Turn text into ids; `_` is the mask.

        Raises:
            MdmkitError: a word that the chain does not know; the error names the nearest ones. `name` names the text in
                the error.
        """
        words = split(text)
        for word in words:
            if word not in self.ids:
                near = difflib.get_close_matches(word, self.words, n=3)
                guess = f" Near it: {', '.join(near)}." if near else ""
                raise MdmkitError(
                    f"{name}: {word!r} is not among the {len(self.words)} words and marks of the bigram model.{guess} "
                    f"Use another word, or {MASK} to have one filled in."
                )
        return [self.ids[word] for word in words]

    def text(self, ids: Sequence[int]) -> str:
        """Turn ids into text."""
        return join([self.render(i) for i in ids])

    def forward(
        self, tokens: Tensor, valid: Tensor, conditioning: Any, *, positions: Tensor, cache: Any = None, **more: Any
    ) -> Output:
        return Output(self.chain.marginals(tokens, valid))

    def project(self, hidden: Tensor) -> Tensor:
        return F.pad(hidden, (0, 1), value=NEVER)

    def decode(self, canvas: Canvas) -> list[str]:
        shown = canvas.shown
        return [self.text(row[keep].tolist()) for row, keep in zip(canvas.tokens, shown, strict=True)]

    def texts(self) -> list[bytes | None]:
        spaced = (word if word in PUNCTUATION else f" {word}" for word in self.words)
        return [*(word.encode() for word in spaced), None]

    def render(self, token: int) -> str:
        return MASK if token == self.mask_id else self.words[token]
