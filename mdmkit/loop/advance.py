"""The end of a step: commit, trace, cursor; then each row stays in its block, enters the next one, or leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mdmkit.loop import checks, guard, stopping
from mdmkit.loop.guard import Guarded
from mdmkit.loop.leaving import leave
from mdmkit.loop.looking import leftmost
from mdmkit.loop.place import counted

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.loop.choosing import Choice
    from mdmkit.loop.looking import Seen
    from mdmkit.loop.state import State
    from mdmkit.stage.step import Step


def commit(state: State, chosen: Choice) -> Canvas:
    """Write the chosen actions.

    Raises:
        MdmkitError: the commit fails, or returns no canvas of these rows.
    """
    step, actions, choice = chosen.step, chosen.actions, chosen.choice
    with Guarded(state.sampler, "commit", state.latest, step=step, actions=actions, choice=choice):
        return guard.canvas_of(state.sampler.commit(step, actions, choice), step.canvas)


def advance(state: State, chosen: Choice, canvas: Canvas, seen: Seen) -> None:
    """Store the result of a step: canvas, trace, cursors and beliefs of its rows; rows that ended leave."""
    step, actions, choice = chosen.step, chosen.actions, chosen.choice
    broken = checks.of_commit(state.sampler, step, actions, choice, canvas, state.limits)
    code = seen.code if broken is None else seen.code | broken
    cursor = _cursor(state, chosen, canvas)
    after = step.after(canvas, **cursor)
    _record(state, chosen, after)
    if state.sampler.search is None:
        state.watchers.step(step, actions, choice)
    state.write_rows(canvas, cursor)
    _carry_beliefs(state, chosen, seen)

    rows = state.rows_of_step
    for row in rows:
        state.places[row].steps += 1
        state.places[row].ticks += 1
    # If nothing was compared, the rules that end rows were asked before the forward, unless the commit rewrites.
    decided = state.compares and not (seen.compared or state.rewrites or state.sampler.search is not None)
    facts = _by_plan(state, seen) if decided and broken is None else _ask(state, after, code, seen)
    _go_on(state, rows, facts, seen)


def _cursor(state: State, chosen: Choice, canvas: Canvas) -> dict[str, Tensor]:
    """The rows' cursors after the step."""
    step, before = chosen.step, chosen.step.canvas
    cursor = counted(step, chosen.actions, chosen.choice)
    if state.lingers and step.patience is not None:
        changed = ((canvas.tokens != before.tokens) | (canvas.open != before.open)).any(1)
        left = torch.where(changed, step.patience - 1, 0)
        cursor["patience"] = torch.where(step.open.any(1), step.patience, left)
    return cursor


def _record(state: State, chosen: Choice, after: Step) -> None:
    step, trace = chosen.step, state.recorded
    place = chosen.actions.take(chosen.choice)[0]
    state.ledger.note(trace, state.partial_index, step, place, after, state.rewrites)
    most = max(state.places[row].ticks for row in state.rows_of_step)
    choice = chosen.choice if state.compares else None
    trace.count(state.partial_index, step.active, choice, chosen.values, most)


def _carry_beliefs(state: State, chosen: Choice, seen: Seen) -> None:
    """Keep the hidden states of the chosen next states, and of rows that had no belief, for the next step."""
    if not state.compares:
        state.hidden = None
        return
    if seen.hidden is None or seen.flat is None:
        return
    total, n = len(state.tick), chosen.actions.place.shape[1]
    device = chosen.choice.device
    # −1: this state was not forwarded.
    slot = torch.full((chosen.step.rows * n,), -1, device=device)
    slot[seen.flat] = torch.arange(len(seen.flat), device=device)
    source = torch.full((total,), -1, device=device)
    source[state.index_of_step] = slot[chosen.source]
    if seen.others:
        others = state.index_of(seen.others)
        source[others] = torch.arange(len(others), device=device) + len(seen.flat)
    if state.previous is not None:
        state.previous.put(seen.hidden, source, state.canvas.tokens.shape[1])
    state.hidden = seen.hidden.at(source.clamp_min(0))


def _ask(state: State, after: Step, code: Tensor, seen: Seen) -> list[list[int]]:
    """Tell the host about each row, in one transfer.

    The numbers are: code; rule that ends it; open positions of its block, or 1 if it lingers there; first open column.
    """
    if state.sampler.stop is None and state.sampler.search is None and seen.over is None:
        return _ask_at_block_ends(state, after, code)
    over = stopping.ask(state, after, seen.several if seen.over is not None else None)
    if over is None:
        over = torch.zeros_like(code)
    if seen.over is not None and seen.several is not None:
        over = torch.where(seen.several, over, seen.over)
    if state.sampler.search is not None:
        done = state.done if state.partial_index is None else state.done[state.partial_index]
        over = torch.where(done > 0, done, over)
        state.set_done(over)
    return torch.stack((code, over, _stays(state, after), leftmost(after.canvas.open)), 1).tolist()


def _stays(state: State, after: Step) -> Tensor:
    """int64 [B]: open positions of the row's block, or 1 if it lingers there."""
    stays = after.unfilled.sum(1)
    if state.lingers and after.patience is not None:
        stays = torch.where(after.patience > 0, stays.clamp_min(1), stays)
    return stays


def _ask_at_block_ends(state: State, after: Step, code: Tensor) -> list[list[int]]:
    """Tell the host the same if only an end token can end a row.

    Its rule, and the first open column, are asked when a row's block is full: in a second transfer.
    """
    facts = torch.stack((code, _stays(state, after)), 1).tolist()
    if all(stays for _, stays in facts):
        return [[code, stopping.RUNNING, stays, 0] for code, stays in facts]
    over = stopping.ask(state, after)
    ends = torch.zeros_like(code) if over is None else over
    asked = torch.stack((ends, leftmost(after.canvas.open)), 1).tolist()
    return [[code, over, stays, left] for (code, stays), (over, left) in zip(facts, asked, strict=True)]


def _by_plan(state: State, seen: Seen) -> list[list[int]]:
    """Tell the host the same about rows with one next state each: their rules were asked before the forward."""
    over = torch.zeros_like(seen.code) if seen.over is None else seen.over
    out = []
    for b, (code, ends) in enumerate(torch.stack((seen.code, over), 1).tolist()):
        block = seen.lone.get(b)
        row = state.rows_of_step[b]
        stays = seen.todo[b] if block is state.places[row].block else 0
        out.append([code, ends, stays, state.canvas.tokens.shape[1] if block is None else block.start])
    return out


def _go_on(state: State, rows: list[int], facts: list[list[int]], seen: Seen) -> None:
    """Let each row stay in its block, enter its next one, or leave."""
    p, width = state.particles, state.canvas.tokens.shape[1]
    gone, entered = list[tuple[int, int, int]](), list[int]()
    for i, row in enumerate(rows):
        place, own = state.places[row], facts[i * p : (i + 1) * p]
        code = next((fact[0] for fact in own if fact[0]), 0)
        alive = [fact for fact in own if not fact[1] and (fact[2] or fact[3] < width)]
        if code:
            code = checks.blamed(code, state.step_now, seen.look, slice(i * p, (i + 1) * p))
        if not code and alive and checks.is_endless(place.steps, place.block):
            code = checks.ENDLESS
        if code or not alive:
            gone.append((row, code, max(fact[1] for fact in own)))
            continue
        known = i in seen.lone  # its only next state was forwarded before the commit
        if any(fact[2] for fact in alive):
            place.todo = max(fact[2] for fact in own)
            place.afresh = state.cache.due_for_refresh(place.steps) and not known
            place.believed = state.compares and not state.rewrites and not place.afresh
        else:
            place.enter(place.blocks.at(min(fact[3] for fact in alive)))
            place.believed, place.afresh = known, not known
            entered.append(row)
    for row in seen.others:
        state.places[row].believed = True
    if entered:
        state.enter_block(entered)
    if gone:
        leave(state, gone)
