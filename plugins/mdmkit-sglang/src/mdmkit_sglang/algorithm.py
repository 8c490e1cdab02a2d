"""SGLang's side: the algorithm that `--dllm-algorithm Mdmkit` names. SGLang calls it in every round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from sglang.srt.dllm.algorithm.base import DllmAlgorithm
from sglang.srt.dllm.config import DllmConfig
from torch import Tensor

from mdmkit import MdmkitError, trait
from mdmkit_sglang.requests import Requests
from mdmkit_sglang.row import Row
from mdmkit_sglang.settings import read_sampler

# No block takes so many rounds per column and alternative: mdmkit itself ends a block that never gets full.
ROUNDS = 1000


@dataclass
class Block:
    """One block of one request: the state that SGLang carries from round to round.

    Attributes:
        rid: the request.
        start: the first column.
        row: the request's decode; None for a request that is not decoded.
        final: True if the tokens that the round's forward holds are the block's last.
    """

    rid: str
    start: int
    row: Row | None
    final: bool = False


class Mdmkit(DllmAlgorithm):
    """Decode with the sampler that `--dllm-algorithm-config` describes.

    A round is one forward of a block of each request. Each request runs a loop of its own, so requests join and leave
    at every round. An alternative of a lookahead takes one round. A block ends one round after its last token, because
    this forward stores its keys and values.
    """

    supported_architectures = ("LLaDA2MoeModelLM", "SDARForCausalLM", "SDARMoeForCausalLM")
    requests: ClassVar[Requests | None] = None

    def __init__(self, config: DllmConfig):
        super().__init__(config)
        self.sampler = read_sampler(config.algorithm_config, self.block_size, self.mask_id)
        # SGLang shows requests to the class, and makes one instance in a process.
        Mdmkit.requests = self.served = Requests(self.sampler, self.mask_id, self.block_size)

    @classmethod
    def configure_server_args(cls, server_args: Any) -> None:
        """Refuse a wrong m.yaml before the model is loaded."""
        config = DllmConfig.from_server_args(server_args)
        read_sampler(config.algorithm_config, config.block_size, config.mask_id)

    @classmethod
    def validate_request(cls, req: Any) -> str | None:
        """Return why a request is refused, or None."""
        assert cls.requests is not None, "SGLang makes the algorithm before the first request"
        return cls.requests.admit(req)

    def max_steps(self, block_size: int) -> int:
        return ROUNDS * block_size * (1 + trait("select", self.sampler.select, "alternatives"))

    def init_step_state(self, forward_batch: Any) -> list[Block]:
        self.served.forget_finished()
        starts = forward_batch.positions.view(-1, self.block_size)[:, 0].tolist()
        return [Block(rid, start, self.served.row(rid)) for rid, start in zip(forward_batch.rids, starts, strict=True)]

    @torch.inference_mode()
    def prepare_inputs(self, model_runner: Any, forward_batch: Any, states: list[Block]) -> None:
        """Write the state that each request wants to be forwarded into its block."""
        held = forward_batch.input_ids.view(-1, self.block_size)
        for i, block in enumerate(states):
            tokens, block.final = (None, True) if block.row is None else block.row.at(block.start)
            if tokens is not None:
                held[i] = tokens

    @torch.inference_mode()
    def step(self, forward_batch: Any, full_logits: Tensor, states: list[Block]) -> list[bool]:
        """Give each request its logits; True for blocks whose last tokens this forward has held."""
        logits = full_logits.view(len(states), self.block_size, -1)
        for block, own in zip(states, logits, strict=True):
            if block.row is None or block.final:
                continue
            try:
                block.row.answer(block.start, own)
            except MdmkitError as error:
                self.served.fail(block.rid, str(error))
        return [block.final or (block.row is not None and block.row.failed) for block in states]
