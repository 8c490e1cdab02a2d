"""Check the promises of the parts: one flag per promise and row, on the device, read with the next transfer."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mdmkit.errors import RowError
from mdmkit.loop.guard import named
from mdmkit.stage.traits import trait
from mdmkit.stage.write import Write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mdmkit.canvas.blocks import Block
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.loop.sampler import Sampler
    from mdmkit.stage.actions import Actions
    from mdmkit.stage.look import Look
    from mdmkit.stage.step import Step

_OPEN = "filled a position that is not open"
_MASK = "wrote the mask's id as a token: to leave a position open, do not fill it"
_VOCAB = "wrote a token id that the model does not have"
_STEPS = "counted an alternative as fewer than 0 steps of the plan"
# For each bit: the kind of part that broke the promise, and the error text. The lowest bit that is set is reported.
PROMISES: tuple[tuple[str | None, str], ...] = (
    (None, "the model's logits are not numbers (NaN)"),
    ("score", "gave scores that are not numbers (NaN)"),
    ("select", "filled no position, though the row has open ones"),
    ("select", _OPEN),
    ("select", _MASK),
    ("select", _VOCAB),
    ("select", _STEPS),
    ("constraint", "left a row no alternative that fills a position, though the row has open ones"),
    ("constraint", _OPEN),
    ("constraint", _MASK),
    ("constraint", _VOCAB),
    ("constraint", _STEPS),
    ("search", "left no particle of a row an alternative, though the row has open positions"),
    ("search", _OPEN),
    ("search", _MASK),
    ("search", _VOCAB),
    ("search", _STEPS),
    ("lookahead", "gave values that are not numbers (NaN)"),
    ("search", "moved a particle to one of another row, or to an alternative that is not live"),
    ("search", "chose as the row's answer a particle that the row does not have"),
    (
        "commit",
        "changed a position outside the row's own block, one that is not to be filled, or a row that takes no step",
    ),
    ("commit", "left something else than the action as written: a commit that does so needs `rewrites = True`"),
    ("commit", "wrote the mask's id as a token: to open a position again it calls canvas.reopened(place)"),
    ("commit", _VOCAB),
    ("commit", "left a token at a position that it opened: to open a position it calls canvas.reopened(place)"),
    ("commit", "added or removed positions so that the row has a gap, or removed a position that was filled"),
    ("commit", "replaced a token, or wrote one that is not of the action, although it says `only_reopens = True`"),
    ("commit", "still leaves positions open after more steps than any plan takes"),
)
# Steps that a block may take per column, in addition to its plan. A commit that reopens positions needs more than one;
# a commit that never stops would go on forever.
STEPS_PER_COLUMN = 20


def _bit(kind: str, text: str) -> int:
    return next(bit for bit, (owner, said) in enumerate(PROMISES) if owner == kind and text in said)


# The first bit of what is checked of each.
OF_PROPOSAL, OF_SETTLED, OF_PRUNED, OF_COMMIT = (
    0,
    _bit("constraint", "left"),
    _bit("search", "left"),
    _bit("commit", ""),
)
MODEL_ODD, SCORE_ODD, LOOKAHEAD_ODD = 1 << 0, 1 << _bit("score", "NaN"), 1 << _bit("lookahead", "NaN")
SEARCH_STRAYS, BEST_STRAYS = 1 << _bit("search", "moved"), 1 << _bit("search", "answer")
ENDLESS = 1 << _bit("commit", "still")


def is_endless(steps: int, block: Block) -> bool:
    """Return True if a row has made so many steps in a block that the block will never be full."""
    return steps >= STEPS_PER_COLUMN * (block.stop - block.start) + len(block.targets) + 100


def blamed(code: int, step: Step | None, look: Look | None, rows: slice) -> int:
    """Return the code of some rows' broken promises, with the model to blame if what a part read were NaN."""
    if code & SCORE_ODD and step is not None and (step.belief.entropy.isnan() & step.open)[rows].any():
        return code | MODEL_ODD
    if code & (LOOKAHEAD_ODD | SEARCH_STRAYS) and look is not None:
        odd = look(lambda belief: belief.entropy).isnan() & look.remaining()
        return code | MODEL_ODD if odd[rows].any() else code
    return code


def packed(flags: Sequence[Tensor | None], first: int) -> Tensor:
    """Pack flags bool [B], one a promise from bit `first` on, into one number per row, int64 [B]; None: not checked."""
    asked = [(bit, flag) for bit, flag in enumerate(flags, first) if flag is not None]
    each = torch.stack([flag for _, flag in asked], 1)
    return (each * _weights(tuple(bit for bit, _ in asked), each.device)).sum(1)


@functools.lru_cache(maxsize=64)
def _weights(bits: tuple[int, ...], device: torch.device) -> Tensor:
    """int64: 2 to the power of each bit."""
    return torch.tensor([1 << bit for bit in bits], device=device)


def of_proposal(step: Step, scores: Tensor, actions: Actions) -> Tensor:
    """Check the promises of model, score and select, packed. NaN of the model count as the score's: see `blamed`."""
    odd = ((step.belief.entropy + scores).isnan() & step.open).any(1)
    return packed([None, odd, *_of_actions(step, actions)], OF_PROPOSAL)


def of_settled(step: Step, actions: Actions) -> Tensor:
    """Check the promises of a constraint's `settle`, packed."""
    return packed(_of_actions(step, actions), OF_SETTLED)


def of_pruned(step: Step, actions: Actions, particles: int) -> Tensor:
    """Check the promises of a search's `prune`, packed. It may leave a particle nothing to do, but not all of a row."""
    idle, *others = _of_actions(step, actions)
    assert idle is not None
    none = idle.view(-1, particles).all(1).repeat_interleave(particles)
    return packed([none, *others], OF_PRUNED)


def _of_actions(step: Step, actions: Actions) -> list[Tensor | None]:
    """Flag rows with open positions that fill none.

    Then rows that fill positions that are not open, or with the mask or unknown tokens, or count negative steps.
    """
    place, tokens, mask = actions.place & actions.live[..., None], actions.tokens, step.canvas.mask_id
    fine = step.open[:, None].expand_as(place)
    kinds = [fine, ~fine, tokens != tokens.clamp(0, step.belief.vocab - 1)]
    if mask is not None:
        kinds.append(tokens == mask)
    fills, elsewhere, unknown, *masked = (torch.stack(kinds) & place).any((2, 3))
    return [
        fills < step.open.any(1),
        elsewhere,
        masked[0] if masked else None,
        unknown,
        None if actions.steps is None else (actions.live & (actions.steps < 0)).any(1),
    ]


def of_commit(
    sampler: Sampler, step: Step, actions: Actions, choice: Tensor, after: Canvas, limits: Tensor
) -> Tensor | None:
    """Check the promises of the commit, packed; None if the commit can break none.

    `limits` int64 [B]: the columns that each row may grow to.
    """
    if type(sampler.commit) is Write:
        return None
    changed = _differs(step.canvas, after, ("tokens", "open"))
    elsewhere = _elsewhere(sampler, step, after, changed, limits)
    says = functools.partial(trait, "commit", sampler.commit)
    if not says("rewrites"):
        plain = Write()(step, actions, choice)
        return packed([elsewhere, _differs(plain, after, ("tokens", "open")).any(1)], OF_COMMIT)
    before, mask, tokens = step.canvas, step.canvas.mask_id, after.tokens
    written = changed & ~after.open & after.valid
    unknown = (tokens < 0) | (tokens >= step.belief.vocab)
    return packed(
        [
            elsewhere,
            None,
            None if mask is None else (written & (tokens == mask)).any(1),
            (written & unknown).any(1),
            (after.open & (tokens != before.blank_id)).any(1),
            _misshapen(before, after) if says("grows") else None,
            _replaced(step, actions, choice, after) if says("only_reopens") else None,
        ],
        OF_COMMIT,
    )


def _misshapen(before: Canvas, after: Canvas) -> Tensor:
    """Flag rows with a gap, with a position that is to be filled and not in the row, or without a filled position."""
    gap = (after.valid[:, 1:] & ~after.valid[:, :-1]).any(1)
    stray = (after.editable | after.open) & ~after.valid
    return gap | (stray | (before.valid & ~before.open & ~after.valid)).any(1)


def _replaced(step: Step, actions: Actions, choice: Tensor, after: Canvas) -> Tensor:
    """Flag rows with a filled position that has another token than with the action as written."""
    plain = Write()(step, actions, choice)
    width = plain.tokens.shape[1]
    tokens, filled = after.tokens[:, :width], ~after.open[:, :width]
    return (filled & (plain.open | (tokens != plain.tokens))).any(1)


def _elsewhere(sampler: Sampler, step: Step, after: Canvas, changed: Tensor, limits: Tensor) -> Tensor:
    """Flag rows with a change that is not the commit's to make.

    `changed` bool [B, T]: positions with another token, or that were opened or filled.

    Of a row that takes the step it may change the positions of the block that are to be filled. One that grows may also
    add positions to the row, in this block or behind it.
    """
    before, grows = step.canvas, trait("commit", sampler.commit, "grows")
    own = step.spread(step.member & step.active[:, None] & step.window(before.editable))
    if grows:
        room = (before.positions < limits[:, None]) & step.active[:, None]
        own = own | (after.editable & ~before.valid & room)
    shape = _differs(before, after, ("editable", "valid"))
    return ((changed & ~own) | (shape & ~own if grows else shape)).any(1)


def _differs(before: Canvas, after: Canvas, names: Sequence[str]) -> Tensor:
    """bool [B, T]: positions at which two canvases differ."""
    pairs = [(getattr(before, name), getattr(after, name)) for name in names]
    out = torch.zeros_like(before.open)
    for then, now in pairs:
        if then is not now:
            out = out | (then != now)
    return out


def broken(sampler: Sampler, code: int, tick: int, row: int) -> RowError:
    """Make the error of the first broken promise; it names the part, its plugin, the row and the step."""
    bit = next(bit for bit in range(len(PROMISES)) if code >> bit & 1)
    kind, reason = PROMISES[bit]
    if 1 << bit == MODEL_ODD and sampler.constraint is not None:
        reason = f"the model's logits, or what {named(sampler, 'constraint')} made of them, are not numbers (NaN)"
    return RowError(reason if kind is None else f"{named(sampler, kind)} {reason}", tick, row)
