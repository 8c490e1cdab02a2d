"""A trial of a model with a few tokens: how its class takes positions, and what it can do.

No architecture is known by name. Each way of calling the class is compared with the model's own logits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mdmkit import MdmkitError, Store, View
from mdmkit_text.alternatives import FEWEST_KEYS, NAME
from mdmkit_text.attended import Attended
from mdmkit_text.inspection import inspect_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mdmkit_text.network import Network

# Tokens of the trial, and how many of them are padding.
_TRIAL = 8
_PADDING = 2


class Trial:
    """Try a network; see `run`."""

    def __init__(self, network: Network):
        self.net, self.name = network, type(network.model).__name__

    def run(self, ids: Sequence[int]) -> None:
        """Set what the network finds out about its model, from `vocab` to `packs`.

        All but `vocab` are set so that the model's own logits result.

        Raises:
            MdmkitError: the model cannot fill masks, see `Network`.
        """
        alone = self._row(ids)
        length = alone[0].shape[1]
        truth = self._truth(alone)
        self.net.vocab = truth.shape[-1]

        def error(compute: Callable[[], Tensor]) -> float:
            try:
                return _distance(compute(), truth)
            except Exception:  # this class does not support this way
                return math.inf

        def shifted(offset: int) -> float:
            self.net.offset = offset
            return error(lambda: self.net.run(*alone))

        bound = _bound(truth)
        if error(lambda: self.net.run(*alone)) > bound:
            raise MdmkitError(
                f"{self.name} gives other logits each time for the same tokens. If it is in training "
                "mode (dropout), call its eval()."
            )
        if "position_ids" in self.net.takes:
            # Beyond the table of positions a GPU raises no error that Python can handle; it can no longer be used.
            starts = [s for s in self._starts() if s == 0 or s + length <= (self.net.limit or 0)]
            best = min(starts, key=shifted)
            self.net.offset = best if shifted(best) <= bound else None
        self.net.split = self.net.head is not None
        self.net.split = self.net.split and error(lambda: self.net.project(self.net.run(*alone))) <= bound
        self.net.last = self._last_layer(self.net.run(*alone)) if self.net.split else None

        def padded() -> float:
            tokens, valid, positions = (nn.functional.pad(each, (0, _PADDING)) for each in alone)
            return error(lambda: self.net.project(self.net.run(tokens, valid, positions))[:, :length])

        self.net.padded = padded() <= bound
        self._must_look_ahead(*alone)
        self._must_keep_rows_apart(*alone, bound)
        if self.net.cache_name is not None and self.net.padded and self.net.uniform:
            self.net.freezes = error(lambda: self.net.project(self._refrozen(*alone))) <= bound
        if self.net.freezes:
            tokens, valid, positions = (each[:, : self.net.block] for each in alone)
            masked, self.net.maskless = self.net.project(self._whole(tokens, valid, positions)), True
            without = self.net.project(self._whole(tokens, valid, positions))
            self.net.maskless = _distance(without, masked) <= bound and padded() <= bound
        self.on_device(ids)

    def on_device(self, ids: Sequence[int]) -> None:
        """Set what depends on the model's device, too: `shares_from`, `attends` and `packs`."""
        self.share(ids)
        self.attend(ids)
        self.pack(ids)

    def _last_layer(self, hidden: Tensor) -> nn.Module | None:
        """The model's last layer, if it makes the same logits as the whole head: it is called with less ado."""
        last = getattr(self.net.model, "get_output_embeddings", lambda: None)()
        if not isinstance(last, nn.Linear) or last.in_features != hidden.shape[-1]:
            return None
        return last if torch.equal(last(hidden), self.net.project(hidden)) else None

    def share(self, ids: Sequence[int]) -> None:
        """Set the network's `shares_from`: compare two alternatives that read one row with two that read copies."""
        self.net.shares_from = None
        if not self.net.freezes:
            return
        tokens, valid, positions = self._row(ids)
        span = slice(tokens.shape[1] // 3, tokens.shape[1])
        try:
            store = Store()
            self._whole(tokens, valid, positions, store)
            two = torch.cat((tokens, tokens.flip(1))), valid.expand(2, -1), positions.expand(2, -1)
            copied = self.net.project(self._part(*two, store, span))
            self.net.shares_from = 0
            shared = self.net.project(self._part(*two, store, span))
            self.net.shares_from = FEWEST_KEYS if _distance(shared, copied) <= _bound(copied) else None
        except Exception:  # this class, or this device, does not support it
            self.net.shares_from = None

    def attend(self, ids: Sequence[int]) -> None:
        """Set the network's `attends`: every column's weights must add up to 1."""
        self.net.attends = False
        if self.net.compiled or not self.net.maskless or not self._own("attended"):
            return
        tokens, valid, positions = self._row(ids)
        attended = Attended(self.net.model.config.num_hidden_layers)
        try:
            self.net.run(tokens, valid, positions, attended=attended)
            total = attended.weights.sum(-1)
            self.net.attends = _distance(total, torch.ones_like(total)) <= 1e-2
        except Exception:  # this class does not pass the keyword on
            self.net.attends = False

    def _own(self, keyword: str) -> bool:
        """True if the model's attention is mdmkit's, which reads the keyword."""
        attention = getattr(self.net.model.config, "_attn_implementation", None)
        return attention == NAME or keyword in self.net.takes

    def pack(self, ids: Sequence[int]) -> None:
        """Set the network's `packs`: compare rows of different lengths, computed with their padding and without."""
        self.net.packs = False
        known = self.net.offset is not None and self._own("packing") and not self.net.compiled
        if not (known and self.net.maskless and self.net.model.device.type == "cpu"):
            return
        tokens, valid, positions = (each.expand(2, -1).clone() for each in self._row(ids))
        valid[1, valid.shape[1] // 2 :] = False

        def computed() -> Tensor:
            return self.net.project(self.net.run(tokens, valid, positions)[valid])

        try:
            padded, self.net.packs = computed(), True
            self.net.packs = _distance(computed(), padded) <= _bound(padded)
        except Exception:  # this class does not pass the keyword on
            self.net.packs = False

    def _row(self, ids: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """A row of the trial: tokens, valid and positions [1, L]."""
        length = max(1, min(_TRIAL, self.net.limit or _TRIAL) - _PADDING)
        row = torch.tensor([[ids[i % len(ids)] for i in range(length)]], device=self.net.model.device)
        return row, torch.ones_like(row, dtype=torch.bool), torch.arange(length, device=row.device)[None]

    def _refrozen(self, tokens: Tensor, valid: Tensor, positions: Tensor) -> Tensor:
        """The hidden states of the whole row, with the middle computed again between frozen columns."""
        width, store = tokens.shape[1], Store()
        middle = slice(width // 3, width - width // 3)
        first = self._whole(tokens, valid, positions, store)
        again = self._part(tokens, valid, positions, store, middle)
        return torch.cat((first[:, : middle.start], again, first[:, middle.stop :]), 1)

    def _whole(self, tokens: Tensor, valid: Tensor, positions: Tensor, store: Store | None = None) -> Tensor:
        """The hidden states of the whole row, which is kept in a store."""
        return self._part(tokens, valid, positions, Store() if store is None else store, slice(0, tokens.shape[1]))

    def _part(self, tokens: Tensor, valid: Tensor, positions: Tensor, store: Store, span: slice) -> Tensor:
        """The hidden states of some columns of a row, or of alternatives of it; the others are frozen."""
        frozen = valid.clone()
        frozen[:, span] = False
        count, whole = len(tokens), span == slice(0, tokens.shape[1])
        view = View(
            store=store,
            slots=tokens.new_zeros(count),
            size=1,
            width=tokens.shape[1],
            start=tokens.new_full((count,), span.start),
            live=valid[:, span],
            seen=frozen,
            readable=valid,
            keep=valid.new_full((count,), whole),
            span=span,
            reads=not whole,
            keeps=whole,
            first=0 if count == 1 else None,
            starts=(span.start,) * count,
            numbers=(0,) * count,
        )
        return self.net.run_frozen(tokens[:, span], valid[:, span], positions[:, span], view)

    def _starts(self) -> tuple[int, ...]:
        """Possible starts of a table of positions: 0, after the padding index, or 2 (MPNet, for any padding index)."""
        padding = getattr(self.net.model.config, "pad_token_id", None)
        return 0, (padding if isinstance(padding, int) else self.net.pad_id) + 1, 2

    def _truth(self, alone: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """The logits of the whole model, with its default positions."""
        try:
            truth = self.net.run(*alone)
        except Exception as error:
            raise MdmkitError(f"{self.name} does not run on token ids alone: {' '.join(str(error).split())}") from error
        # −inf means that the model never writes this token.
        if truth.isnan().any() or truth.isposinf().any() or not truth.isfinite().any(-1).all():
            found = inspect_numbers(self.net.model)
            why = f"it has {found.detail}." if found.verdict == "FAIL" else "damaged weights, or too narrow a dtype."
            raise MdmkitError(f"{self.name} gives logits that are not numbers: {why}")
        return truth

    def _must_look_ahead(self, row: Tensor, valid: Tensor, positions: Tensor) -> None:
        """Refuse a causal model: the first position reads nothing of what follows, and the last reads what precedes.

        A model in which no position reads another, such as the frequencies of tokens, is not causal.
        """
        # Other tokens, not the same ones in another order: a model without positions gives the same logits for these.
        after, before = row[:, :1].expand_as(row), row[:, -1:].expand_as(row)
        if torch.equal(after, row):
            return
        logits, ahead, behind = (self.net.run(tokens, valid, positions) for tokens in (row, after, before))
        if torch.equal(logits[:, 0], ahead[:, 0]) and not torch.equal(logits[:, -1], behind[:, -1]):
            raise MdmkitError(
                f"{self.name} cannot fill masks in: what follows a position changes nothing of what "
                'it says there. It is causal, whatever config.json says: "is_causal": false does not reach this class.'
            )

    def _must_keep_rows_apart(self, row: Tensor, valid: Tensor, positions: Tensor, bound: float) -> None:
        """Refuse a model in which a row's logits depend on the rows beside it."""
        others = row[:, :1].expand_as(row)
        if torch.equal(others, row):
            return
        try:
            beside = self.net.run(torch.cat((row, others)), valid.expand(2, -1), positions.expand(2, -1))[:1]
        except Exception as error:
            raise MdmkitError(
                f"{self.name} does not run on two rows at a time: {' '.join(str(error).split())}"
            ) from error
        alone = self.net.project(self.net.run(row, valid, positions))
        difference = _distance(self.net.project(beside), alone)
        # In half precision two rows may use another kernel, and a token near a tie then goes to another expert.
        if not difference <= (bound if alone.dtype == torch.float32 else 10 * bound):
            raise MdmkitError(
                f"{self.name} mixes rows: the logits of a row change by {difference:.2g} if another "
                "row stands beside it, so a text would depend on the other texts of its batch. The model's code may "
                "compute a mean over its first axis; each row must be computed as if it were alone."
            )


def _bound(logits: Tensor) -> float:
    """What rounding may change in logits. Wrong positions, or padding that is read, change far more."""
    # Half precision rounds at 1e-3 per layer.
    return (1e-4 if logits.dtype == torch.float32 else 3e-2) * (1 + float(logits[logits.isfinite()].abs().max()))


def _distance(logits: Tensor, truth: Tensor) -> float:
    """The largest difference of two logits; −inf at the same place in both is no difference."""
    return float((logits - truth).masked_fill(logits.isneginf() & truth.isneginf(), 0).abs().max())
