"""How tokens are drawn, and how far guidance goes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mdmkit.errors import MdmkitError


@dataclass(frozen=True)
class Draw:
    """How tokens are drawn from the belief.

    Args:
        temperature: 0 takes the most probable token.
        temperature_end: where the temperature ends that begins at `temperature` and goes on in proportion to the share
            of the row's masks that are filled (as DiffusionGemma's from 0.8 to 0.4, and Halton-MaskGIT's,
            arXiv:2503.17076, by steps there); null keeps it constant.
        top_p: keep the smallest set of tokens with this probability mass; null keeps all.
        top_k: keep this many tokens; null keeps all.
        suppress: token ids that are never chosen.
        penalty: token id -> amount taken off its logit, in base and lookahead logits alike.
        end_penalty: the same amount for every end and padding token of the model, which pretraining made too likely
            (arXiv:2602.18176 takes 4).
        repetition_penalty: logits of tokens that the row holds already are divided by it where positive and multiplied
            where negative (arXiv:1909.05858); 1 is off.
    """

    temperature: float = 0.0
    top_p: float | None = None
    top_k: int | None = None
    suppress: tuple[int, ...] = ()
    penalty: dict[int, float] | None = None
    end_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature_end: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise MdmkitError(f"draw.temperature={self.temperature}: it must be a number from 0 up; 0 is greedy.")
        if self.temperature_end is not None and not 0 <= self.temperature_end < math.inf:
            raise MdmkitError(
                f"draw.temperature_end={self.temperature_end}: a number from 0 up, or null for a temperature that "
                "stays as it is."
            )
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise MdmkitError(f"draw.top_p={self.top_p}: it must be above 0 and at most 1, or null.")
        if self.top_k is not None and self.top_k < 1:
            raise MdmkitError(f"draw.top_k={self.top_k}: it must be at least 1, or null.")
        if not all(math.isfinite(amount) for amount in (self.penalty or {}).values()):
            raise MdmkitError(
                f"draw.penalty={self.penalty}: every amount must be finite; draw.suppress forbids a token."
            )
        if not math.isfinite(self.end_penalty):
            raise MdmkitError(f"draw.end_penalty={self.end_penalty}: it must be a finite number; 0 is off.")
        if not 0 < self.repetition_penalty < math.inf:
            raise MdmkitError(
                f"draw.repetition_penalty={self.repetition_penalty}: it must be a number above 0; 1 is off."
            )

    @property
    def greedy(self) -> bool:
        """Whether the most probable token is taken from beginning to end."""
        return self.temperature == 0 and not self.temperature_end


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance: how far the logits move from what the model says without the prompt (arXiv:2207.12598).

    Args:
        scale: logits become u + scale · (c − u), with c the ordinary ones and u those with every given token masked.
            1 is off; any other scale runs both, two row-forwards per state. A reference's `cfg_scale` s is scale s + 1.
        ramp: begin at 1 and grow in proportion to the share of the row that a state has filled; `scale` is where that
            ends (as in Halton-MaskGIT's code, arXiv:2503.17076, by steps there).
    """

    scale: float = 1.0
    ramp: bool = False

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale):
            raise MdmkitError(f"guidance.scale={self.scale}: it must be a finite number; 1 is off.")
