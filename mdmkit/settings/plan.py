"""The plan: how long, in which blocks, in how many steps, and so how many tokens each step owes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from mdmkit.errors import MdmkitError, unknown

# The longest row, in tokens: more is a slip of the keyboard.
LONGEST_ROW = 1 << 20

# Dream's last moment: its steps run from time 1 to this one (arXiv:2508.15487, `eps` in its decoder).
DREAM_END = 1e-3


def _linear(masks: int, steps: int) -> list[int]:
    """Split evenly, the larger steps first (LLaDA, arXiv:2502.09992)."""
    base, more = divmod(masks, steps) if steps else (0, 0)
    return [masks - base * (i + 1) - min(i + 1, more) for i in range(steps)]


def _shares(left: Callable[[float], float]) -> Callable[[int, int], list[int]]:
    """Make a schedule of the share that is still masked after a share of the steps."""
    return lambda masks, steps: [math.floor(masks * left((i + 1) / steps) + 1e-9) for i in range(steps)]


def _dwell(progress: float) -> float:
    """ReMDM-loop's share (arXiv:2503.00307): to 10 % left at 45 % of the steps, there until 95 %, then to 0."""
    return 1 - progress * 0.9 / 0.45 if progress < 0.45 else max(0.0, min(0.1, (1 - progress) * 0.1 / 0.05))


def _dream(masks: int, steps: int) -> list[int]:
    """Fill ⌊m · (1 − s/t)⌋ of the m left as time falls from t to s, and what is left in the last step.

    A step that would fill nothing leaves the belief as it is: it is left out, and costs no forward.
    """
    left, targets = masks, []
    for i in range(steps):
        t, s = (1 - (i + more) * (1 - DREAM_END) / steps for more in (0, 1))
        fill = left if i == steps - 1 else int(left * (1 - s / t))
        left -= fill
        if fill:
            targets.append(left)
    return targets


# Masks that may remain of so many after each of so many steps.
SCHEDULES: dict[str, Callable[[int, int], list[int]]] = {
    "linear": _linear,
    "cosine": _shares(lambda progress: math.cos(progress * math.pi / 2)),
    "arccos": _shares(lambda progress: math.acos(progress) * 2 / math.pi),
    "dwell": _shares(_dwell),
    "dream": _dream,
}


@dataclass(frozen=True)
class Plan:
    """How a canvas is filled.

    Args:
        length: masks appended after a prompt that holds none; None asks the model.
        block: block length in tokens, blocks are filled left to right; None is one block.
        steps: steps for the whole row, shared out over its blocks; None is one token a step.
        tokens_per_step: the same said the other way: K tokens a step. Give at most one of the two.
        schedule: `linear`; `cosine` (few tokens first, arXiv:2202.04200); `arccos` (evenly at first, most in the
            last steps; Halton-MaskGIT, arXiv:2503.17076); `dwell` (half of the steps with 90 % filled, for ReMDM-loop,
            arXiv:2503.00307); `dream` (Dream's floors, arXiv:2508.15487).
        early_stop: a row is finished at the end of a block where an end token stands with nothing open before it; its
            later blocks are not decoded.
        room: places that a commit may bring into a row beyond those that it begins with (for a commit that `grows`).
    """

    length: int | None = None
    block: int | None = None
    steps: int | None = None
    tokens_per_step: int | None = None
    schedule: str = "linear"
    early_stop: bool = True
    room: int = 0

    def __post_init__(self) -> None:
        for name in ("length", "block", "steps", "tokens_per_step"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= LONGEST_ROW:
                raise MdmkitError(f"plan.{name}={value}: it must be from 1 to {LONGEST_ROW}, or null.")
        if not 0 <= self.room <= LONGEST_ROW:
            raise MdmkitError(f"plan.room={self.room}: it is a number of places, from 0 to {LONGEST_ROW}.")
        if self.steps is not None and self.tokens_per_step is not None:
            raise MdmkitError(
                "plan.steps and plan.tokens_per_step say the same thing twice: give one, set the other to null."
            )
        if self.schedule not in SCHEDULES:
            raise MdmkitError(unknown("plan.schedule", self.schedule, SCHEDULES))
        if self.tokens_per_step is not None and self.schedule != "linear":
            raise MdmkitError(
                f"plan.tokens_per_step is the same number every step, so schedule={self.schedule} has no effect: "
                "give plan.steps instead, or schedule=linear."
            )

    def targets(self, masks: list[int]) -> list[list[int]]:
        """Masks still allowed after each step of each block of one row.

        `masks[j]` counts the row's masks in block j. The linear schedule splits evenly with the larger steps first
        (LLaDA's rule); every block ends at 0 and has at least one step, so no mask survives, and there are more steps
        than asked for only where there are more blocks with masks.
        """
        total = sum(masks)
        if self.tokens_per_step is not None:
            return [
                [max(0, m - self.tokens_per_step * (i + 1)) for i in range(math.ceil(m / self.tokens_per_step))]
                for m in masks
            ]
        steps = total if self.steps is None else self.steps
        out, done, used, later = [], 0, 0, sum(m > 0 for m in masks)
        for m in masks:
            done += m
            later -= m > 0
            # In proportion, but one step is kept for each block still to come.
            share = max(1, min((steps * done) // max(1, total), steps - later) - used) if m else 0
            used += share
            out.append(SCHEDULES[self.schedule](m, share))
        return out
