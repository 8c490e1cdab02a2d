"""A Llama decoder without the causal mask, for models so small that to import transformers takes longer than a decode.

The results are those of transformers' LlamaForCausalLM: the same operations, in the same order and precision. It is
used only for a model directory that asks for it, see `mdmkit_text.families.plain`; every other checkpoint is loaded
into the class of transformers.

Shapes: M rows, L columns, K keys, D the width of the model, H query heads, G heads of keys and values, E the width of
a head, V ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mdmkit_text.attended import Attended
    from mdmkit_text.frozen import FrozenLayer
    from mdmkit_text.packing import Packing


@dataclass(frozen=True)
class Settings:
    """The sizes of a model, under their names in config.json."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    tie_word_embeddings: bool
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    mask_token_id: int | None = None
    _attn_implementation: ClassVar[str] = "sdpa"  # as transformers' config objects name the kernel


class PlainDecoder(nn.Module):
    """The decoder and its head. The names of the weights are those of LlamaForCausalLM."""

    base_model_prefix: ClassVar[str] = "model"

    def __init__(self, config: Settings):
        super().__init__()
        self.config = config
        self.model = Trunk(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        **more: Any,
    ) -> SimpleNamespace:
        """Compute `.logits` [M, L, V]; the arguments are those of the trunk."""
        hidden = self.model(input_ids, attention_mask=attention_mask, position_ids=position_ids, **more)[0]
        return SimpleNamespace(logits=self.lm_head(hidden))

    @property
    def base_model(self) -> Trunk:
        return self.model

    @property
    def device(self) -> torch.device:
        return self.lm_head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.lm_head.weight.dtype


class Trunk(nn.Module):
    """From ids to hidden states."""

    def __init__(self, config: Settings):
        super().__init__()
        # nn.Embedding(…) would draw random weights, for which torch imports its compiler if they are on `meta`.
        rows = torch.empty(config.vocab_size, config.hidden_size)
        self.embed_tokens = nn.Embedding.from_pretrained(rows, freeze=False)
        self.layers = nn.ModuleList(Layer(config, index) for index in range(config.num_hidden_layers))
        self.norm = Norm(config)
        # A checkpoint does not hold them. They are numbers even if the weights are built without memory (`meta`).
        steps = torch.arange(0, config.head_dim, 2, dtype=torch.float32, device="cpu")
        frequencies = 1.0 / config.rope_theta ** (steps / config.head_dim)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        frozen: Sequence[FrozenLayer] | None = None,
        packing: Packing | None = None,
        attended: Attended | None = None,
    ) -> tuple[Tensor]:
        """Compute hidden states [M, L, D].

        Args:
            input_ids: int64 [M, L].
            attention_mask: which keys are read: int64 or bool [M, L], or bool [M, 1, L, K]; None: all.
            position_ids: int64 [M, L]; None: the columns.
            frozen: for each layer the frozen keys and values, among which it puts the new ones.
            packing: the columns are those of several rows, one behind another. M is then 1, and the mask is that of the
                rows, with their padding.
            attended: gets the attention weights.
        """
        hidden = self.embed_tokens(input_ids)
        if position_ids is None:
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        if attention_mask is not None and attention_mask.dim() == 2:
            # Without a mask the kernel is faster.
            attention_mask = None if attention_mask.all() else attention_mask.bool()[:, None, None]
        turns = self._turns(position_ids, hidden.dtype)
        for i, layer in enumerate(self.layers):
            around = Around(attention_mask, None if frozen is None else frozen[i], packing, attended)
            hidden = layer(hidden, turns, around)
        return (self.norm(hidden),)

    def _turns(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The cosines and sines of the rotary positions, each [M, 1, L, E]."""
        angles = positions[..., None].float() * self.get_buffer("frequencies").float()
        angles = torch.cat((angles, angles), -1)[:, None]
        return angles.cos().to(dtype), angles.sin().to(dtype)


class Around(NamedTuple):
    """What a layer's attention reads besides the columns, and who gets its weights; see `PlainDecoder.forward`."""

    mask: Tensor | None
    frozen: FrozenLayer | None
    packing: Packing | None
    attended: Attended | None


class Layer(nn.Module):
    """Attention, then the feed-forward network, each added to its input."""

    def __init__(self, config: Settings, index: int):
        super().__init__()
        self.self_attn = Attention(config, index)
        self.mlp = FeedForward(config)
        self.input_layernorm = Norm(config)
        self.post_attention_layernorm = Norm(config)

    def forward(self, hidden: Tensor, turns: tuple[Tensor, Tensor], around: Around) -> Tensor:
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), turns, around)
        return hidden + self.mlp(self.post_attention_layernorm(hidden))


class Attention(nn.Module):
    """Every column attends to every key that the mask allows. H / G query heads share a head of keys and values."""

    def __init__(self, config: Settings, index: int):
        super().__init__()
        self.index = index
        self.width, self.scale = config.head_dim, config.head_dim**-0.5
        self.grouped = config.num_key_value_heads != config.num_attention_heads
        queries, keys = config.num_attention_heads * self.width, config.num_key_value_heads * self.width
        self.q_proj = nn.Linear(config.hidden_size, queries, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, keys, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, keys, bias=False)
        self.o_proj = nn.Linear(queries, config.hidden_size, bias=False)

    def forward(self, hidden: Tensor, turns: tuple[Tensor, Tensor], around: Around) -> Tensor:
        query, key, value = (
            each(hidden).unflatten(-1, (-1, self.width)).transpose(1, 2)  # [M, H or G, L, E]
            for each in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = _turned(query, *turns), _turned(key, *turns)
        if around.frozen is not None:
            key, value = around.frozen.update(key, value)

        def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, rows: slice) -> Tensor:
            return self._attend(query, key, value, around._replace(mask=mask), rows)

        if around.packing is not None:
            return self.o_proj(around.packing.attention(attend, query, key, value, around.mask))
        return self.o_proj(attend(query, key, value, around.mask, slice(0, len(query))))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, around: Around, rows: slice) -> Tensor:
        """The attention of some rows side by side, [N, L, H · E]."""
        if around.attended is not None:
            around.attended.add(self.index, query, key, around.mask, self.scale)
        frozen = around.frozen
        if frozen is not None and frozen.alternatives is not None:
            alternatives = frozen.alternatives.of(rows)
            mixed = alternatives(frozen.layer, query, key, value, around.mask, self.scale)
        else:
            mixed = functional.scaled_dot_product_attention(
                query, key, value, attn_mask=around.mask, scale=self.scale, enable_gqa=self.grouped
            )
        return mixed.transpose(1, 2).flatten(2)


class FeedForward(nn.Module):
    """SwiGLU (arXiv:2002.05202)."""

    def __init__(self, config: Settings):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(hidden)) * self.up_proj(hidden))


class Norm(nn.Module):
    """RMSNorm (arXiv:1910.07467), computed in float32."""

    def __init__(self, config: Settings):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.eps = config.rms_norm_eps

    def forward(self, hidden: Tensor) -> Tensor:
        wide = hidden.float()
        scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * scaled.to(hidden.dtype)


def _turned(heads: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotate queries or keys [M, heads, L, E] by their positions (arXiv:2104.09864)."""
    left, right = heads.chunk(2, -1)
    return heads * cosines + torch.cat((-right, left), -1) * sines
