"""Check the promises of the parts: one flag per promise and row, on the device, read with the next transfer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mdmkit.errors import MdmkitError, RowError
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

# For each bit: the kind of part that broke the promise, and the error text. The lowest bit that is set is reported.
PROMISES: tuple[tuple[str | None, str], ...] = (
    (None, "the model's logits are not numbers (NaN)"),
    ("score", "gave scores that are not numbers (NaN)"),
    ("select", "filled no position, though the row has open ones"),
    ("select", "filled a position that is not open"),
    ("lookahead", "gave values that are not numbers (NaN)"),
    ("commit", "changed a position outside the row's own block, or one that is not to be filled"),
    ("commit", "left something else than the action as written: a commit that does so needs `rewrites = True`"),
    ("commit", "wrote the mask's id as a token: to open a position again it calls canvas.reopened(place)"),
    ("search", "moved a particle to one of another row, or to an alternative that is not live"),
    ("constraint", "left a row no alternative that fills a position, though the row has open ones"),
    ("constraint", "filled a position that is not open"),
    ("search", "filled a position that is not open"),
    ("commit", "still leaves positions open after more steps than any plan takes"),
)
# Steps that a block may take per column, in addition to its plan. A commit that reopens positions needs more than one;
# a commit that never stops would go on forever.
STEPS_PER_COLUMN = 20
# The first bit of what is checked of each.
OF_PROPOSAL, OF_COMMIT, OF_SETTLED, OF_PRUNED = 0, 5, 9, 11
MODEL_ODD, LOOKAHEAD_ODD, SEARCH_STRAYS, ENDLESS = 1 << 0, 1 << 4, 1 << 8, 1 << (len(PROMISES) - 1)


def is_endless(steps: int, block: Block) -> bool:
    """Return True if a row has made so many steps in a block that the block will never be full."""
    return steps >= STEPS_PER_COLUMN * (block.stop - block.start) + len(block.targets) + 100


def model_is_odd(look: Look | None, rows: slice) -> bool:
    """Return True if the logits that a lookahead read were NaN: the model is then to blame, not the lookahead."""
    if look is None:
        return False
    odd = look(lambda belief: belief.entropy).isnan() & look.remaining()
    return bool(odd[rows].any())


def packed(flags: Sequence[Tensor | None], first: int) -> Tensor:
    """Pack flags bool [B], one a promise from bit `first` on, into one number per row, int64 [B]; None: not checked."""
    code: Tensor | None = None
    for bit, flag in enumerate(flags, first):
        if flag is not None:
            part = flag.long() << bit if bit else flag.long()
            code = part if code is None else code | part
    assert code is not None
    return code


def of_proposal(step: Step, scores: Tensor, actions: Actions) -> list[Tensor | None]:
    """Check the promises of model, score and select."""
    odd = ((step.belief.entropy + scores).isnan() & step.open).any(1)
    return [odd & (step.belief.entropy.isnan() & step.open).any(1), odd, *_filled(step, actions)]


def of_settled(step: Step, actions: Actions) -> Tensor:
    """Check the promises of a constraint's `settle`, packed."""
    return packed(_filled(step, actions), OF_SETTLED)


def of_pruned(step: Step, actions: Actions) -> Tensor:
    """Check the promises of a search's `prune`, packed. It may leave a particle nothing to do."""
    return packed([_filled(step, actions)[1]], OF_PRUNED)


def _filled(step: Step, actions: Actions) -> tuple[Tensor, Tensor]:
    """Flag rows that fill nothing though something is open, and rows that fill a position that is not open."""
    place = actions.place & actions.live[..., None]
    fills = place & step.open[:, None]
    stuck = step.open.any(1) & ~fills.flatten(1).any(1)
    return stuck, (place & ~step.open[:, None]).flatten(1).any(1)


def of_commit(sampler: Sampler, step: Step, actions: Actions, choice: Tensor, after: Canvas) -> list[Tensor | None]:
    """Check the promises of the commit."""
    before, commit = step.canvas, sampler.commit
    own, mask = step.member & step.window(before.editable | after.editable), before.mask_id
    now = step.window(after.tokens)
    content = None
    if mask is not None:
        changed = (now != step.window(before.tokens)) & ~step.window(after.open) & own
        content = (changed & (now == mask)).any(1)
    if type(commit) is Write:
        return [None, None, content]
    if not trait("commit", commit, "rewrites"):
        plain = Write()(step, actions, choice)
        other = ((after.tokens != plain.tokens) | (after.open != plain.open)).any(1)
        return [None, other, content]
    kept = ~step.spread(own)
    strange = (((after.tokens != before.tokens) | (after.open != before.open)) & kept).any(1)
    return [strange, None, content]


def broken(sampler: Sampler, code: int, tick: int, row: int) -> RowError:
    """Make the error of the first broken promise; it names the part, its plugin, the row and the step."""
    bit = next(bit for bit in range(len(PROMISES)) if code >> bit & 1)
    kind, reason = PROMISES[bit]
    if 1 << bit == MODEL_ODD and sampler.constraint is not None:
        reason = f"the model's logits, or what {named(sampler, 'constraint')} made of them, are not numbers (NaN)"
    return RowError(reason if kind is None else f"{named(sampler, kind)} {reason}", tick, row)


def named(sampler: Sampler, kind: str) -> str:
    """Name a part for an error: its kind, its class, and its plugin."""
    part = sampler.config.get("parts", {}).get(kind)
    origin = f" (of {part['distribution']} {part['version']})" if part else ""
    return f"{kind} {type(getattr(sampler, kind)).__name__}{origin}"


class Guarded:
    """Turn an exception in a part's code into one that names the part, its plugin and the step.

    with Guarded(sampler, "score", ticks): scores = sampler.score(step)
    """

    def __init__(self, sampler: Sampler, kind: str, tick: int):
        self.sampler, self.kind, self.tick = sampler, kind, tick

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or isinstance(error, MdmkitError | AssertionError | torch.OutOfMemoryError):
            return
        if isinstance(error, Exception):
            said = " ".join(str(error).split())
            raise MdmkitError(
                f"{named(self.sampler, self.kind)} failed at tick {self.tick} (a row's step, from 0): "
                f"{type(error).__name__}: {said}. See the part's own code, or run with --debug."
            ) from error


def check_shape(sampler: Sampler, kind: str, result: Any, shape: torch.Size) -> None:
    """Refuse a stage's result if it is not a float tensor of the given shape."""
    if not isinstance(result, Tensor) or result.shape != shape or not result.is_floating_point():
        raise MdmkitError(
            f"{named(sampler, kind)} returned {_got(result)}; it must return a float tensor of shape {list(shape)}."
        )


def check_actions(sampler: Sampler, actions: Any, step: Step, kind: str = "select") -> None:
    """Refuse actions of wrong shapes or types, or with more alternatives than the select declares."""
    most = trait("select", sampler.select, "alternatives")
    b, w = step.open.shape
    parts = {"place": (torch.bool, 3), "tokens": (torch.int64, 3), "live": (torch.bool, 2)}
    for name, (dtype, dims) in parts.items():
        x = getattr(actions, name, None)
        n = x.shape[1] if isinstance(x, Tensor) and x.dim() == dims else 0
        if not isinstance(x, Tensor) or x.dtype != dtype or x.shape != ((b, n, w) if dims == 3 else (b, n)):
            shape = f"[{b}, N, {w}]" if dims == 3 else f"[{b}, N]"
            raise MdmkitError(
                f"{named(sampler, kind)} returned {_got(x)} as {name}; it must return mdmkit.Actions, with {name} "
                f"{str(dtype).removeprefix('torch.')} {shape}."
            )
    n = actions.live.shape[1]
    if n > most:
        raise MdmkitError(
            f"{named(sampler, kind)} proposed {n} alternatives, and the trait `alternatives` of the select is {most}: "
            "there may be no more than that."
        )


def check_canvas(sampler: Sampler, canvas: Any, step: Step) -> None:
    """Refuse a result that is not a Canvas of the step's rows."""
    tokens = getattr(canvas, "tokens", None)
    if not isinstance(tokens, Tensor) or tokens.shape != step.canvas.tokens.shape or tokens.dtype != torch.int64:
        raise MdmkitError(
            f"{named(sampler, 'commit')} returned {_got(canvas)}; it must return a Canvas of {step.rows} rows, such as "
            "step.canvas.filled(place, tokens)."
        )


def _got(result: Any) -> str:
    if isinstance(result, Tensor):
        return f"{str(result.dtype).removeprefix('torch.')} {list(result.shape)}"
    return f"a {type(result).__name__}"
