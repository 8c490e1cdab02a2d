"""How tokens are drawn, and how far guidance goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mdmkit.errors import MdmkitError
from mdmkit.settings.numbers import is_finite, is_whole, own_fields


@dataclass(frozen=True)
class Draw:
    """How tokens are drawn from the belief.

    Args:
        temperature: 0 takes the most probable token.
        temperature_end: the temperature goes from `temperature` to this value, in proportion to the share of the row's
            masks that are filled (as in DiffusionGemma, from 0.8 to 0.4, and, by steps, in Halton-MaskGIT,
            arXiv:2503.17076); null keeps it constant.
        top_p: keep the smallest set of tokens with this probability mass; null keeps all.
        top_k: keep this many tokens; null keeps all.
        suppress: token ids that are never chosen.
        penalty: token id -> amount that is subtracted from its logit, in current and next states.
        end_penalty: the same for every end and padding token of the model, because pretraining makes them too likely
            (arXiv:2602.18176 uses 4).
        repetition_penalty: for tokens that the row already holds: a positive logit is divided by it, a negative one
            multiplied (arXiv:1909.05858); 1 is off.
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
        own_fields(self)
        if not (is_finite(self.temperature) and self.temperature >= 0):
            raise MdmkitError(f"draw.temperature={self.temperature!r}: it must be a number from 0 up; 0 is greedy.")
        if self.temperature_end is not None and not (is_finite(self.temperature_end) and self.temperature_end >= 0):
            raise MdmkitError(
                f"draw.temperature_end={self.temperature_end!r}: it must be a number from 0 up, or null for a "
                "temperature that stays as it is."
            )
        if self.top_p is not None and not (is_finite(self.top_p) and 0 < self.top_p <= 1):
            raise MdmkitError(f"draw.top_p={self.top_p!r}: it must be a number above 0 and at most 1, or null.")
        if self.top_k is not None and not (is_whole(self.top_k) and self.top_k >= 1):
            raise MdmkitError(f"draw.top_k={self.top_k!r}: it must be a whole number, at least 1, or null.")
        if not is_finite(self.end_penalty):
            raise MdmkitError(f"draw.end_penalty={self.end_penalty!r}: it must be a finite number; 0 is off.")
        if not (is_finite(self.repetition_penalty) and self.repetition_penalty > 0):
            raise MdmkitError(
                f"draw.repetition_penalty={self.repetition_penalty!r}: it must be a number above 0; 1 is off."
            )
        self._check_ids()

    def _check_ids(self) -> None:
        if not isinstance(self.suppress, tuple | list | set | frozenset) or not all(map(is_whole, self.suppress)):
            raise MdmkitError(
                f"draw.suppress={self.suppress!r}: it must be a list of token ids, which are whole numbers."
            )
        if self.penalty is None:
            return
        if not isinstance(self.penalty, Mapping) or not all(map(is_whole, self.penalty)):
            raise MdmkitError(f"draw.penalty={self.penalty!r}: it must map token ids to amounts, as in {{5: 1.0}}.")
        if not all(map(is_finite, self.penalty.values())):
            raise MdmkitError(
                f"draw.penalty={self.penalty}: every amount must be a finite number; draw.suppress forbids a token."
            )

    @property
    def greedy(self) -> bool:
        """True if the most probable token is always taken."""
        return self.temperature == 0 and not self.temperature_end


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance: how far logits are moved away from the logits without the prompt (arXiv:2207.12598).

    Args:
        scale: logits become u + scale · (c − u). c are the ordinary logits; u are those with every prompt token masked.
            1 is off; any other scale costs two row-forwards per state. A `cfg_scale` of s in a reference is s + 1 here.
        ramp: True: the scale grows from 1 to `scale`, in proportion to the share of the row that is filled (in
            Halton-MaskGIT's code, arXiv:2503.17076, by steps).
    """

    scale: float = 1.0
    ramp: bool = False

    def __post_init__(self) -> None:
        own_fields(self)
        if not is_finite(self.scale):
            raise MdmkitError(f"guidance.scale={self.scale!r}: it must be a finite number; 1 is off.")
        if not isinstance(self.ramp, bool):
            raise MdmkitError(f"guidance.ramp={self.ramp!r}: it must be true or false.")
