"""Every step of a decode in a compact form, for a trace that shows the canvas filling: an observer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from mdmkit.loop.observe import Observer

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit.canvas.canvas import Canvas
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.canvas.row import Row
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone
    from mdmkit.stage.actions import Actions
    from mdmkit.stage.step import Step

# One letter stands for one entropy: level i of 63 is ln(vocabulary) · (i / 63)², which is finest where it is small.
LEVELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_LETTERS = bytes.maketrans(bytes(range(64)), LEVELS.encode())


@dataclass
class _Noted:
    """One row as far as it was seen.

    Attributes:
        index: of its prompt.
        tokens: as the last step found them; −1 where a place is open, or only fills the batch up.
        steps: one note a tick.
        last: the probability of what the last step wrote, by (position, token).
        acted: whether the last note still lacks what its step wrote.
    """

    index: int
    grid: tuple[int, int] | None
    mask_id: int
    tokens: list[int]
    steps: list[dict[str, Any]] = field(default_factory=list)
    last: dict[tuple[int, int], float] = field(default_factory=dict)
    acted: bool = False


class Recording(Observer):
    """Notes per row and tick what was written, how unsure the open positions were, and what was compared.

    Positions count from the row's first token. Under a search only what holds for the whole row is noted, since the
    steps are those of its particles.
    """

    def __init__(self) -> None:
        self._rows: dict[int, dict[str, Any]] = {}
        self._at_work: dict[int, _Noted] = {}
        self._scale = 0.0

    def take(self, index: int) -> dict[str, Any]:
        """Hand over what was noted of the prompt `index`, for JSON, and forget it.

        `mask_id`; `grid` of an image; `entropy_scale` (nats), `names` (token id to what a person reads) and `steps`,
        one a tick: `written` [position, token], with a third item, its probability, where a later step replaced it;
        `open` [first, letters] with a letter for each open position from the first on; `alternatives`, lists of
        [position, token], null for one that was not live, where several were compared.
        """
        return self._rows.pop(index, {})

    def on_start(self, sampler: Sampler, backbone: Backbone) -> None:
        self._render: Callable[[int], str] = backbone.render
        self._scale = math.log(backbone.vocab)

    def on_admit(self, id: int, prompt: Prompt, canvas: Canvas) -> None:
        tokens = torch.where(canvas.open, -1, canvas.tokens)[0].tolist()
        self._at_work[id] = _Noted(prompt.index, canvas.grid, canvas.blank_id, tokens)

    def on_step(self, step: Step, actions: Actions, choice: Tensor) -> None:
        canvas = step.canvas
        found = torch.where(canvas.open | ~canvas.valid, -1, canvas.tokens).tolist()
        open_, active, start = step.open.cpu(), step.active.tolist(), step.where.start.tolist()
        share = (step.belief.entropy.clamp_min(0) / self._scale).clamp_max(1).sqrt().mul(63).round()
        levels = share.to(torch.uint8).cpu()
        place, tokens = actions.take(choice)
        probability = step.belief.probability(tokens)
        written = _by_row(place, tokens, probability)
        alternatives = _compared(actions, start)
        for b, id_ in enumerate(step.ids):
            row = self._at_work[id_]
            self._note_writes(row, found[b])
            row.last = {(t + start[b], token): p for t, token, p in written.get(b, ())}
            if not active[b]:
                continue
            note: dict[str, Any] = {"written": []}
            where = open_[b].nonzero()[:, 0]
            if len(where):
                letters = bytes(levels[b, where].tolist()).translate(_LETTERS).decode()
                note["open"] = [int(where[0]) + start[b], letters]
            if b in alternatives:
                note["alternatives"] = alternatives[b]
            row.steps.append(note)
            row.acted = True

    def on_leave(self, id: int, row: Row | None) -> None:
        noted = self._at_work.pop(id)
        if row is None:
            return
        order = row.trace["order"]
        # An end that was put into places which nobody decoded is not the work of the last step.
        final = row.trace["tokens"]
        first = noted.tokens + [-1] * (len(final) - len(noted.tokens))
        self._note_writes(noted, [t if o >= 0 else b for t, o, b in zip(final, order, first, strict=False)])
        told: dict[str, Any] = {"mask_id": noted.mask_id}
        if noted.grid is not None:
            told["grid"] = list(noted.grid)
        if noted.steps:
            for tick, note in enumerate(noted.steps):
                note["written"] = [w[:2] if order[w[0]] == tick else w for w in note["written"]]
            names = _names(noted.steps, self._render)
            told |= {"entropy_scale": round(self._scale, 6), "names": names, "steps": noted.steps}
        self._rows[noted.index] = told

    def _note_writes(self, row: _Noted, now: list[int]) -> None:
        """Compare the row with how the last step found it."""
        before, row.tokens = row.tokens, now
        if not row.acted:
            return
        row.acted = False
        for t, token in enumerate(now):
            if (token != before[t] if t < len(before) else token >= 0) and token >= 0:
                written: list[float] = [t, token]
                if (t, token) in row.last:
                    written.append(round(row.last[t, token], 4))
                row.steps[-1]["written"].append(written)
            elif token < 0 and t < len(before) and before[t] >= 0:
                row.steps[-1]["written"].append([t, row.mask_id])


def _by_row(place: Tensor, tokens: Tensor, value: Tensor) -> dict[int, list[tuple[int, int, float]]]:
    """Column of the window, token and value of every place that is marked, by row."""
    rows, columns = place.nonzero(as_tuple=True)
    found: dict[int, list[tuple[int, int, float]]] = {}
    values = zip(
        rows.tolist(), columns.tolist(), tokens[rows, columns].tolist(), value[rows, columns].tolist(), strict=True
    )
    for b, t, token, p in values:
        found.setdefault(b, []).append((t, token, p))
    return found


def _compared(actions: Actions, start: list[int]) -> dict[int, list[list[list[int]] | None]]:
    """For each row that had several alternatives, what each would write."""
    live = actions.live.tolist()
    found: dict[int, list[list[list[int]] | None]] = {
        b: [[] if one else None for one in row] for b, row in enumerate(live) if sum(row) > 1
    }
    if found:
        rows, numbers, columns = actions.place.nonzero(as_tuple=True)
        tokens = actions.tokens[rows, numbers, columns].tolist()
        for b, n, t, token in zip(rows.tolist(), numbers.tolist(), columns.tolist(), tokens, strict=True):
            if b in found and (written := found[b][n]) is not None:
                written.append([t + start[b], token])
    return found


def _names(steps: list[dict[str, Any]], render: Callable[[int], str]) -> dict[str, str]:
    """What a person reads for every token of a row's notes."""
    seen = {w[1] for note in steps for w in note["written"]}
    for note in steps:
        seen |= {token for one in note.get("alternatives", ()) for _, token in one or ()}
    return {str(token): render(token) for token in sorted(seen)}
