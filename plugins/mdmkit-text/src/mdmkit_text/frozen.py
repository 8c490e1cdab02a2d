"""Frozen columns as keys and values.

A model's attention passes its new keys and values to a layer's `update`, and attends to the result. The layer returns
each row's stored columns in order, with the new ones in their places. Keys already contain their rotary position, so
only the order of columns matters.

If the rows of a forward stand side by side in the store, the new columns are written there, and the result is a part of
the store: nothing is copied. Several states of one row read its columns together, if there are enough of them (see
`mdmkit_text.alternatives`); the layer then returns the new columns alone. Otherwise the result is a copy.

The store, and the result, have one more column at the end. Columns that must not be stored, such as padding of a batch,
are written there, and it is never read. So the host need not treat any row differently.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from mdmkit import View
    from mdmkit_text.alternatives import Alternatives
    from mdmkit_text.packing import Packing


class Places:
    """The places of the columns of one forward, the same in every layer.

    Args:
        extra: shadow columns after the row's own; they are keys only in this forward.
        alternatives: reads the frozen columns; then a layer returns the new ones only. None: the layer returns both.
        packing: gives the new columns their padding, which the model does not compute; None: it does.
    """

    def __init__(
        self,
        view: View,
        extra: int = 0,
        alternatives: Alternatives | None = None,
        packing: Packing | None = None,
    ):
        self.view, self.extra, self.alternatives, self.packing = view, extra, alternatives, packing

    @property
    def keys(self) -> int:
        """K, how many keys attention gets."""
        whole = self.view.reads and self.alternatives is None
        return self.view.readable.shape[1] if whole else self.view.live.shape[1]

    @cached_property
    def columns(self) -> Tensor:
        """int64 [M, L]."""
        return self.view.start[:, None] + torch.arange(self.view.live.shape[1], device=self.view.start.device)

    @cached_property
    def stored(self) -> Tensor:
        """int64 [M, L]: the columns of the store that are written; −1, the last one, for columns that are not kept."""
        return torch.where(self.view.live & self.view.keep[:, None], self.columns, -1)

    @cached_property
    def written(self) -> Tensor:
        """int64 [M, 1, L, 1]: the column of the store of each new column; the last one if it is not live."""
        return torch.where(self.view.live, self.columns, self.view.width)[:, None, :, None]

    # -- of columns that are packed ----------------------------------------------------------------------------------

    @cached_property
    def state(self) -> Tensor:
        """int64 [P]: the state of each column."""
        assert self.packing is not None
        return self.packing.rows

    @cached_property
    def place(self) -> Tensor:
        """int64 [P]: each column's place in the store."""
        assert self.packing is not None
        return self.view.start[self.state] + self.packing.columns

    @cached_property
    def slots(self) -> Tensor:
        """int64 [P]: the slot of each column."""
        return self.view.slots[self.state]

    @cached_property
    def lasting(self) -> Tensor:
        """int64 [m]: which of the P columns must be stored."""
        return self.view.keep[self.state].nonzero()[:, 0]

    # -- of rows side by side ----------------------------------------------------------------------------------------

    @cached_property
    def read(self) -> Tensor:
        """int64 [M, 1, L, 1]: each new column's place among the keys; K, one after the last, if it is not a key."""
        return torch.where(self.view.live, self.columns, self.keys)[:, None, :, None]


class FrozenLayer:
    """One layer's keys and values [M, heads, columns, D]: the frozen ones and those of a forward."""

    def __init__(self, places: Places, layer: int):
        super().__init__()
        self._places, self._view, self.layer = places, places.view, layer
        self.alternatives = places.alternatives

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Put the new columns among the frozen ones, and store those that must be kept."""
        if not self._view.reads and self._view.keeps is False:
            return key_states, value_states
        packing = self._places.packing
        if packing is not None and packing.runs is not None:
            return self._in_runs(key_states, value_states)
        if packing is not None:
            key_states, value_states = map(packing.apart, (key_states, value_states))
        length = key_states.shape[2] - self._places.extra
        new = key_states[:, :, :length], value_states[:, :, :length]
        stored = self._store(new)
        in_place = self._view.reads and self._view.first is not None
        if self._view.keeps is not False and not in_place:
            for kept, each in zip(stored, new, strict=True):
                self._keep(kept, each)
        if not self._view.reads or self.alternatives is not None:
            return key_states, value_states
        put = self._put if in_place else self._among
        among = put(stored[0], new[0]), put(stored[1], new[1])
        if not self._places.extra:
            return among
        extra = key_states[:, :, length:], value_states[:, :, length:]
        return torch.cat((among[0], extra[0]), 2), torch.cat((among[1], extra[1]), 2)

    def _in_runs(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        """The same for rows one behind another, [1, heads, P, D]; if frozen columns are read, the rows lie apart."""
        view, places = self._view, self._places
        stored, out = self._store((key_states, value_states)), []
        for kept, new in zip(stored, (key_states, value_states), strict=True):
            columns = new[0].transpose(0, 1)  # [P, heads, D]
            if view.reads and view.first is not None:  # nobody else reads what is written here
                kept[places.slots, :, places.place] = columns
                whole = kept.narrow(0, view.first, len(view.live))[:, :, : places.keys]
            else:
                if view.keeps is not False:
                    kept[places.slots[places.lasting], :, places.place[places.lasting]] = columns[places.lasting]
                whole = new
                if view.reads and self.alternatives is None:
                    whole = kept[:, :, : places.keys].index_select(0, view.slots)
                    whole[places.state, :, places.place] = columns
            out.append(whole)
        return out[0], out[1]

    def _store(self, new: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The layer's store. It is made if there is none, and widened if a longer row has joined."""
        store, view = self._view.store, self._view
        stored = store.get(self.layer)
        if stored is None:
            # Zeros, because a weight of 0 times a NaN in columns that were never computed would be NaN.
            stored = tuple(each.new_zeros(view.size, each.shape[1], view.width + 1, each.shape[3]) for each in new)
            store[self.layer] = stored
        more = view.width + 1 - stored[0].shape[2]
        if more > 0:
            stored = tuple(functional.pad(each, (0, 0, 0, more)) for each in stored)
            store[self.layer] = stored
        return stored

    def _keep(self, kept: Tensor, new: Tensor) -> None:
        view = self._view
        if view.keeps and view.span is not None:
            kept[view.slots, :, view.span] = new
        else:
            kept[view.slots[:, None], :, self._places.stored] = new.transpose(1, 2)

    def _put(self, kept: Tensor, new: Tensor) -> Tensor:
        """Write the new columns into the store, and return all keys as a part of it."""
        view = self._view
        own = kept.narrow(0, view.first or 0, len(new))
        if view.span is not None:
            own[:, :, view.span] = new
        else:
            own.scatter_(2, self._places.written.expand_as(new), new)
        return own[:, :, : self._places.keys]

    def _among(self, kept: Tensor, new: Tensor) -> Tensor:
        view, keys = self._view, self._places.keys
        if view.span is not None:
            among = kept[:, :, :keys].index_select(0, view.slots)
            among[:, :, view.span] = new
            return among
        among = kept[:, :, : keys + 1].index_select(0, view.slots)
        return among.scatter_(2, self._places.read.expand_as(new), new)[:, :, :keys]


def frozen_layers(places: Places, layers: int) -> list[FrozenLayer]:
    """One layer for each of a model."""
    return [FrozenLayer(places, layer) for layer in range(layers)]
