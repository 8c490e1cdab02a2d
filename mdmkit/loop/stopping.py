"""Ask the stop rules: the rule of the end token, and the sampler's stop rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mdmkit.loop import guard
from mdmkit.loop.guard import Guarded
from mdmkit.loop.place import BY_END, BY_RULE, RUNNING
from mdmkit.stage.stop import EndToken

if TYPE_CHECKING:
    from mdmkit.loop.state import State
    from mdmkit.stage.step import Step


def ask(state: State, after: Step, only: Tensor | None = None) -> Tensor | None:
    """Ask every rule about the rows after the commit.

    Args:
        only: bool [B]; the rows that are asked about. Each rule is asked once per step and row.

    Returns:
        int64 [B], `RUNNING` if no rule ends the row. None if there is no rule.
    """
    rule, over = state.sampler.stop, None
    if state.ends:
        over = EndToken(state.ends)(after).long() * BY_END
    if rule is not None:
        with Guarded(state.sampler, "stop", state.latest, step=after), after.memory_view.limited(only):
            stops = guard.flags(rule(after), after.rows)
        by_rule = stops.long() * BY_RULE
        over = by_rule if over is None else torch.where(over > 0, over, by_rule)
    return over if only is None or over is None else over.masked_fill(~only, RUNNING)
