"""A small scheduler that calls SGLang's algorithms as SGLang's own does, with a model of mdmkit."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch

BLOCK, MASK, END = 8, 125, 126


def configured(given: dict[str, Any], name: str = "Mdmkit", fdfo: bool = True) -> Any:
    """SGLang's DllmConfig for these models."""
    config = importlib.import_module("sglang.srt.dllm.config").DllmConfig
    return config(name, given, BLOCK, MASK, 32, fdfo)


@dataclass(eq=False)
class Request:
    """The fields of SGLang's Req that matter here, and where its decode stands."""

    rid: str
    origin_input_ids: list[int]
    length: int
    seed: int | None = None
    ignore_eos: bool = False
    fields: dict[str, Any] = field(default_factory=dict)
    return_logprob: bool = False
    custom_logit_processor: Any = None
    tokenizer: Any = None
    eos_token_ids: frozenset[int] = frozenset({END})
    output_ids: list[int] = field(default_factory=list)
    context: list[int] = field(default_factory=list)  # tokens whose keys and values are stored
    incomplete: list[int] = field(default_factory=list)
    dllm_algo_state: Any = None
    to_finish: Any = None
    reason: Any = None

    def __post_init__(self) -> None:
        more = {"max_new_tokens": self.length, "sampling_seed": self.seed, "ignore_eos": self.ignore_eos}
        self.sampling_params = SimpleNamespace(**more, **self.fields)

    def finished(self) -> bool:
        return self.reason is not None

    @property
    def stored(self) -> int:
        return len(self.context)

    @property
    def block(self) -> list[int]:
        known = [*self.origin_input_ids, *self.output_ids, *[MASK] * BLOCK]
        return self.incomplete or known[self.stored : self.stored + BLOCK]

    @property
    def prefills(self) -> bool:
        return self.stored + BLOCK <= len(self.origin_input_ids) + len(self.output_ids)

    def accept(self, tokens: list[int]) -> None:
        """A block is final: `process_batch_result_dllm` of SGLang's scheduler, for first done, first out."""
        self.incomplete, self.dllm_algo_state = [], None
        new = tokens[max(0, len(self.origin_input_ids) + len(self.output_ids) - self.stored) :]
        self.context += tokens
        if not new:
            return
        self.output_ids += new
        stops = [i for i, token in enumerate(self.output_ids) if token in self.eos_token_ids and not self.ignore_eos]
        if self.to_finish is not None:
            self.reason = self.to_finish
        elif stops or len(self.output_ids) >= self.length:
            self.reason = "stop" if stops else "length"
            del self.output_ids[min([self.length, *(i + 1 for i in stops)]) :]


class Scheduler:
    """Rounds as SGLang's scheduler makes them, with a model of mdmkit.

    Args:
        algorithm: one of SGLang's, or `Mdmkit`.
        backbone: the model.
    """

    def __init__(self, algorithm: Any, backbone: Any):
        self.algorithm, self.backbone = algorithm, backbone
        self.requests: list[Request] = []
        self.rounds = 0

    def add(self, request: Request) -> str | None:
        refused = self.algorithm.validate_request(request)
        if not refused:
            self.requests.append(request)
        return refused

    def round(self) -> None:
        """One round: of the requests with prompt blocks to store, or else of all that decode."""
        prefill = [request for request in self.requests if request.prefills]
        batch = prefill or self.requests
        states = [request.dllm_algo_state for request in batch]
        _, tokens, accepted, states, _ = self.algorithm.run(self, self.batch(batch), states)
        self.rounds += 1
        for request, ids, done, state in zip(batch, tokens, accepted, states, strict=True):
            if done:
                assert ids == self.forwarded[request.rid] or request.to_finish, "a block is done that was not forwarded"
                request.accept(ids)
            else:
                request.incomplete, request.dllm_algo_state = ids, state
        self.requests = [request for request in self.requests if not request.finished()]

    def batch(self, requests: list[Request]) -> Any:
        self.running = requests
        starts = torch.tensor([request.stored for request in requests], dtype=torch.int32)
        return SimpleNamespace(
            batch_size=len(requests),
            input_ids=torch.tensor([request.block for request in requests]).flatten(),
            positions=(starts[:, None] + torch.arange(BLOCK, dtype=torch.int32)).flatten(),
            rids=[request.rid for request in requests],
            dllm_prompt_mask=None,
        )

    def forward(self, batch: Any, pp_proxy_tensors: Any = None) -> Any:
        """SGLang's ModelRunner: logits of every column of the blocks, [B · block, V]."""
        own = batch.input_ids.view(-1, BLOCK)
        self.forwarded = {rid: row.tolist() for rid, row in zip(batch.rids, own, strict=True)}
        logits = []
        for request, row in zip(self.running, own, strict=True):
            tokens = torch.cat((torch.tensor(request.context, dtype=torch.long), row))[None]
            with torch.no_grad():
                valid, positions = torch.ones_like(tokens, dtype=torch.bool), torch.arange(tokens.shape[1])[None]
                out = self.backbone.forward(tokens, valid, None, positions=positions)
                logits.append(self.backbone.project(out.hidden[:, -BLOCK:])[0])
        output = SimpleNamespace(full_logits=torch.cat(logits))
        return SimpleNamespace(logits_output=output, can_run_graph=False)

    def drain(self) -> None:
        while self.requests:
            self.round()
