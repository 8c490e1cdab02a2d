"""The observer `stream`: a row's text, printed from left to right as it becomes final."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import torch

from mdmkit.errors import MdmkitError
from mdmkit.loop.observe import Observer

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit.canvas.canvas import Canvas
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.canvas.trace import Trace
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone
    from mdmkit.stage.actions import Actions
    from mdmkit.stage.step import Step

# What a tokenizer shows for a character of which the last bytes are still to come.
UNFINISHED = "\ufffd"

Sink = Callable[[int, str, bool], Any]


class TextStream(Observer):
    """Hand on what is final of each row: the text of the tokens that are committed with nothing open before them.

    Under a commit that takes tokens back, a block's text is final once its row has left the block.

    Args:
        sink: gets the row's index among the prompts, the piece of text that is new, and whether it is the row's last
            (which may be empty). None prints to standard error: one row as it grows, several by whole lines, each
            after its row's index.
    """

    terminal = True

    def __init__(self, sink: Sink | None = None):
        self.sink = sink if sink is not None else _Printer()
        self._coming: list[int] | None = None

    def on_batch(self, prompts: Sequence[Prompt]) -> None:
        self._coming = [prompt.index for prompt in prompts]

    def on_start(self, sampler: Sampler, backbone: Backbone, canvas: Canvas) -> None:
        rows = len(canvas.tokens)
        self.decode, self.rewrites = backbone.decode, getattr(sampler.commit, "rewrites", False)
        self.index = self._coming if self._coming is not None else list(range(rows))  # None: run without `decode`
        self._coming = None
        self.said = [""] * rows
        self.reached = [0] * rows
        if isinstance(self.sink, _Printer):
            self.sink.several |= rows > 1

    def on_step(self, step: Step, actions: Actions, choice: Tensor) -> None:
        canvas = step.canvas
        if not self.rewrites:
            tokens = actions.written(canvas, step.span)[torch.arange(step.rows, device=choice.device), choice]
            canvas = canvas.with_tokens(tokens)
        unsettled = canvas.masked
        if self.rewrites:
            unsettled[:, step.span] |= step.member
        self._advance(canvas, unsettled, last=False)

    def on_end(self, canvas: Canvas, trace: Trace) -> None:
        self._advance(canvas, torch.zeros_like(canvas.valid), last=True)

    def _advance(self, canvas: Canvas, unsettled: Tensor, last: bool) -> None:
        width = unsettled.shape[1]
        first = torch.where(unsettled.any(1), unsettled.long().argmax(1), width)
        reached = first.tolist()
        if reached == self.reached and not last:
            return
        self.reached = reached
        before = torch.arange(width, device=first.device) < first[:, None]
        # The backbone shows what is valid or editable: the rest is hidden from it.
        for row, text in enumerate(
            self.decode(replace(canvas, valid=canvas.valid & before, editable=canvas.editable & before))
        ):
            if not isinstance(text, str):
                raise MdmkitError(
                    f"observer stream prints text, and this model decodes to {type(text).__name__}: leave it out."
                )
            self._say(row, text, last)

    def _say(self, row: int, text: str, last: bool) -> None:
        said = self.said[row]
        if not last:
            text = text.rstrip(UNFINISHED)
            if not text.startswith(said):  # the tokenizer joins the last word otherwise now: wait for what follows
                return
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(said, text, strict=False)))
        piece = text[same:]
        self.said[row] = text
        if piece or last:
            self.sink(self.index[row], piece, last)


class _Printer:
    """Standard error as a sink."""

    def __init__(self) -> None:
        self.several = False
        self._line: dict[int, str] = {}

    def __call__(self, row: int, piece: str, last: bool) -> None:
        if not self.several:
            print(piece, end="\n" if last else "", file=sys.stderr, flush=True)
            return
        *lines, rest = (self._line.pop(row, "") + piece).split("\n")
        if last:
            lines.append(rest)
        else:
            self._line[row] = rest
        for line in lines:
            print(f"[{row}] {line}", file=sys.stderr, flush=True)
