"""A model in two parts, trunk and head. Every row is computed as if it were alone.

No architecture is known by name. A trial with a few tokens, compared with the model's own logits, finds out how a class
takes positions, if its head can run separately from its trunk, and if it ignores padding.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
import weakref
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mdmkit import MdmkitError, Shadow, View
from mdmkit_text.attention import attention_mask
from mdmkit_text.frozen import frozen_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mdmkit_text.graphs import Graphs, Inputs


# Tokens of the trial, and how many of them are padding.
_TRIAL = 8
_PADDING = 2
# With attention by blocks the keys grow from block to block. Recorded forwards round their number up to these steps.
KEYS = 128


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
        padded: True if padding does not change a row; if it does, only rows of the same length may run together.
        freezes: True if columns can be frozen, see `mdmkit_text.frozen`.
        maskless: True if without a mask every column attends to every key.
        vocab: V, the number of logits.
        max_length: positions that a row may have; None: no limit is known.
        graphs: records forwards whose shapes come again; None: every forward runs as it is.

    Raises:
        MdmkitError: the model cannot run on tokens only, is causal, is random (dropout), mixes rows, or its logits are
            not numbers; or it should attend by blocks, and has layers with local attention.
    """

    def __init__(self, model: Any, ids: Sequence[int], pad_id: int, block: int | None = None):
        self.model, self.block = model, block
        self._head = _head(model)
        self._pad_id = pad_id
        self._takes = inspect.signature(model.base_model.forward).parameters.keys()
        # `frozen` is the name in mdmkit's own class. transformers 5.2x renamed its own; encoders take none.
        names = ("frozen", "cache", "past_key_values")
        self._cache_name = next((name for name in names if name in self._takes), None)
        limit = getattr(model.config, "max_position_embeddings", None)
        self._limit = limit if isinstance(limit, int) and limit > 0 else None
        # Layers with local attention have their own masks, and the mask of the whole row would replace them.
        kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
        self._uniform = kinds == {"full_attention"}
        if block is not None and not self._uniform:
            raise MdmkitError(
                f"{type(model).__name__} has layers with local attention ({', '.join(sorted(kinds))}), and mdmkit "
                f"cannot combine these with attention by blocks of {block}. Leave out block_size or block_length, if "
                "the model was trained without blocks."
            )
        self.offset: int | None = None
        self.split, self.padded, self.freezes, self.maskless = False, True, False, False
        with torch.inference_mode():
            self._settle(ids)
        self.graphs: Graphs | None = None
        self._asked: tuple[Any, bool] | None = None
        self.max_length = self._limit and self._limit - (self.offset or 0)

    def forward(
        self, tokens: Tensor, valid: Tensor, positions: Tensor, view: View | None = None, shadow: Shadow | None = None
    ) -> Tensor:
        """Compute hidden states [M, L, D] from tokens and positions int64 [M, L] and valid bool [M, L].

        L is a whole row, or with `view` its columns. If `padded` is False, every column must be valid. With E columns
        of `shadow`, the result is [M, L + E, D]; this needs a network that `freezes`.
        """
        if self.graphs is not None and self.maskless and shadow is None and _repeats(view):
            return self._recorded(self.graphs, tokens, valid, positions, view)
        if view is None and shadow is None:
            return self._run(tokens, valid, positions)
        return self._run_frozen(tokens, valid, positions, view, shadow)

    def project(self, hidden: Tensor) -> Tensor:
        """Compute logits [..., V] from hidden states [..., D]."""
        if not self.split:
            return hidden
        rows = hidden if hidden.dim() == 3 else hidden.reshape(1, -1, hidden.shape[-1])
        return self._head(inputs_embeds=rows).logits.reshape(*hidden.shape[:-1], -1)

    def _recorded(self, graphs: Graphs, tokens: Tensor, valid: Tensor, positions: Tensor, view: View | None) -> Tensor:
        """Compute the same, by a recording if these shapes come again."""
        inputs = {"tokens": tokens, "valid": valid, "positions": positions}
        if view is None:
            masked = self.block is not None or not self._all_valid(valid)
            key: tuple[Any, ...] = (tokens.shape, masked)
        else:
            view = self._in_steps(view)
            inputs |= {"start": view.start, "slots": view.slots, "readable": view.readable}
            masked = not self._unmasked(view)
            # A recording writes and reads the memory of the store itself.
            store = tuple((x.data_ptr(), x.shape) for pair in view.store.values() for x in pair)
            key = (tokens.shape, masked, view.readable.shape, view.first, view.width, store)

        def forward(given: Inputs) -> Tensor:
            now = None if view is None else _of_inputs(view, given)
            allowed = None
            if masked:
                readable = None if now is None else now.readable
                allowed = self._mask(attention_mask(given["valid"], given["positions"], self.block, readable))
            keywords = {"attention_mask": allowed} | self._cache_of(now)
            return self._call(keywords, given["tokens"], given["valid"], given["positions"])

        return graphs(key, forward, inputs)

    def _in_steps(self, view: View) -> View:
        """The view with the number of its keys rounded up, if that grows from block to block."""
        have = view.readable.shape[1]
        keys = min(-(-have // KEYS) * KEYS, view.width)
        if self.block is None or keys == have:
            return view
        wide = nn.functional.pad(view.readable, (0, keys - have))
        return dataclasses.replace(view, readable=wide, starts=None)

    def _all_valid(self, valid: Tensor) -> bool:
        """True if nothing is padded. The device is asked once for each tensor: the loop passes the same one again."""
        if self._asked is None or self._asked[0]() is not valid:
            self._asked = weakref.ref(valid), bool(valid.all())
        return self._asked[1]

    def _run(self, tokens: Tensor, valid: Tensor, positions: Tensor) -> Tensor:
        given: dict[str, Any] = {}
        if self.block is not None:
            given["attention_mask"] = self._mask(attention_mask(valid, positions, self.block))
        elif "attention_mask" in self._takes:
            given["attention_mask"] = valid.long()
        return self._call(given, tokens, valid, positions)

    def _run_frozen(
        self, tokens: Tensor, valid: Tensor, positions: Tensor, view: View | None, shadow: Shadow | None = None
    ) -> Tensor:
        readable = view.readable if view is not None and view.reads else None
        given: dict[str, Any] = {"attention_mask": None}
        if view is None or shadow is not None or not self._unmasked(view):
            given["attention_mask"] = self._mask(attention_mask(valid, positions, self.block, readable, shadow))
        given |= self._cache_of(view, 0 if shadow is None else shadow.tokens.shape[1])
        if shadow is not None:
            tokens, valid, positions = shadow.behind(tokens, valid, positions)
        return self._call(given, tokens, valid, positions)

    def _cache_of(self, view: View | None, extra: int = 0) -> dict[str, Any]:
        """The keywords that give a model's attention its frozen columns."""
        if view is None:
            return {}
        layers = self.model.config.num_hidden_layers
        if self._cache_name == "frozen":
            return {"frozen": frozen_layers(view, layers, extra)}
        from mdmkit_text.native_cache import native_cache

        return {str(self._cache_name): native_cache(view, layers, extra), "use_cache": True}

    def _unmasked(self, view: View) -> bool:
        """True if every column attends to every key, so that a forward needs no mask."""
        if not self.maskless or view.starts is None:
            return False
        last = view.readable.shape[1] - 1
        return self.block is None or all(start // self.block == last // self.block for start in view.starts)

    def _call(self, given: dict[str, Any], tokens: Tensor, valid: Tensor, positions: Tensor) -> Tensor:
        # Some classes read tokens in spite of the attention mask: ESM counts masks by id, also in the padding.
        given["input_ids"] = tokens.masked_fill(~valid, self._pad_id)
        if self.offset is not None:
            # Padding of a batch may be beyond the table of positions.
            given["position_ids"] = positions.masked_fill(~valid, 0) + self.offset
        return self.model.base_model(**given)[0] if self.split else self.model(**given).logits

    def _mask(self, allowed: Tensor) -> Tensor:
        """The mask in the form of the attention kernel: boolean, or numbers that are added to the scores."""
        if self.model.config._attn_implementation == "sdpa":
            return allowed
        dtype = self.model.dtype
        return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(
            ~allowed, torch.finfo(dtype).min
        )

    def _settle(self, ids: Sequence[int]) -> None:
        """Set `vocab`, `offset`, `split` and `padded`; the last three so that the model's own logits result."""
        length = max(1, min(_TRIAL, self._limit or _TRIAL) - _PADDING)
        row = torch.tensor([[ids[i % len(ids)] for i in range(length)]], device=self.model.device)
        alone = row, torch.ones_like(row, dtype=torch.bool), torch.arange(length, device=row.device)[None]
        truth = self._truth(alone)
        self.vocab = truth.shape[-1]

        def error(compute: Callable[[], Tensor]) -> float:
            try:
                return _distance(compute(), truth)
            except Exception:  # this class does not support this way
                return math.inf

        def shifted(offset: int) -> float:
            self.offset = offset
            return error(lambda: self._run(*alone))

        # Errors of wrong positions or of padding are far above both bounds; half precision rounds at 1e-3 per layer.
        bound = (1e-4 if truth.dtype == torch.float32 else 3e-2) * (1 + float(truth[truth.isfinite()].abs().max()))
        if error(lambda: self._run(*alone)) > bound:
            raise MdmkitError(
                f"{type(self.model).__name__} gives other logits each time for the same tokens. If it is in training "
                "mode (dropout), call its eval()."
            )
        if "position_ids" in self._takes:
            # Beyond the table of positions a GPU raises no error that Python can handle; it can no longer be used.
            starts = [s for s in self._starts() if s == 0 or s + length <= (self._limit or 0)]
            best = min(starts, key=shifted)
            self.offset = best if shifted(best) <= bound else None
        self.split = self._head is not None
        self.split = self.split and error(lambda: self.project(self._run(*alone))) <= bound
        tokens, valid, positions = (nn.functional.pad(each, (0, _PADDING)) for each in alone)
        self.padded = error(lambda: self.project(self._run(tokens, valid, positions))[:, :length]) <= bound
        self._must_look_ahead(*alone)
        self._must_keep_rows_apart(*alone, bound)
        if self._cache_name is not None and self.padded and self._uniform:
            self.freezes = error(lambda: self.project(self._refrozen(*alone))) <= bound
        if self.freezes:
            tokens, valid, positions = (each[:, : self.block] for each in alone)
            masked, self.maskless = self.project(self._whole(tokens, valid, positions)), True
            self.maskless = _distance(self.project(self._whole(tokens, valid, positions)), masked) <= bound

    def _refrozen(self, tokens: Tensor, valid: Tensor, positions: Tensor) -> Tensor:
        """The hidden states of the whole row, with the middle computed again between frozen columns."""
        width, store = tokens.shape[1], dict[Any, Any]()
        middle = slice(width // 3, width - width // 3)
        first = self._whole(tokens, valid, positions, store)
        again = self._part(tokens, valid, positions, store, middle)
        return torch.cat((first[:, : middle.start], again, first[:, middle.stop :]), 1)

    def _whole(self, tokens: Tensor, valid: Tensor, positions: Tensor, store: dict[Any, Any] | None = None) -> Tensor:
        """The hidden states of the whole row, which is kept in a store."""
        return self._part(tokens, valid, positions, {} if store is None else store, slice(0, tokens.shape[1]))

    def _part(self, tokens: Tensor, valid: Tensor, positions: Tensor, store: dict[Any, Any], span: slice) -> Tensor:
        """The hidden states of some columns of a row; the others are frozen."""
        frozen = valid.clone()
        frozen[:, span] = False
        whole = span == slice(0, tokens.shape[1])
        view = View(
            store=store,
            slots=tokens.new_zeros(1),
            size=1,
            width=tokens.shape[1],
            start=tokens.new_full((1,), span.start),
            live=valid[:, span],
            seen=frozen,
            readable=valid,
            keep=valid.new_full((1,), whole),
            span=span,
            reads=not whole,
            keeps=whole,
            first=0,
            starts=(span.start,),
        )
        return self._run_frozen(tokens[:, span], valid[:, span], positions[:, span], view)

    def _starts(self) -> tuple[int, ...]:
        """Possible starts of a table of positions: 0, after the padding index, or 2 (MPNet, for any padding index)."""
        padding = getattr(self.model.config, "pad_token_id", None)
        return 0, (padding if isinstance(padding, int) else self._pad_id) + 1, 2

    def _truth(self, alone: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """The logits of the whole model, with its default positions."""
        name = type(self.model).__name__
        try:
            truth = self._run(*alone)
        except Exception as error:
            raise MdmkitError(f"{name} does not run on token ids alone: {' '.join(str(error).split())}") from error
        # −inf means that the model never writes this token.
        if truth.isnan().any() or truth.isposinf().any() or not truth.isfinite().any(-1).all():
            raise MdmkitError(f"{name} gives logits that are not numbers: damaged weights, or too narrow a dtype.")
        return truth

    def _must_look_ahead(self, row: Tensor, valid: Tensor, positions: Tensor) -> None:
        """Refuse a causal model: the first position reads nothing of what follows, and the last reads what precedes.

        A model in which no position reads another, such as the frequencies of tokens, is not causal.
        """
        # Other tokens, not the same ones in another order: a model without positions gives the same logits for these.
        after, before = row[:, :1].expand_as(row), row[:, -1:].expand_as(row)
        if torch.equal(after, row):
            return
        logits, ahead, behind = (self._run(tokens, valid, positions) for tokens in (row, after, before))
        if torch.equal(logits[:, 0], ahead[:, 0]) and not torch.equal(logits[:, -1], behind[:, -1]):
            raise MdmkitError(
                f"{type(self.model).__name__} cannot fill masks in: what follows a position changes nothing of what "
                'it says there. It is causal, whatever config.json says: "is_causal": false does not reach this class.'
            )

    def _must_keep_rows_apart(self, row: Tensor, valid: Tensor, positions: Tensor, bound: float) -> None:
        """Refuse a model in which a row's logits depend on the rows beside it."""
        others = row[:, :1].expand_as(row)
        if torch.equal(others, row):
            return
        try:
            beside = self._run(torch.cat((row, others)), *(each.expand(2, -1) for each in (valid, positions)))[:1]
        except Exception as error:
            raise MdmkitError(
                f"{type(self.model).__name__} does not run on two rows at a time: {' '.join(str(error).split())}"
            ) from error
        alone = self.project(self._run(row, valid, positions))
        difference = _distance(self.project(beside), alone)
        # In half precision two rows may use another kernel, and a token near a tie then goes to another expert.
        if not difference <= (bound if alone.dtype == torch.float32 else 10 * bound):
            raise MdmkitError(
                f"{type(self.model).__name__} mixes rows: the logits of a row change by {difference:.2g} if another "
                "row stands beside it, so a text would depend on the other texts of its batch. The model's code may "
                "compute a mean over its first axis; each row must be computed as if it were alone."
            )


def _repeats(view: View | None) -> bool:
    """True for a forward whose shapes come again at each step: of whole rows, or between frozen columns.

    The first forward in a block, which stores the columns of rows that do not stand side by side, is none.
    """
    return view is None or (view.reads and (view.first is not None or view.keeps is False))


def _of_inputs(view: View, given: Inputs) -> View:
    """The view with the tensors of a recording. It holds no others, and no numbers that differ from step to step."""
    nothing: Any = None
    return dataclasses.replace(
        view,
        slots=given["slots"],
        start=given["start"],
        live=given["valid"],
        readable=given["readable"],
        seen=nothing,
        keep=nothing,
        span=None,
        starts=None,
    )


def _distance(logits: Tensor, truth: Tensor) -> float:
    """The largest difference of two logits; −inf at the same place in both is no difference."""
    return float((logits - truth).masked_fill(logits.isneginf() & truth.isneginf(), 0).abs().max())


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
