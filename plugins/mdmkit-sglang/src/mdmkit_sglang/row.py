"""One request's decode: mdmkit's own engine, which stops wherever it asks for a forward, until SGLang has made it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import greenlet
import torch
from torch import Tensor

import mdmkit
from mdmkit import Engine, MdmkitError, Prompt, Sampler
from mdmkit_sglang.model import Ask, SglangModel


class Row:
    """A request from its first block to its last.

    The engine runs in a greenlet: in the thread of SGLang's scheduler, so that device and stream are SGLang's. It runs
    under inference mode, and so must every call of `answer`.

    Args:
        sampler: the sampler.
        prompt: ids, length and seed.
        block: columns of a block.
        model: makes the model of this request from V and the device.
    """

    def __init__(self, sampler: Sampler, prompt: Prompt, block: int, model: Callable[[int, torch.device], SglangModel]):
        self.prompt, self.block, self.failed = prompt, block, False
        self._sampler, self._model, self._given = sampler, model, len(prompt.ids or ())
        self._loop: greenlet.greenlet | None = None
        self._ask: Ask | None = None
        self._ended: Tensor | None = None
        self._closing = 0

    def at(self, start: int) -> tuple[Tensor | None, bool]:
        """What a forward of the block at `start` is to hold: int64 [block], and True if these tokens are final.

        None: the tokens that SGLang has there, which are prompt, or committed earlier, or a block's masks.
        """
        if self.failed:
            return None, True
        if self._loop is None:
            return None, start + self.block <= self._given
        if self._ended is not None:
            rest = self._ended[start : start + self.block]
            return torch.nn.functional.pad(rest, (0, self.block - len(rest)), value=self._closing), True
        assert self._ask is not None
        if start == self._ask.start:
            return self._ask.tokens, False
        before = self._ask.before if start == self._ask.start - self.block else None
        return before if before is not None and len(before) else None, True

    def answer(self, start: int, logits: Tensor) -> None:
        """Give the loop the logits [block, V] of what `at` said, if it was not final; the loop runs to its next ask.

        Raises:
            MdmkitError: a part of the sampler fails, or SGLang has left a block out.
        """
        try:
            if self._loop is None:
                self._begin(logits)
            if self._ask is not None and start != self._ask.start:
                raise MdmkitError(
                    f"SGLang decodes the block at {start}, and the next block of this request is at "
                    f"{self._ask.start}. This version of SGLang does not decode block after block."
                )
            if self._ask is not None:
                self._go_on(logits)
        except MdmkitError:
            self.failed = True
            self.close()
            raise

    def _begin(self, logits: Tensor) -> None:
        model = self._model(logits.shape[-1], logits.device)
        self._closing = next(iter(model.ends), 0)
        self._loop = greenlet.greenlet(_decode)
        self._went(self._loop.switch(self._sampler, model, self.prompt), logits)

    def _go_on(self, logits: Tensor) -> None:
        assert self._loop is not None
        self._went(self._loop.switch(logits), logits)

    def _went(self, said: Ask | mdmkit.Row, logits: Tensor) -> None:
        self._ask = said if isinstance(said, Ask) else None
        if isinstance(said, mdmkit.Row):
            self._ended = torch.tensor(said.trace["tokens"], device=logits.device)

    def close(self) -> None:
        """Give up the decode, and what it holds."""
        loop, self._loop = self._loop, None
        if loop is not None and not loop.dead:
            # The loop's own inference mode ends with it; without this one it would stay on in the caller. In another
            # thread, where the garbage collector may run, greenlet itself ends the loop later.
            with torch.inference_mode(), contextlib.suppress(greenlet.error):
                loop.throw(greenlet.GreenletExit)

    def __del__(self) -> None:
        self.close()


def _decode(sampler: Sampler, model: SglangModel, prompt: Prompt) -> mdmkit.Row:
    """Decode one prompt. It knows nothing of its `Row`, so that the row is freed with the request."""
    engine, ended = Engine(sampler, model, slots=1), []
    engine.admit(prompt)
    while engine.busy:
        ended += engine.step()
        model.step_ended()
    (one,) = ended
    if one.error is not None:
        raise one.error
    assert one.row is not None
    return one.row
