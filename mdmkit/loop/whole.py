"""Fill a whole canvas; all rows join at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from mdmkit.canvas.canvas import Canvas, joined
from mdmkit.canvas.prompt import Prompt
from mdmkit.canvas.trace import Trace, stacked
from mdmkit.loop.loop import fill
from mdmkit.loop.observe import Observer, Watchers
from mdmkit.loop.state import State

if TYPE_CHECKING:
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone


def fill_canvas(
    sampler: Sampler, backbone: Backbone, canvas: Canvas, conditioning: Any = None, observers: Iterable[Observer] = ()
) -> tuple[Canvas, Trace]:
    """Fill every open position of a canvas; return the filled canvas and the trace, on the host.

    For prompts use `mdmkit.decode`. Ids that observers get are indices of rows, from 0; `on_leave` gets no `Row`.

    Raises:
        MdmkitError: the model lacks what the sampler needs, a part breaks a promise, or no text keeps the constraint.
    """
    watchers = Watchers(observers)
    watchers.start(sampler, backbone)
    every, columns = range(len(canvas.tokens)), canvas.tokens.shape[1]
    open_rows = [row for row, some in enumerate(canvas.open.any(1).tolist()) if some]
    state = State(sampler, backbone, max(1, len(open_rows)), watchers)
    for row, own in ((row, canvas.at([row])) for row in open_rows):
        state.check(own, f"row {row}")
        watchers.admit(row, Prompt(index=row), own)
    if open_rows:
        state.join(canvas.at(open_rows), _conditioned(backbone, conditioning, open_rows, len(every)), open_rows)
    fill(state)
    left = {each.id: each for each in state.take_left()}
    for row, each in left.items():
        watchers.leave(row, None)
        if each.error is not None:
            raise each.error
    rows = [left[row].canvas if row in left else canvas.at([row]).to("cpu") for row in every]
    traces = [left[row].trace if row in left else Trace.blank(1, columns, says=state.says) for row in every]
    wide = max(columns, *(each.tokens.shape[1] for each in rows))
    return joined(rows).padded(wide), stacked([each.padded(wide) for each in traces], state.runner.calls)


def _conditioned(backbone: Backbone, conditioning: Any, rows: list[int], total: int) -> Any:
    """The conditioning of some of the rows."""
    if conditioning is None or len(rows) == total:
        return conditioning
    both = [*rows, *[row + total for row in rows]] if backbone.guided else rows
    return backbone.select(conditioning, torch.tensor(both, device=backbone.device))
