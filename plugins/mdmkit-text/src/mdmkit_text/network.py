"""A model in two parts, trunk and head. Every row is computed as if it were alone.

No architecture is known by name. A trial with a few tokens, compared with the model's own logits, finds out how a class
takes positions, if its head can run separately from its trunk, and if it ignores padding.
"""

from __future__ import annotations

import copy
import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mdmkit import MdmkitError, Shadow, View
from mdmkit_text.alternatives import NAME, Alternatives, alternatives_of
from mdmkit_text.attention import attention_mask
from mdmkit_text.frozen import Places, frozen_layers
from mdmkit_text.packing import Packing
from mdmkit_text.recording import recorded, repeats
from mdmkit_text.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mdmkit_text.attended import Attended
    from mdmkit_text.graphs import Graphs
    from mdmkit_text.peers import Peers

# A CPU's library multiplies two or three columns one by one, each at the price of all weights; four cost less.
FEWEST = 4


class Network:
    """A model with a language-model head: of a transformers class, or of mdmkit's own.

    Args:
        model: the model, on its device.
        ids: token ids to try it with, neither mask nor padding.
        pad_id: the id of padding.
        block: length of the attention's blocks, see `attention_mask`; None: attention is full.

    Attributes:
        offset: added to a token's position to give `position_ids`: 0, or the start of the table of positions (in
            RoBERTa and similar models the padding index + 1); None: the class takes no positions.
        split: True if the head can run separately from the trunk; if not, hidden states are the logits.
        last: the layer that makes logits of hidden states, if the head does nothing else; None: it does more.
        padded: True if padding does not change a row; if it does, only rows of the same length may run together.
        freezes: True if columns can be frozen, see `mdmkit_text.frozen`.
        maskless: True if without a mask every column attends to every key.
        shares_from: with so many keys or more, alternatives of a row read its frozen columns together, see
            `mdmkit_text.alternatives`; None: never.
        attends: True if `forward` can return attention weights, see `mdmkit_text.attended`.
        packs: True if it computes no padding, see `mdmkit_text.packing`.
        compiled: True if its layers are compiled; it then computes padding, on every device.
        vocab: V, the number of logits.
        max_length: positions that a row may have; None: no limit is known.
        graphs: records forwards whose shapes come again; None: every forward runs as it is.
        peers: the other processes that hold a part of the model; None: it is whole, or this process follows.

    Raises:
        MdmkitError: the model cannot run on tokens only, is causal, is random (dropout), mixes rows, or its logits are
            not numbers; or it should attend by blocks, and has layers with local attention.
    """

    vocab: int
    offset: int | None

    def __init__(self, model: Any, ids: Sequence[int], pad_id: int, block: int | None = None):
        self.model, self.block = model, block
        self.head = _head(model)
        self.pad_id = pad_id
        self.takes = inspect.signature(model.base_model.forward).parameters.keys()
        # `frozen` is the name in mdmkit's own class. transformers 5.2x renamed its own; encoders take none.
        names = ("frozen", "cache", "past_key_values")
        self.cache_name = next((name for name in names if name in self.takes), None)
        limit = getattr(model.config, "max_position_embeddings", None)
        self.limit = limit if isinstance(limit, int) and limit > 0 else None
        # Layers with local attention have their own masks, and the mask of the whole row would replace them.
        kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
        self.uniform = kinds == {"full_attention"}
        if block is not None and not self.uniform:
            raise MdmkitError(
                f"{type(model).__name__} has layers with local attention ({', '.join(sorted(kinds))}), and mdmkit "
                f"cannot combine these with attention by blocks of {block}. Leave out block_size or block_length, if "
                "the model was trained without blocks."
            )
        self.vocab, self.offset = 0, None
        self.split, self.padded, self.freezes, self.maskless = False, True, False, False
        self.shares_from: int | None = None
        self.packs, self.attends, self.compiled = False, False, False
        self.last: nn.Module | None = None
        self.graphs: Graphs | None = None
        self.peers: Peers | None = None
        with torch.inference_mode():
            Trial(self).run(ids)
        self.max_length = self.limit and self.limit - (self.offset or 0)

    def forward(
        self,
        tokens: Tensor,
        valid: Tensor,
        positions: Tensor,
        view: View | None = None,
        shadow: Shadow | None = None,
        plain: bool | None = None,
        attended: Attended | None = None,
    ) -> Tensor:
        """Compute hidden states [M, L, D] from tokens and positions int64 [M, L] and valid bool [M, L].

        L is a whole row, or with `view` its columns. If `padded` is False, every column must be valid. With E columns
        of `shadow`, the result is [M, L + E, D]; this needs a network that `freezes`. `plain`: True if every column is
        valid; None: the host does not know. `attended` gets the attention weights, if the network `attends`.
        """
        if attended is not None:
            return self.compute(tokens, valid, positions, view, shadow, plain, attended)
        return self._everywhere("compute", self.compute, tokens, valid, positions, view, shadow, plain)

    def _everywhere(self, name: str, call: Callable[..., Tensor], *arguments: Any) -> Tensor:
        """Call a method of this network, in all processes that share the model."""
        return call(*arguments) if self.peers is None else self.peers.together(name, call, *arguments)

    def compute(
        self,
        tokens: Tensor,
        valid: Tensor,
        positions: Tensor,
        view: View | None,
        shadow: Shadow | None,
        plain: bool | None,
        attended: Attended | None = None,
    ) -> Tensor:
        """Compute what `forward` returns; this process's part of it, if several share the model."""
        if self.graphs is not None and self.maskless and shadow is attended is None and repeats(view, plain):
            return recorded(self, self.graphs, tokens, valid, positions, view, plain)
        if view is None and shadow is None:
            return self.run(tokens, valid, positions, plain, attended)
        return self.run_frozen(tokens, valid, positions, view, shadow, attended)

    def to(self, device: str | torch.device, ids: Sequence[int]) -> None:
        """Move the model to a device; `ids` as for the class."""
        self.model.to(device)
        with torch.inference_mode():
            Trial(self).on_device(ids)

    def project(self, hidden: Tensor) -> Tensor:
        """Compute logits [..., V] from hidden states [..., D]."""
        return self._everywhere("head_of", self.head_of, hidden) if self.split else hidden

    def head_of(self, hidden: Tensor) -> Tensor:
        """Compute what `project` returns, by the head alone."""
        columns = hidden.reshape(1, -1, hidden.shape[-1])
        count = columns.shape[1]
        few = hidden.device.type == "cpu" and 1 < count < FEWEST
        if few:
            columns = torch.cat((columns, columns[:, :1].expand(-1, FEWEST - count, -1)), 1)
        logits: Tensor = self.head(inputs_embeds=columns).logits if self.last is None else self.last(columns)
        return logits[:, :count].reshape(*hidden.shape[:-1], -1)

    def run(
        self,
        tokens: Tensor,
        valid: Tensor,
        positions: Tensor,
        plain: bool | None = None,
        attended: Attended | None = None,
    ) -> Tensor:
        """Compute hidden states of whole rows; arguments as for `forward`."""
        given: dict[str, Any] = {} if attended is None else {"attended": attended}
        if self.block is not None or (self.maskless and not plain):
            # transformers would make the same of `valid`, but asks the device whether one is needed: the host waits.
            given["attention_mask"] = self.mask(attention_mask(valid, positions, self.block))
        elif "attention_mask" in self.takes and not self.maskless:
            given["attention_mask"] = valid.long()
        packing = None if plain else self.packing_of(valid, valid.shape[1], runs=attended is None)
        return self.call(given, tokens, valid, positions, packing)

    def run_frozen(
        self,
        tokens: Tensor,
        valid: Tensor,
        positions: Tensor,
        view: View | None,
        shadow: Shadow | None = None,
        attended: Attended | None = None,
    ) -> Tensor:
        """Compute hidden states beside frozen columns, or with shadow columns; arguments as for `forward`."""
        readable = view.readable if view is not None and view.reads else None
        given: dict[str, Any] = {"attention_mask": None} | ({} if attended is None else {"attended": attended})
        # Alternatives that share their row's keys never have all scores of a column in one place.
        alternatives = self.alternatives_of(view) if attended is None else None
        if alternatives is not None:
            readable = None  # a mask of each state's own columns
        if view is None or shadow is not None or not self.unmasked(view, readable is None):
            given["attention_mask"] = self.mask(attention_mask(valid, positions, self.block, readable, shadow))
        extra = 0 if shadow is None else shadow.tokens.shape[1]
        if shadow is not None:
            tokens, valid, positions = shadow.behind(tokens, valid, positions)
        keys = (valid if readable is None else readable).shape[1]
        packing = self.packing_of(valid, keys, runs=attended is None and shadow is None)
        given |= self.cache_of(view, extra, alternatives, packing)
        return self.call(given, tokens, valid, positions, packing)

    def alternatives_of(self, view: View | None) -> Alternatives | None:
        """What reads the frozen columns of a forward of alternatives; None: layers return them with the new ones."""
        return None if view is None or self.shares_from is None else alternatives_of(view, self.shares_from)

    def packing_of(self, valid: Tensor, keys: int, runs: bool) -> Packing | None:
        """What leaves out the padding of several rows; None: there is none, or the model computes it.

        `runs`: False if attention needs the rows side by side, since the model's columns are not all that it has.
        """
        if not self.packs or len(valid) == 1 or valid.all():
            return None
        return Packing(valid, keys, self.model.config.hidden_size, runs)

    def cache_of(
        self,
        view: View | None,
        extra: int = 0,
        alternatives: Alternatives | None = None,
        packing: Packing | None = None,
    ) -> dict[str, Any]:
        """The keywords that give a model's attention its frozen columns; `extra` shadow columns are not kept."""
        if view is None:
            return {}
        layers, places = self.model.config.num_hidden_layers, Places(view, extra, alternatives, packing)
        if self.cache_name == "frozen":
            return {"frozen": frozen_layers(places, layers)}
        from mdmkit_text.native_cache import native_cache

        given = {str(self.cache_name): native_cache(places, layers), "use_cache": True}
        return given if alternatives is None else given | {"alternatives": alternatives}

    def unmasked(self, view: View, own: bool = False) -> bool:
        """True if every column attends to every key, so that a forward needs no mask; `own`: to every own one."""
        if not self.maskless or view.starts is None:
            return False
        if self.block is None:
            return True
        length, last = view.live.shape[1], view.readable.shape[1] - 1
        ends = ((start, start + length - 1 if own else last) for start in view.starts)
        return all(start // self.block == end // self.block for start, end in ends)

    def call(
        self,
        given: dict[str, Any],
        tokens: Tensor,
        valid: Tensor,
        positions: Tensor,
        packing: Packing | None = None,
    ) -> Tensor:
        """Call the model, with further keywords; arguments as for `forward`."""
        if packing is not None:
            tokens, valid, positions = (packing.pack(x) for x in (tokens, valid, positions))
            return packing.unpack(self.call(given | {"packing": packing}, tokens, valid, positions))
        # Some classes read tokens in spite of the attention mask: ESM counts masks by id, also in the padding.
        given["input_ids"] = tokens.masked_fill(~valid, self.pad_id)
        if self.offset is not None:
            # Padding of a batch may be beyond the table of positions.
            given["position_ids"] = positions.masked_fill(~valid, 0) + self.offset
        return self.model.base_model(**given)[0] if self.split else self.model(**given).logits

    def mask(self, allowed: Tensor) -> Tensor:
        """The mask in the form of the attention kernel: boolean, or numbers that are added to the scores."""
        if self.model.config._attn_implementation in ("sdpa", NAME):
            return allowed
        dtype = self.model.dtype
        return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(
            ~allowed, torch.finfo(dtype).min
        )


class _Given(tuple):
    """The output of a trunk as heads read it: hidden states, and None for everything else."""

    @property
    def last_hidden_state(self) -> Tensor:
        return self[0]

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class _Echo(nn.Module):
    """Replace a trunk, and return the hidden states that it gets."""

    def forward(self, *args: Any, inputs_embeds: Tensor, **kwargs: Any) -> _Given:
        return _Given((inputs_embeds,))


def _head(model: Any) -> Any:
    """The model without its trunk, with the same weights; None if the class names no trunk.

    So everything that the class does between trunk and logits (transform, bias, soft cap, scale) is done.
    """
    name = model.base_model_prefix
    if model.base_model is model or name not in model._modules:
        return None
    head = copy.copy(model)
    head.__dict__["_modules"] = {**model._modules, name: _Echo()}
    # If accelerate has spread the model, its forward is an attribute that is bound to the original.
    head.__dict__.pop("forward", None)
    return head
