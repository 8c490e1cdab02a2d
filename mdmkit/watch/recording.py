"""Every step of a decode in a compact form, for a trace that shows the canvas filling: an observer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from mdmkit.loop.observe import Observer

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit.canvas.canvas import Canvas
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.canvas.trace import Trace
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone
    from mdmkit.stage.actions import Actions
    from mdmkit.stage.step import Step

# One letter stands for one entropy: level i of 63 is ln(vocabulary) · (i / 63)², which is finest where it is small.
LEVELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_LETTERS = bytes.maketrans(bytes(range(64)), LEVELS.encode())


class Recording(Observer):
    """Notes per row and tick what was written, how unsure the open positions were, and what was compared.

    Positions count from the row's first token. Under a search only what holds for the whole row is noted, since the
    steps are those of its particles.
    """

    def __init__(self) -> None:
        self._rows: dict[int, dict[str, Any]] = {}
        self._indices: list[int] = []

    def take(self, index: int) -> dict[str, Any]:
        """Hand over what was noted of the prompt `index`, for JSON, and forget it.

        `mask_id`; `grid` of an image; `entropy_scale` (nats), `names` (token id to what a person reads) and `steps`,
        one a tick: `written` [position, token], with a third item, its probability, where a later step replaced it;
        `open` [first, letters] with a letter for each open position from the first on; `alternatives`, lists of
        [position, token], null for one that was not live, where several were compared.
        """
        return self._rows.pop(index, {})

    def on_batch(self, prompts: Sequence[Prompt]) -> None:
        self._indices = [prompt.index for prompt in prompts]

    def on_start(self, sampler: Sampler, backbone: Backbone, canvas: Canvas) -> None:
        self._render: Callable[[int], str] = backbone.render
        self._mask_id, self._grid = canvas.mask_id, canvas.grid
        self._start: list[int] = canvas.valid.long().argmax(1).tolist()
        self._tokens = canvas.tokens.cpu()
        self._steps: list[list[dict[str, Any]]] = [[] for _ in self._start]
        self._scale = 0.0
        self._probability: dict[tuple[int, int, int], float] = {}  # of the last step's writes, by row, position, token
        self._acted: list[int] = []

    def on_step(self, step: Step, actions: Actions, choice: Tensor) -> None:
        self._note_writes(step.canvas.tokens.cpu())
        if not self._scale:
            self._scale = math.log(step.belief.logits.shape[-1])
        lo = step.span.start
        open_, active = step.open.cpu(), step.active.tolist()
        share = (step.belief.entropy.clamp_min(0) / self._scale).clamp_max(1).sqrt().mul(63).round()
        levels = share.to(torch.uint8).cpu()
        place, tokens = actions.take(choice)
        probability = step.belief.logp_of(tokens[..., None])[..., 0].exp()
        self._probability = self._by_place(place, tokens, probability, lo)
        alternatives = self._compared(actions, lo)
        self._acted = [b for b, busy in enumerate(active) if busy]
        for b in self._acted:
            note: dict[str, Any] = {"written": []}
            where = open_[b].nonzero()[:, 0]
            if len(where):
                letters = bytes(levels[b, where].tolist()).translate(_LETTERS).decode()
                note["open"] = [int(where[0]) + lo - self._start[b], letters]
            if b in alternatives:
                note["alternatives"] = alternatives[b]
            self._steps[b].append(note)

    def on_end(self, canvas: Canvas, trace: Trace) -> None:
        order = trace.order.cpu()
        # An end that was put into masks which nobody decoded is not the work of the last step.
        self._note_writes(torch.where(order >= 0, canvas.tokens.cpu(), self._tokens))
        last, indices = order.tolist(), self._indices or range(len(self._steps))
        for b, index in enumerate(indices):
            row: dict[str, Any] = {"mask_id": self._mask_id}
            if self._grid is not None:
                row["grid"] = list(self._grid)
            if self._steps[b]:
                for tick, note in enumerate(self._steps[b]):
                    final = [w[:2] if last[b][w[0] + self._start[b]] == tick else w for w in note["written"]]
                    note["written"] = final
                row |= {"entropy_scale": round(self._scale, 6), "names": self._names(b), "steps": self._steps[b]}
            self._rows[index] = row

    def _note_writes(self, now: Tensor) -> None:
        """Compare the canvas with how the last step found it."""
        changed = now != self._tokens
        for b in self._acted:
            for t in changed[b].nonzero()[:, 0].tolist():
                token = int(now[b, t])
                written: list[float] = [t - self._start[b], token]
                if (b, t, token) in self._probability:
                    written.append(round(self._probability[b, t, token], 4))
                self._steps[b][-1]["written"].append(written)
        self._tokens, self._acted = now, []

    def _by_place(self, place: Tensor, tokens: Tensor, value: Tensor, lo: int) -> dict[tuple[int, int, int], float]:
        rows, columns = place.nonzero(as_tuple=True)
        found = (tokens[rows, columns].tolist(), value[rows, columns].tolist())
        return {(b, t + lo, token): p for b, t, token, p in zip(rows.tolist(), columns.tolist(), *found, strict=True)}

    def _compared(self, actions: Actions, lo: int) -> dict[int, list[list[list[int]] | None]]:
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
                    written.append([t + lo - self._start[b], token])
        return found

    def _names(self, b: int) -> dict[str, str]:
        seen = {w[1] for note in self._steps[b] for w in note["written"]}
        for note in self._steps[b]:
            seen |= {token for one in note.get("alternatives", ()) for _, token in one or ()}
        return {str(token): self._render(token) for token in sorted(seen)}
