"""The canvas: one row per prompt, padded on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mdmkit.errors import MdmkitError

# Tensors with columns, and the values of padding.
_COLUMNS: dict[str, Any] = {"tokens": 0, "open": False, "editable": False, "valid": False, "surplus": False}
_ROWS = (*_COLUMNS, "seed", "infill")
# The tensors that a step may change.
_CHANGING = ("tokens", "open", "editable", "valid")


@dataclass(frozen=True)
class Canvas:
    """B rows of T tokens, and which of their positions are open.

    A row begins at column 0, so a column is a position. `open` says which positions are open, not the token: a prompt
    may hold the mask's id as an ordinary token.

    Attributes:
        tokens: int64 [B, T]; `blank_id` at open positions.
        open: bool [B, T]; positions that are not filled yet.
        editable: bool [B, T]; positions that decoding may fill. False for prompt tokens and padding.
        valid: bool [B, T]; False for padding, and for positions that are not in the row yet. Nothing attends to them.
        seed: int64 [B]; the seed of each row.
        infill: bool [B]; True if the row's prompt held its masks itself.
        mask_id: the id of the mask; None if the model has no mask.
        grid: (height, width), if the row is a flattened image.
        block: length of the model's attention blocks, counted from each row's first token; None: attention is full.
        room: positions that a commit may add to a row.
        surplus: bool [B, T]; positions that only complete the model's last block: they are filled, and never shown.
    """

    tokens: Tensor
    open: Tensor
    editable: Tensor
    valid: Tensor
    seed: Tensor
    infill: Tensor
    surplus: Tensor
    mask_id: int | None
    grid: tuple[int, int] | None = None
    block: int | None = None
    room: int = 0

    def __new__(cls, *values: Any, **named: Any) -> Canvas:
        if "open" not in named and (values or named):  # `replace` names every field
            _refuse_old(values, named)
        return super().__new__(cls)

    @property
    def blank_id(self) -> int:
        """The token at open positions."""
        return 0 if self.mask_id is None else self.mask_id

    @property
    def positions(self) -> Tensor:
        """int64 [B, T]: each token's position, which is its column."""
        return torch.arange(self.tokens.shape[1], device=self.tokens.device).expand_as(self.tokens)

    @property
    def lengths(self) -> Tensor:
        """int64 [B]: the number of positions of each row."""
        return self.valid.sum(1)

    @property
    def fixed(self) -> Tensor:
        """bool [B, T]: the positions of the prompt tokens, which decoding never changes."""
        return self.valid & ~self.editable

    @property
    def shown(self) -> Tensor:
        """bool [B, T]: the positions that are shown: the generated tokens, or for an infill the whole row."""
        return torch.where(self.infill[:, None], self.valid, self.editable) & ~self.surplus

    @property
    def answers(self) -> list[tuple[int, int]]:
        """The columns [start, stop) of each row's answer: from the first to the last one that decoding may fill.

        Positions that only complete the model's last block are no part of it. The canvas should be on the host.
        """
        spans = []
        for row in (self.editable & ~self.surplus).tolist():
            places = [column for column, is_own in enumerate(row) if is_own]
            spans.append((places[0], places[-1] + 1) if places else (0, 0))
        return spans

    def filled(self, place: Tensor, tokens: Tensor) -> Canvas:
        """Write tokens int64 [B, T] where `place`, bool [B, T], is True; these positions are no longer open."""
        return self.changed(tokens=torch.where(place, tokens, self.tokens), open=self.open & ~place)

    def reopened(self, place: Tensor) -> Canvas:
        """Reopen the positions bool [B, T], whatever stands there."""
        return replace(self, tokens=self.tokens.masked_fill(place, self.blank_id), open=self.open | place)

    def grown(self, place: Tensor) -> Canvas:
        """Add open positions, bool [B, T], to rows; they must follow the row's last position without a gap."""
        return replace(self.reopened(place), valid=self.valid | place, editable=self.editable | place)

    def without(self, place: Tensor) -> Canvas:
        """Remove positions, bool [B, T], from rows; they must be the row's last ones."""
        kept: dict[str, Any] = {name: getattr(self, name) & ~place for name in ("open", "valid", "editable")}
        return replace(self, **kept, tokens=self.tokens.masked_fill(place, self.blank_id))

    def at(self, rows: Any) -> Canvas:
        """Select rows, in the given order: int64 [M], a list of numbers, or a slice."""
        return self.changed(**{name: getattr(self, name)[rows] for name in _ROWS})

    def put(self, rows: Tensor, other: Canvas) -> Canvas:
        """Replace the rows int64 [M] by the rows of another canvas."""
        own: dict[str, Any] = {
            name: getattr(self, name).index_copy(0, rows, getattr(other, name)) for name in _CHANGING
        }
        return replace(self, **own)

    def padded(self, columns: int) -> Canvas:
        """The same rows, padded to `columns` columns."""
        more = columns - self.tokens.shape[1]
        if more <= 0:
            return self
        wide: dict[str, Any] = {
            name: functional.pad(getattr(self, name), (0, more), value=fill) for name, fill in _COLUMNS.items()
        }
        return replace(self, **wide)

    def narrowed(self, columns: int) -> Canvas:
        """The same rows without the columns from `columns` on."""
        return self.changed(**{name: getattr(self, name)[:, :columns] for name in _COLUMNS})

    def to(self, device: torch.device | str) -> Canvas:
        return self.changed(**{name: getattr(self, name).to(device) for name in _ROWS})

    def changed(self, **values: Any) -> Canvas:
        """The same canvas with other values: `dataclasses.replace` without its checks, which cost more than a step."""
        if unknown := values.keys() - self.__dict__.keys():
            raise TypeError(f"a Canvas has no {sorted(unknown)[0]!r}")
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new.__dict__.update(values)
        return new

    def __getattr__(self, name: str) -> Any:
        if name == "masked":
            raise MdmkitError("canvas.masked is of the first edition: what is still to be filled is canvas.open.")
        if name == "with_tokens":
            raise MdmkitError(
                "canvas.with_tokens is of the first edition, in which a place was open if it held the mask's id. Write "
                "canvas.filled(place, tokens) for tokens that are written, and canvas.reopened(place) for places that "
                "are to be filled again; both take [B, T], and step.spread(place) makes that of a window's [B, W]."
            )
        raise AttributeError(f"a Canvas has no attribute {name!r}")


def _refuse_old(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Refuse the first edition's signature: (tokens, editable, valid, seed, infill, mask_id, grid, block, surplus).

    It had no `open`, and the mask's id stood where today `infill`, a tensor, stands.
    """
    whole = (
        len(values) + sum(name in named for name in ("editable", "valid", "seed", "infill", "surplus", "mask_id")) >= 8
    )
    if not whole or (len(values) > 5 and not isinstance(values[5], Tensor)):
        raise MdmkitError(
            "Canvas was called as in the first edition of mdmkit: now `open` [B, T] says which positions are open, a "
            "row begins at column 0, and the fields are tokens, open, editable, valid, seed, infill, surplus, mask_id. "
            "A backbone makes a canvas with mdmkit.lay_out."
        )


def joined(parts: Sequence[Canvas]) -> Canvas:
    """Put the rows of several canvases of one model on one canvas, as wide as the widest."""
    width = max(part.tokens.shape[1] for part in parts)
    wide = [part.padded(width) for part in parts]
    return wide[0].changed(**{name: torch.cat([getattr(part, name) for part in wide]) for name in _ROWS})
