"""The observer `stream`: a row's text, printed from left to right as it becomes final."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import torch

from mdmkit.errors import MdmkitError
from mdmkit.loop.observe import Observer
from mdmkit.stage.traits import trait
from mdmkit.terminal import visible
from mdmkit.watch.final import final_until

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit.canvas.canvas import Canvas
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.canvas.row import Row
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone
    from mdmkit.stage.actions import Actions
    from mdmkit.stage.step import Step

# What a tokenizer shows for a character whose last bytes are not there yet.
UNFINISHED = "\ufffd"

Sink = Callable[[int, str, bool], Any]


class TextStream(Observer):
    """Pass on the final text of each row: the text of tokens that are committed with nothing open before them.

    If the commit rewrites, a block's text is final when its row has left the block.

    Args:
        sink: a function of three arguments: the row's index among the prompts, the new piece of text, and True for the
            row's last piece (which may be empty). None prints to standard error: one row as it grows; of several rows,
            whole lines, each after the index of its row.
    """

    terminal = True

    def __init__(self, sink: Sink | None = None):
        self.sink = sink if sink is not None else _Printer()
        self.index: dict[int, int] = {}
        self.said: dict[int, str] = {}
        self.reached: dict[int, int] = {}

    def on_start(self, sampler: Sampler, backbone: Backbone) -> None:
        self.decode, self.rewrites = backbone.decode, trait("commit", sampler.commit, "rewrites")

    def on_admit(self, id: int, prompt: Prompt, canvas: Canvas) -> None:
        if isinstance(self.sink, _Printer):
            self.sink.several |= prompt.index > 0 or len(self.index) > 0
        self.index[id], self.said[id], self.reached[id] = prompt.index, "", 0

    def on_step(self, step: Step, actions: Actions, choice: Tensor) -> None:
        canvas, first = final_until(step, actions, choice, self.rewrites)
        moved = [b for b, reached in enumerate(first.tolist()) if reached != self.reached[step.ids[b]]]
        if not moved:
            return
        before = torch.arange(canvas.tokens.shape[1], device=first.device) < first[moved][:, None]
        # The backbone shows what is valid or editable: the rest is hidden from it.
        some = canvas.at(moved)
        texts = self.decode(replace(some, valid=some.valid & before, editable=some.editable & before))
        for b, text, reached in zip(moved, texts, first[moved].tolist(), strict=True):
            self.reached[step.ids[b]] = reached
            self._say(step.ids[b], text, last=False)

    def on_leave(self, id: int, row: Row | None) -> None:
        if row is not None:
            self._say(id, row.text, last=True)
        for each in (self.index, self.said, self.reached):
            del each[id]

    def _say(self, id: int, text: Any, last: bool) -> None:
        if not isinstance(text, str):
            raise MdmkitError(
                f"observer stream prints text, and this model decodes to {type(text).__name__}: leave it out."
            )
        said = self.said[id]
        if not last:
            text = text.rstrip(UNFINISHED)
            if not text.startswith(said):  # the tokenizer joins the last word otherwise now: wait for what follows
                return
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(said, text, strict=False)))
        piece = text[same:]
        self.said[id] = text
        if piece or last:
            self.sink(self.index[id], piece, last)


class _Printer:
    """Standard error as a sink."""

    def __init__(self) -> None:
        self.several = False
        self._line: dict[int, str] = {}

    def __call__(self, row: int, piece: str, last: bool) -> None:
        if not self.several:
            print(visible(piece), end="\n" if last else "", file=sys.stderr, flush=True)
            return
        *lines, rest = (self._line.pop(row, "") + piece).split("\n")
        if last:
            lines.append(rest)
        else:
            self._line[row] = rest
        for line in lines:
            print(f"[{row}] {visible(line)}", file=sys.stderr, flush=True)
