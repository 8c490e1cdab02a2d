"""Choose the next state of each row: by the lookahead, and by the search."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mdmkit.loop import checks, guard
from mdmkit.loop.guard import Guarded

if TYPE_CHECKING:
    from mdmkit.loop.looking import Seen
    from mdmkit.loop.state import State
    from mdmkit.stage.actions import Actions
    from mdmkit.stage.step import Step


@dataclass(frozen=True)
class Choice:
    """The choice of each row.

    Attributes:
        step, actions: of the rows that the new states come from; under a search, those of the parents.
        choice: int64 [B]; the alternative taken.
        values: fp32 [B, N]; the lookahead's values, −inf if an alternative was not compared; None if no row compared.
        parents: int64 [B]; for each particle, the particle that it copies; None without a search.
    """

    step: Step
    actions: Actions
    choice: Tensor
    values: Tensor | None
    parents: Tensor | None

    @property
    def source(self) -> Tensor:
        """int64 [B]: the chosen next state, as an index into [B·N]."""
        rows = torch.arange(len(self.choice), device=self.choice.device) if self.parents is None else self.parents
        return rows * self.actions.live.shape[1] + self.choice


def choose(state: State, step: Step, actions: Actions, seen: Seen) -> Choice:
    """Take each row's best alternative by the lookahead; if a row compares nothing, its first live one.

    Raises:
        MdmkitError: the lookahead or the search fails, or the lookahead returns a wrong shape or type.
    """
    sampler = state.sampler
    values, choice = None, _first(actions.live)
    if sampler.lookahead is not None and seen.look is not None and seen.compared:
        # A row that compares nothing is not asked about, whatever stands beside it: what is remembered of it stays.
        watched = Guarded(sampler, "lookahead", state.latest, step=step, actions=actions)
        with watched, step.memory_view.limited(seen.several):
            values = guard.floats(sampler.lookahead(step, actions, seen.look), actions.live.shape)
        # Only rows with two or more live alternatives were looked at: values of other rows have no meaning.
        rivals = actions.live & (actions.live.sum(1, keepdim=True) > 1)
        seen.code = seen.code | ((values.isnan() & rivals).any(1).long() * checks.LOOKAHEAD_ODD)
        values = values.masked_fill(~rivals, -torch.inf)
        # −inf still ranks before an alternative that is not live.
        lowest = torch.finfo(values.dtype).min
        ranked = values.nan_to_num(lowest, torch.inf, lowest).masked_fill(~rivals, -torch.inf)
        choice = torch.where(rivals.any(1), ranked.argmax(1), choice)
    if sampler.search is None:
        return Choice(step, actions, choice, values, None)
    parents, moved = _move(state, step, actions, values, choice, seen)
    values = None if values is None else values[parents]
    return Choice(step.at(parents), actions.at(parents), moved, values, parents)


def _first(live: Tensor) -> Tensor:
    """int64 [B]: each row's first live alternative."""
    return live.new_zeros(len(live), dtype=torch.long) if live.shape[1] == 1 else live.long().argmax(1)


def _move(
    state: State, step: Step, actions: Actions, values: Tensor | None, choice: Tensor, seen: Seen
) -> tuple[Tensor, Tensor]:
    """Let the search move the particles; everything that is stored for them moves too."""
    search, p = state.sampler.search, state.particles
    assert search is not None
    view = replace(step.memory_view, kept=set())
    asked = replace(step, memory_view=view)
    with Guarded(state.sampler, "search", state.latest, step=asked, actions=actions, values=values, choice=choice):
        parents, moved = guard.moves(search.move(asked, actions, values, choice, seen.look), len(choice))
    rows = torch.arange(len(choice), device=choice.device)
    # If no particle of a row takes the step, the particles stay as they are.
    busy = step.active.view(-1, p).any(1).repeat_interleave(p)
    parents, moved = torch.where(busy, parents, rows), torch.where(busy, moved, choice)
    parents, moved, strange = _within(step, actions, parents, moved, p)
    # Codes stay with the particle that broke the promise: its row fails, even if no particle goes on from there.
    seen.code = seen.code | strange.long() * checks.SEARCH_STRAYS
    if seen.several is not None:
        seen.several = seen.several[parents]
    state.follow(parents, view.kept)
    return parents, moved


def _within(step: Step, actions: Actions, parents: Tensor, moved: Tensor, p: int) -> tuple[Tensor, Tensor, Tensor]:
    """Replace moves that a search may not make, and flag them, bool [B·P]."""
    rows, n = torch.arange(len(parents), device=parents.device), actions.live.shape[1]
    strange = (parents // p != rows // p) | (moved < 0) | (moved >= n)
    parents, moved = torch.where(strange, rows, parents), torch.where(strange, 0, moved)
    dead = ~actions.live[parents, moved] & step.open.any(1)[parents]
    return parents, moved, strange | dead
