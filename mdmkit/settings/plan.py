"""The plan: the length of a row, its blocks and steps, and so how many tokens each step should fill."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from mdmkit.errors import MdmkitError, unknown
from mdmkit.settings.numbers import is_whole, own_fields

# The longest row, in tokens: a larger number is a typing mistake.
LONGEST_ROW = 1 << 20

# Dream's last moment: its steps run from time 1 to this one (arXiv:2508.15487, `eps` in its decoder).
DREAM_END = 1e-3


def _linear(masks: int, steps: int) -> list[int]:
    """Split evenly, the larger steps first (LLaDA, arXiv:2502.09992)."""
    base, more = divmod(masks, steps) if steps else (0, 0)
    return [masks - base * (i + 1) - min(i + 1, more) for i in range(steps)]


def _shares(left: Callable[[float], float]) -> Callable[[int, int], list[int]]:
    """Make a schedule from a function: share of the steps that were made -> share of the masks that are left."""
    return lambda masks, steps: [math.floor(masks * left((i + 1) / steps) + 1e-9) for i in range(steps)]


def _dwell(progress: float) -> float:
    """ReMDM-loop (arXiv:2503.00307): 10 % of the masks are left from 45 % to 95 % of the steps, 0 at the end."""
    return 1 - progress * 0.9 / 0.45 if progress < 0.45 else max(0.0, min(0.1, (1 - progress) * 0.1 / 0.05))


def _dream(masks: int, steps: int) -> list[int]:
    """Dream's schedule: a step from time t to s fills ⌊m · (1 − s/t)⌋ of the m masks left, the last step all of them.

    A step that would fill nothing is left out, so it costs no forward.
    """
    left, targets = masks, []
    for i in range(steps):
        t, s = (1 - (i + more) * (1 - DREAM_END) / steps for more in (0, 1))
        fill = left if i == steps - 1 else int(left * (1 - s / t))
        left -= fill
        if fill:
            targets.append(left)
    return targets


# (masks, steps) -> how many masks may be left after each step.
SCHEDULES: dict[str, Callable[[int, int], list[int]]] = {
    "linear": _linear,
    "cosine": _shares(lambda progress: math.cos(progress * math.pi / 2)),
    "arccos": _shares(lambda progress: math.acos(progress) * 2 / math.pi),
    "dwell": _shares(_dwell),
    "dream": _dream,
}

# What rows can say of each token.
LOGPROBS = ("reveal", "final")


@dataclass(frozen=True)
class Plan:
    """How a canvas is filled.

    Args:
        length: masks appended to a prompt that holds none; None: the model's default.
        block: block length in tokens; blocks are filled left to right; None: one block.
        steps: steps for the whole row, divided among its blocks; None: one token a step.
        tokens_per_step: K tokens a step. Set either `steps` or `tokens_per_step`, not both.
        schedule: `linear`; `cosine` (few tokens in the first steps, arXiv:2202.04200); `arccos` (evenly at first, most
            in the last steps; Halton-MaskGIT, arXiv:2503.17076); `dwell` (half of the steps at 90 % filled, for
            ReMDM-loop, arXiv:2503.00307); `dream` (Dream's, arXiv:2508.15487).
        early_stop: a row ends if its block is full and an end token stands with nothing open before it; its later
            blocks are not decoded.
        room: how many positions a commit may add to a row (for a commit that `grows`).
        logprobs: what rows say of each token, in `Row.logprobs`: `reveal`: its log-probability and rank at the step
            that wrote it; `final`: also under the finished row, which costs one more forward; None: nothing.
    """

    length: int | None = None
    block: int | None = None
    steps: int | None = None
    tokens_per_step: int | None = None
    schedule: str = "linear"
    early_stop: bool = True
    room: int = 0
    logprobs: str | None = None

    def __post_init__(self) -> None:
        own_fields(self)
        for name in ("length", "block", "steps", "tokens_per_step"):
            value = getattr(self, name)
            if value is not None and not (is_whole(value) and 1 <= value <= LONGEST_ROW):
                raise MdmkitError(f"plan.{name}={value!r}: it must be a whole number from 1 to {LONGEST_ROW}, or null.")
        if not (is_whole(self.room) and 0 <= self.room <= LONGEST_ROW):
            raise MdmkitError(f"plan.room={self.room!r}: it must be a whole number of tokens from 0 to {LONGEST_ROW}.")
        if not isinstance(self.early_stop, bool):
            raise MdmkitError(f"plan.early_stop={self.early_stop!r}: it must be true or false.")
        if self.logprobs is not None and self.logprobs not in LOGPROBS:
            raise MdmkitError(f"plan.logprobs={self.logprobs!r}: it must be {' or '.join(LOGPROBS)}, or null for none.")
        if self.steps is not None and self.tokens_per_step is not None:
            raise MdmkitError(
                "plan.steps and plan.tokens_per_step say the same thing twice: give one, set the other to null."
            )
        if not isinstance(self.schedule, str):
            raise MdmkitError(f"plan.schedule={self.schedule!r}: it must be a name, one of {', '.join(SCHEDULES)}.")
        if self.schedule not in SCHEDULES:
            raise MdmkitError(unknown("plan.schedule", self.schedule, SCHEDULES))
        if self.tokens_per_step is not None and self.schedule != "linear":
            raise MdmkitError(
                f"plan.tokens_per_step is the same number every step, so schedule={self.schedule} has no effect: "
                "give plan.steps instead, or schedule=linear."
            )

    def targets(self, masks: list[int]) -> list[list[int]]:
        """How many masks may be left after each step of each block of one row.

        `masks[j]` is the number of masks in block j. The linear schedule splits evenly, with the larger steps first
        (LLaDA's rule). Every block with masks has at least one step and ends at 0, so no mask is left. So there are
        more steps than `plan.steps` only if there are more blocks with masks than steps.
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
