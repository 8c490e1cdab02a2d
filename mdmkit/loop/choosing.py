"""Which next state each row moves to: the lookahead's choice, and a search's moves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mdmkit.loop import checks
from mdmkit.loop.checks import Guarded

if TYPE_CHECKING:
    from mdmkit.loop.looking import Seen
    from mdmkit.loop.state import State
    from mdmkit.stage.actions import Actions
    from mdmkit.stage.step import Step


@dataclass(frozen=True)
class Choice:
    """What each row does.

    Attributes:
        step, actions: of the rows that are moved on from: under a search those of the chosen particles.
        choice: int64 [B]; the alternative taken.
        values: fp32 [B, N]; what the lookahead said of each, −inf where nothing was compared; None: nothing was at all.
        parents: int64 [B]; the particle whose state each moves on from, None without a search.
        source: int64 [B]; the next state that becomes the row's, as an index into [B·N].
    """

    step: Step
    actions: Actions
    choice: Tensor
    values: Tensor | None
    parents: Tensor | None
    source: Tensor


def choose(state: State, step: Step, actions: Actions, seen: Seen) -> Choice:
    """Take each row's best alternative by the lookahead; the first live one where nothing is compared.

    Raises:
        MdmkitError: the lookahead or the search fails, or returns something else than promised.
    """
    sampler, n = state.sampler, actions.live.shape[1]
    values, choice = None, actions.live.long().argmax(1)
    rows = torch.arange(len(choice), device=choice.device) * n
    if sampler.lookahead is not None and seen.look is not None and seen.compared:
        with Guarded(sampler, "lookahead", state.latest):
            values = sampler.lookahead(step, actions, seen.look)
        checks.check_shape(sampler, "lookahead", values, actions.live.shape)
        # Only rivals were looked at: what a lookahead says of a row's lone alternative means nothing.
        rivals = actions.live & (actions.live.sum(1, keepdim=True) > 1)
        seen.code = seen.code | ((values.isnan() & rivals).any(1).long() * checks.LOOKAHEAD_ODD)
        values = values.masked_fill(~rivals, -torch.inf)
        choice = torch.where(rivals.any(1), values.nan_to_num(-torch.inf, torch.inf, -torch.inf).argmax(1), choice)
    if sampler.search is None:
        return Choice(step, actions, choice, values, None, rows + choice)
    parents, moved = _move(state, step, actions, values, choice, seen)
    source = parents * n + moved
    values = None if values is None else values[parents]
    return Choice(step.at(parents), actions.at(parents), moved, values, parents, source)


def _move(
    state: State, step: Step, actions: Actions, values: Tensor | None, choice: Tensor, seen: Seen
) -> tuple[Tensor, Tensor]:
    """Let the search move the particles, and everything that is kept of them follow."""
    search, p = state.sampler.search, state.particles
    assert search is not None
    view = replace(step.memory_view, kept=set())
    with Guarded(state.sampler, "search", state.latest):
        parents, moved = search.move(replace(step, memory_view=view), actions, values, choice, seen.look)
    rows = torch.arange(len(choice), device=choice.device)
    # The particles of a row that has nothing to do stay where they are, however long other rows take.
    busy = step.active.view(-1, p).any(1).repeat_interleave(p)
    parents, moved = torch.where(busy, parents, rows), torch.where(busy, moved, choice)
    strange = (parents // p != rows // p) | (parents < 0)
    parents = torch.where(strange, rows, parents)
    seen.code = seen.code[parents] | (strange.long() << 8)
    if seen.several is not None:
        seen.several = seen.several[parents]
    state.follow(parents, view.kept)
    return parents, moved
