"""SGLang's requests: what they may ask for, their seeds, and the row of each."""

from __future__ import annotations

import logging
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch

from mdmkit import Prompt, Sampler, row_seed, trait
from mdmkit_sglang.model import SglangModel
from mdmkit_sglang.row import Row

logger = logging.getLogger(__name__)
# Fields of a request that would have no effect, and the value that means that they are not used. Temperature, top_p,
# top_k, min_p and repetition_penalty are not here: SGLang sets them from the checkpoint, so nobody may have asked.
UNUSED = {
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "min_new_tokens": 0,
    "logit_bias": None,
    "json_schema": None,
    "regex": None,
    "ebnf": None,
    "structural_tag": None,
}
HEALTH = "HEALTH_CHECK"  # begins the ids of requests by which SGLang looks whether it is well
SPECIAL = ("pad", "cls", "sep", "bos", "eos", "unk")


class Requests:
    """The requests that SGLang decodes. Nothing of a request outlives it: all is kept by weak references to it.

    Args:
        sampler: the sampler of the server.
        mask_id: the id of the mask.
        block: columns of a block.
    """

    def __init__(self, sampler: Sampler, mask_id: int, block: int):
        self.sampler, self.mask_id, self.block = sampler, mask_id, block
        self._known: WeakValueDictionary[str, Any] = WeakValueDictionary()
        self._seeds: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._rows: WeakKeyDictionary[Any, Row] = WeakKeyDictionary()
        self._arrived = 0
        self._never: list[int] | None = None

    def admit(self, request: Any) -> str | None:
        """Note a request that has arrived; return why it is refused, or None."""
        asked = request.sampling_params
        unused = [name for name, off in UNUSED.items() if getattr(asked, name, off) not in (off, None, {})]
        unused += ["logprobs"] if request.return_logprob else []
        unused += ["custom_logit_processor"] if request.custom_logit_processor else []
        if unused:
            return (
                f"{', '.join(unused)}: not with --dllm-algorithm Mdmkit, whose sampler comes from "
                "--dllm-algorithm-config. Leave it out."
            )
        if self.sampler.stop is not None and (asked.ignore_eos or not _ends(request)):
            return (
                f"stop {self.sampler.name_of('stop')!r} of the server's sampler ends an answer with an end token, and "
                "this request has none (ignore_eos, or the model names none)."
            )
        seed, arrived = asked.sampling_seed, self._arrived
        self._arrived += not request.rid.startswith(HEALTH)
        self._known[request.rid] = request
        self._seeds[request] = row_seed(self.sampler.seed, arrived) if seed is None else row_seed(seed, 0)
        return None

    def row(self, rid: str) -> Row | None:
        """The row of a request; None if the request was not admitted."""
        request = self._known.get(rid)
        if request is None:
            # One that SGLang itself has refused still takes one round.
            logger.warning("request %s was never shown to validate_request, and is not decoded", rid)
            return None
        if request not in self._rows:
            self._rows[request] = self._made(request)
        return self._rows[request]

    def fail(self, rid: str, message: str) -> None:
        """End a request with an error of its own."""
        from sglang.srt.managers.schedule_batch import FINISH_ABORT

        logger.error("request %s: %s", rid, message)
        if (request := self._known.get(rid)) is not None:
            request.to_finish = FINISH_ABORT(message, 500, "InternalServerError")

    def forget_finished(self) -> None:
        """Drop the rows of requests that have ended, if SGLang still holds these."""
        for request in [request for request in self._rows if request.finished()]:
            del self._rows[request]

    @property
    def rows(self) -> int:
        """How many requests have a row."""
        return len(self._rows)

    def _made(self, request: Any) -> Row:
        # SGLang has cut max_new_tokens to the context by now. The mask's id in a prompt is an ordinary token there.
        ids, length = tuple(request.origin_input_ids), request.sampling_params.max_new_tokens
        prompt = Prompt(ids=ids, seed=self._seeds[request], length=length, infill=False)
        ends, tokenizer = _ends(request), request.tokenizer
        pads = [i for i in (getattr(tokenizer, "pad_token_id", None),) if i is not None]
        # With ignore_eos an end token is one like any other: the row goes on behind it.
        ending = [] if request.sampling_params.ignore_eos else ends
        alternatives = trait("select", self.sampler.select, "alternatives")

        def model(vocab: int, device: torch.device) -> SglangModel:
            never = self._forbidden(tokenizer, vocab, ends)
            return SglangModel(self.mask_id, vocab, self.block, ending, [*ends, *pads], never, alternatives, device)

        return Row(self.sampler, prompt, self.block, model)

    def _forbidden(self, tokenizer: Any, vocab: int, ends: list[int]) -> list[int]:
        """Ids that are never chosen: special ones that do not end an answer, and those that no token has."""
        if tokenizer is None:
            return []
        if self._never is None:
            special = {getattr(tokenizer, f"{name}_token_id", None) for name in SPECIAL} - {None}
            self._never = sorted({*special, *range(vocab)} - ({*tokenizer.get_vocab().values()} - special))
        return [i for i in self._never if i < vocab and i not in ends]


def _ends(request: Any) -> list[int]:
    """Ids that end an answer, the tokenizer's own first."""
    own = getattr(request.tokenizer, "eos_token_id", None)
    ends = {*(request.eos_token_ids or ()), *(() if own is None else (own,))}
    return sorted(ends, key=lambda end: (end != own, end))
