"""The step's forward: next states of the alternatives, and rows that have no belief yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mdmkit import ops
from mdmkit.loop import stopping
from mdmkit.loop.place import counted
from mdmkit.loop.runner import Asked
from mdmkit.loop.views import look_at
from mdmkit.stage.look import Look, States
from mdmkit.stage.traits import trait

if TYPE_CHECKING:
    from mdmkit.canvas.blocks import Block
    from mdmkit.loop.place import Place
    from mdmkit.loop.proposing import Proposal
    from mdmkit.loop.state import State
    from mdmkit.model.cache import Reach
    from mdmkit.stage.hidden import Hidden
    from mdmkit.stage.step import Step


@dataclass
class Seen:
    """The result of a step's forward. A *lone* row has one live alternative.

    Attributes:
        code: int64 [B]; promises that were broken so far.
        look: what a lookahead or search may read; None if no state was forwarded for it.
        hidden: hidden states of all M states that were forwarded.
        flat: int64 [m]; the next states among the M, as indices into [B·N]; they come first.
        others: rows at work that had no belief; their states come after the next states.
        several: bool [B]; rows with several live alternatives.
        compared: True if there is such a row.
        lone: for each lone row that was decided before the forward: the block it continues in, or None if it ends.
        todo: for each lone row: open positions of its block in its next state.
        over: int64 [B]; results of the stop rules for lone rows.
    """

    code: Tensor
    look: Look | None = None
    hidden: Hidden | None = None
    flat: Tensor | None = None
    others: list[int] = field(default_factory=list)
    several: Tensor | None = None
    compared: bool = False
    lone: dict[int, Block | None] = field(default_factory=dict)
    todo: dict[int, int] = field(default_factory=dict)
    over: Tensor | None = None


@dataclass
class _List:
    """A list, on the host, of the states to forward. `rivals`: those of rows with several live alternatives."""

    flat: list[int] = field(default_factory=list)
    rivals: list[int] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    reaches: list[Reach] = field(default_factory=list)
    shown: list[tuple[int, int]] = field(default_factory=list)
    blocks: list[tuple[int, int]] = field(default_factory=list)

    def add(self, state: State, owner: int, place: Place, block: Block, first: bool, flat: int | None = None) -> None:
        """Add a state of row `owner`: the first one in its block (`first`), or one of a step."""
        step = place.step_reach(state.cache, block)
        self.owners.append(owner)
        self.reaches.append(place.first_reach(state.cache, block) if first else step)
        self.shown.append((step.start, step.stop))
        self.blocks.append((block.start, block.stop))
        if flat is not None:
            self.flat.append(flat)
        if first and owner % state.particles == state.particles - 1:  # until then the old value is needed
            place.final = state.cache.final(block.low)

    def wanted(self, states: States, tick: Tensor) -> Asked:
        """What the runner is asked for; shadow columns, where a part reads them, are those of the blocks."""
        return Asked(states, self.owners, self.reaches, self.shown, tick, self.blocks)


def believe(state: State) -> None:
    """Forward all rows, if no row has a belief; otherwise rows without one are in the step's own forward."""
    if any(place.believed for place in state.places):
        return
    asked, p = _List(), state.particles
    for row, place in enumerate(state.places):
        for k in range(p):
            asked.add(state, row * p + k, place, place.block, first=place.afresh)
        place.believed, place.afresh = True, False
    rows = torch.arange(len(state.tick), device=state.tick.device)
    states = States(state.canvas.tokens, state.canvas.open, rows)
    wanted = asked.wanted(states, state.tick)
    state.hidden = state.runner.forward(wanted, state.canvas, p, state.previous)
    if state.previous is not None:
        state.previous.put(state.hidden, rows, state.canvas.tokens.shape[1])


def look(state: State, step: Step, proposal: Proposal) -> Seen:
    """Forward the next states, together with the rows that have no belief yet.

    If a row has one next state, it is forwarded only if a position stays open in it and no stop rule ends the row. A
    sampler that never compares alternatives forwards nothing here; its rows are forwarded after the commit.
    """
    seen = Seen(proposal.code)
    if not state.compares:
        return seen
    tokens, open_ = step.states(proposal.actions)
    asked = _List()
    for b, (several, active, inside, left, code, ends, *live) in enumerate(_facts(state, step, proposal, seen, open_)):
        row = state.rows_of_step[b // state.particles]
        place, owner = state.places[row], row * state.particles + b % state.particles
        if code:
            continue
        if several:
            seen.compared = True
            for n in (n for n, is_live in enumerate(live) if is_live):
                asked.rivals.append(len(asked.flat))
                asked.add(state, owner, place, place.block, first=False, flat=b * len(live) + n)
        elif active and (any(live) or state.sampler.search is None):  # `prune` may leave a particle without any
            flat = b * len(live) + (live.index(1) if 1 in live else 0)
            _add_lone(state, seen, asked, b, owner, place, inside, left, ends, flat)
    if ending := [state.rows_of_step[b] for b, block in seen.lone.items() if block is None]:
        state.let_in(ending)
    _add_others(state, seen, asked)
    if asked.owners:
        _forward(state, step, seen, asked, tokens, open_)
    return seen


def _facts(state: State, step: Step, proposal: Proposal, seen: Seen, open_: Tensor) -> list[list[int]]:
    """Tell the host about each row before the forward, in one transfer.

    The numbers are: it has several alternatives; it makes the step; open positions of the block in its first live next
    state; the first open column of this state; broken promises; the rule that ends it; its live alternatives.
    """
    live = proposal.actions.live
    seen.several, first = live.sum(1) > 1, live.long().argmax(1)
    next_open = open_.gather(1, first[:, None, None].expand(-1, 1, open_.shape[-1]))[:, 0]
    if not state.rewrites and state.sampler.search is None:
        seen.over = _asked_before(state, step, proposal, first, ~seen.several & step.active)
    inside = (step.where(next_open) & step.member).sum(1)
    over = seen.over if seen.over is not None else torch.zeros_like(seen.code)
    facts = (seen.several, step.active, inside, leftmost(next_open), seen.code, over)
    return torch.cat((torch.stack([fact.long() for fact in facts], 1), live.long()), 1).tolist()


def leftmost(open_: Tensor) -> Tensor:
    """int64 [B]: the first open column of bool [B, T], or T if there is none."""
    return torch.where(open_.any(1), open_.long().argmax(1), open_.shape[1])


def _asked_before(state: State, step: Step, proposal: Proposal, first: Tensor, only: Tensor) -> Tensor | None:
    """Ask the stop rules, before the forward, about rows with one next state; None if there is no rule."""
    if not state.ends and state.sampler.stop is None:
        return None
    written = step.written(*proposal.actions.take(first))
    return stopping.ask(state, step.after(written, **counted(step, proposal.actions, first)), only)


def _add_lone(
    state: State,
    seen: Seen,
    asked: _List,
    b: int,
    owner: int,
    place: Place,
    inside: int,
    left: int,
    ends: int,
    flat: int,
) -> None:
    """Add the next state of a row with one live alternative, if it needs a forward."""
    search = state.sampler.search
    due = state.cache.due_for_refresh(place.steps + 1)
    if search is not None:
        if inside and (trait("search", search, "looks") or not (state.rewrites or due)):
            asked.add(state, owner, place, place.block, first=False, flat=flat)
    elif not state.rewrites:
        if ends or left >= state.canvas.tokens.shape[1]:
            seen.lone[b] = None
            return
        block = place.block if inside else place.blocks.at(left)
        seen.lone[b], seen.todo[b] = block, inside
        asked.add(state, owner, place, block, first=due or block is not place.block, flat=flat)


def _add_others(state: State, seen: Seen, asked: _List) -> None:
    """Add the rows that have no belief yet."""
    p = state.particles
    for row, place in enumerate(state.places):
        if not place.believed:
            seen.others.append(row)
            for k in range(p):
                asked.add(state, row * p + k, place, place.block, first=place.afresh)
            place.afresh = False


def _forward(state: State, step: Step, seen: Seen, asked: _List, tokens: Tensor, open_: Tensor) -> None:
    device, p = tokens.device, state.particles
    n = tokens.shape[1]
    seen.flat = ops.uploaded(asked.flat, device, torch.long)
    owners = ops.uploaded(asked.owners, device)
    rest = owners[len(asked.flat) :]
    states = States(
        torch.cat((tokens.flatten(0, 1)[seen.flat], state.canvas.tokens[rest])),
        torch.cat((open_.flatten(0, 1)[seen.flat], state.canvas.open[rest])),
        owners,
    )
    tick = torch.cat((step.tick[seen.flat // n] + 1, state.tick[rest]))
    wanted = asked.wanted(states, tick)
    seen.hidden = state.runner.forward(wanted, state.canvas, p, state.previous)
    shown = range(len(asked.flat)) if state.sampler.search is not None else asked.rivals
    if len(shown):
        seen.look = look_at(state, step, seen.hidden, states, [asked.flat[i] for i in shown], list(shown), n)
