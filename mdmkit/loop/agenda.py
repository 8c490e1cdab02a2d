"""What the host must know of a step, fetched from the device in one transfer, and whether the stages kept to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mdmkit.errors import MdmkitError, RowError

if TYPE_CHECKING:
    from mdmkit.loop.sampler import Sampler
    from mdmkit.stage.actions import Actions
    from mdmkit.stage.step import Step


@dataclass(frozen=True)
class Agenda:
    """The forwards of a step.

    Attributes:
        forward: int64 [M]; the next states to look at, as flat indices into [B·N].
        compare: int64; which of those are rivals: a row that proposes one state has none.
        rows: int64 [M] on the host; the row that each of `forward` belongs to.
        busy: whether any row takes the step.
    """

    forward: Tensor
    compare: Tensor
    rows: Tensor
    busy: bool

    @classmethod
    def fetch(
        cls, sampler: Sampler, step: Step, scores: Tensor, proposed: Actions, actions: Actions, carry: bool
    ) -> Agenda:
        """Read it off the device.

        Args:
            proposed: what the select proposed.
            actions: what a search left of it.
            carry: whether the chosen state's belief is wanted when nothing is compared.

        Raises:
            RowError: logits or scores are not numbers, or the select fills nothing in a row with open positions.
        """
        several = actions.live.sum(1) > 1
        # A lone state is looked at for the next step's belief only: where something stays open, and it is carried on.
        onward = (step.open[:, None] & ~actions.place).any(-1) & carry
        looked = actions.live & (several[:, None] | onward)

        open_ = step.open.any(1)
        broken = (step.belief.entropy.isnan() & step.open).any(1)
        unscored = (scores.isnan() & step.open).any(1)
        stuck = open_ & ~(proposed.live & (proposed.place & step.open[:, None]).any(-1)).any(1)
        host = torch.cat((looked.flatten(), broken, unscored, stuck, several, step.active)).cpu()
        rows = host[looked.numel() :].view(5, -1)
        for failed, reason in (
            (rows[0], "the model's logits are not numbers (NaN)"),
            (rows[1], f"score {type(sampler.score).__name__} gave scores that are not numbers (NaN)"),
            (rows[2], f"select {type(sampler.select).__name__} filled no position"),
        ):
            if failed.any():
                row = int(failed.long().argmax())
                # Under a search the rows of the loop are particles.
                raise RowError(reason, int(step.tick[row]), row // getattr(sampler.search, "particles", 1))
        forward = host[: looked.numel()].nonzero()[:, 0]
        owners = forward // looked.shape[1]
        compare = rows[3][owners].nonzero()[:, 0]
        return cls(forward.to(looked.device), compare.to(looked.device), owners, bool(rows[4].any()))


def check_shape(kind: str, stage: Any, result: Any, shape: torch.Size) -> None:
    """Refuse a stage's result that is no float tensor of the given shape."""
    if not isinstance(result, Tensor) or result.shape != shape or not result.is_floating_point():
        got = f"{result.dtype} {list(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
        name = type(stage).__name__
        raise MdmkitError(f"{kind} {name} returned {got}; it must return a float tensor of shape {list(shape)}.")
