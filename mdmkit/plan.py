"""The plan: how long, in which blocks, in how many steps, and so how many tokens each step owes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from mdmkit.errors import MdmkitError, unknown


def _linear(progress: float) -> float:
    return 1.0 - progress


def _cosine(progress: float) -> float:
    return math.cos(progress * math.pi / 2)


# The longest row, in tokens: more is a slip of the keyboard.
LONGEST = 1 << 20

# Share of a block that is still masked after a share of its steps.
SCHEDULES: dict[str, Callable[[float], float]] = {"linear": _linear, "cosine": _cosine}


@dataclass(frozen=True)
class Plan:
    """How a canvas is filled.

    Args:
        length: masks appended after a prompt that holds none; None asks the model.
        block: block length in tokens, blocks are filled left to right; None is one block.
        steps: steps for the whole row, shared out over its blocks; None is one token a step.
        tokens_per_step: the same said the other way: K tokens a step. Give at most one of the two.
        schedule: `linear`, or `cosine` (few tokens first, arXiv:2202.04200).
        early_stop: a row is finished at the end of a block where an end token stands with nothing open before it; its
            later blocks are not decoded.
    """

    length: int | None = None
    block: int | None = None
    steps: int | None = None
    tokens_per_step: int | None = None
    schedule: str = "linear"
    early_stop: bool = True

    def __post_init__(self) -> None:
        for name in ("length", "block", "steps", "tokens_per_step"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= LONGEST:
                raise MdmkitError(f"plan.{name}={value}: it must be from 1 to {LONGEST}, or null.")
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
            out.append(self._block_targets(m, share))
        return out

    def _block_targets(self, masks: int, steps: int) -> list[int]:
        if self.schedule == "linear":
            base, more = divmod(masks, steps) if steps else (0, 0)
            targets, left = [], masks
            for i in range(steps):
                left -= base + (i < more)
                targets.append(left)
            return targets
        keep = SCHEDULES[self.schedule]
        return [math.floor(masks * keep((i + 1) / steps) + 1e-9) for i in range(steps)]
