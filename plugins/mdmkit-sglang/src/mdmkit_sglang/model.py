"""The model of one request, as mdmkit's loop sees it: SGLang makes its forwards, one state of the block a round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import greenlet
import torch
from torch import Tensor

from mdmkit import Backbone, Canvas, MdmkitError, Output, Plan, Prompt, lay_out


@dataclass(frozen=True)
class Ask:
    """A state that the loop wants to be forwarded.

    Attributes:
        start: the first column of its block.
        tokens: int64 [block], what the model is to see in the block.
        before: int64 [block], the final tokens of the block before it, if they are new.
    """

    start: int
    tokens: Tensor
    before: Tensor | None


class SglangModel(Backbone):
    """A model whose forwards are made elsewhere: `forward` gives each state to the parent greenlet, which answers with
    the block's logits [block, V].

    A hidden state is the number of the place where the column's logits stand, so [M, L, V] is never made for a long
    prompt. A place is free again when a step has ended that forwarded something later.

    Args:
        mask_id: the id of the mask.
        vocab: V.
        block: columns of a block.
        ends: ids that end an answer, the model's own first.
        pads: further ids that `draw.end_penalty` makes less likely, such as padding.
        forbidden: ids that are never chosen.
        alternatives: how many states a step may look at.
    """

    mask_id: int
    attention, cache, caches = "block", "block", frozenset({"block"})

    def __init__(
        self,
        mask_id: int,
        vocab: int,
        block: int,
        ends: Sequence[int] = (),
        pads: Sequence[int] = (),
        forbidden: Sequence[int] = (),
        alternatives: int = 1,
        device: torch.device | str = "cpu",
    ):
        self.mask_id, self.vocab, self.block, self.forbidden = mask_id, vocab, block, forbidden
        self.ends, self.endings, self.device = ends, sorted({*ends, *pads}), torch.device(device)
        self._logits: Tensor | None = None  # [places, block, V]
        self._places = 2 * alternatives  # those of this step, and of the step before
        self._next = self._oldest = self._of_step = 0

    @classmethod
    def load(cls, ref: str, **options: Any) -> SglangModel:
        raise MdmkitError("SGLang loads the model; this class only stands for it.")

    def encode(self, prompts: Sequence[Prompt], plan: Plan) -> tuple[Canvas, None]:
        ids = [prompt.ids or () for prompt in prompts]
        canvas = lay_out(
            prompts,
            ids,
            [()] * len(ids),
            mask_id=self.mask_id,
            pad_id=0,
            vocab=self.vocab,
            block=self.block,
        )
        return canvas, None

    def forward(
        self, tokens: Tensor, valid: Tensor, conditioning: Any, *, positions: Tensor, cache: Any = None, **more: Any
    ) -> Output:
        # The last column is the last one of the block: what is left of it is prompt, or a block that is finished now.
        start = int(positions[0, -1]) + 1 - self.block
        asks = [Ask(start, row[-self.block :], row[-2 * self.block : -self.block]) for row in tokens]
        first = torch.tensor([self._answered(ask) for ask in asks], device=tokens.device, dtype=torch.float64)
        inside = torch.arange(tokens.shape[1], device=tokens.device) - (tokens.shape[1] - self.block)
        return Output((first[:, None] * self.block + inside.clamp_min(0))[..., None])

    def _answered(self, ask: Ask) -> int:
        """Ask for one state; return the number of the answer."""
        parent = greenlet.getcurrent().parent
        assert parent is not None, "only a loop in a greenlet of its own can wait for SGLang's rounds"
        logits = parent.switch(ask)
        if self._logits is None:
            self._logits = logits.new_empty(self._places, *logits.shape)
        if self._next - self._oldest == len(self._logits):
            self._grow()
        self._logits[self._next % len(self._logits)] = logits
        self._next += 1
        return self._next - 1

    def _grow(self) -> None:
        """Double the number of places."""
        assert self._logits is not None
        old, size = self._logits, len(self._logits)
        self._logits = old.new_empty(2 * size, *old.shape[1:])
        for number in range(self._oldest, self._next):
            self._logits[number % (2 * size)] = old[number % size]

    def step_ended(self) -> None:
        """Free the places that no later step can read: those from before this step, if it has forwarded anything."""
        if self._next > self._of_step:
            self._oldest, self._of_step = self._of_step, self._next

    def project(self, hidden: Tensor) -> Tensor:
        assert self._logits is not None
        places = self._logits.flatten(0, 1)
        return places[hidden[..., 0].long() % len(places)]

    def decode(self, canvas: Canvas) -> list[Any]:
        return [None] * len(canvas.tokens)  # SGLang makes the text

    def render(self, token: int) -> str:
        raise MdmkitError(
            "a part of this sampler compares itself with the texts of the model's tokens, as a corpus table (score pc) "
            "does, and inside SGLang these are not known when the server starts. Use another part."
        )
