"""The fastest loop that we know of, for one kind of decoding: what a step on a GPU can cost. `steps.py` uses it.

Greedy by confidence, one token a step, rows in step, nothing else: keys of all columns in static tensors, attention
that writes the window's keys in place, and the whole step (trunk, head, choice, write) in one CUDA graph.

It reads all columns of a row, also those behind the block. With attention by blocks these should not be read: the text
is then another one, and the time is an upper bound of what is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

NAME = "captured"


class Captured:
    """A loop over the blocks of `rows` rows of prompt + length columns.

    Args:
        model: of a transformers class; it must take its attention by name.
        wide: the columns of a block's first step: `row`, all of them, or `block`, the last block and this one.
    """

    def __init__(self, model: Any, rows: int, prompt: int, length: int, block: int, wide: str, mask_id: int):
        config, device = model.config, model.device
        self.model, self.mask_id = model, mask_id
        self.prompt, self.length, self.block, self.whole = prompt, length, block, wide == "row"
        shape = (rows, config.num_key_value_heads, prompt + length, config.head_dim)
        layers = range(config.num_hidden_layers)
        self.keys, self.values = (
            [torch.zeros(shape, dtype=model.dtype, device=device) for _ in layers] for _ in ("keys", "values")
        )
        self.canvas = torch.zeros(rows, prompt + length, dtype=torch.long, device=device)
        first = prompt + length if self.whole else 2 * block
        self.columns = {"enter": torch.arange(first, device=device), "step": torch.arange(block, device=device)}
        self.own = torch.arange(block, device=device)
        self.run = {name: self._record(name) for name in self.columns}

    def decode(self, prompts: Tensor) -> Tensor:
        """Fill the masks behind prompts [rows, prompt]; the tokens [rows, length]."""
        self.canvas.fill_(self.mask_id)
        self.canvas[:, : self.prompt] = prompts
        for low in range(self.prompt, self.prompt + self.length, self.block):
            block = torch.arange(low, low + self.block, device=self.canvas.device)
            self.own.copy_(block)
            self.columns["step"].copy_(block)
            if not self.whole:
                self.columns["enter"].copy_(torch.arange(low - self.block, low + self.block, device=block.device))
            for number in range(self.block):
                self.run["step" if number else "enter"]()
        return self.canvas[:, self.prompt :]

    def _step(self, name: str) -> None:
        columns = self.columns[name]
        self._columns = columns
        tokens = self.canvas.index_select(1, columns)
        positions = columns.expand(len(tokens), -1)
        hidden = self.model.base_model(input_ids=tokens, position_ids=positions, use_cache=False)[0]
        logits = self.model.lm_head(hidden.index_select(1, self.own - columns[0])).float()
        logits[..., self.mask_id] = -torch.inf
        best, token = logits.max(-1)
        confidence = best - logits.logsumexp(-1)
        is_open = self.canvas.index_select(1, self.own) == self.mask_id
        place = confidence.masked_fill(~is_open, -torch.inf).argmax(-1, keepdim=True)
        self.canvas.scatter_(1, self.own[place], token.gather(1, place))

    def attention(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, scaling: Any = None, **more: Any
    ) -> tuple[Tensor, None]:
        keys = self.keys[module.layer_idx].index_copy_(2, self._columns, key)
        values = self.values[module.layer_idx].index_copy_(2, self._columns, value)
        mixed = functional.scaled_dot_product_attention(query, keys, values, scale=scaling, enable_gqa=True)
        return mixed.transpose(1, 2).contiguous(), None

    def _record(self, name: str) -> Callable[[], None]:
        """What makes a step: on a GPU a graph, elsewhere the step itself."""
        with self:
            if self.canvas.device.type != "cuda":
                return lambda: self._step(name)
            side = torch.cuda.Stream()
            with torch.cuda.stream(side):
                for _ in range(3):
                    self._step(name)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._step(name)
            return graph.replay

    def __enter__(self) -> Captured:
        """Let the model call this loop's attention."""
        from transformers import AttentionInterface

        self._usual = self.model.config._attn_implementation
        AttentionInterface.register(NAME, self.attention)
        self.model.set_attn_implementation(NAME)
        return self

    def __exit__(self, *error: object) -> None:
        self.model.set_attn_implementation(self._usual)
