"""Choose the likeliest of several completions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mdmkit.decoding.prompts import PromptLike
from mdmkit.errors import MdmkitError, unknown
from mdmkit.likelihood.divided import Completion
from mdmkit.likelihood.scoring import Likelihood, score

if TYPE_CHECKING:
    from mdmkit.model.backbone import Backbone

Per = Literal["text", "token", "byte"]
PER = ("text", "token", "byte")


@dataclass(frozen=True)
class Choice:
    """The likeliest of several options.

    Attributes:
        index: its place among the options.
        option: the option itself.
        values: what was compared, one number for each option, nats (per token or byte, if asked).
        likelihoods: of each option.
        lead: how far its value is above that of the next best, and the standard error of this; an only option leads by
            infinity.
    """

    index: int
    option: Completion
    values: list[float]
    likelihoods: list[Likelihood]
    lead: tuple[float, float]

    @property
    def ranking(self) -> list[int]:
        """The places of the options, the likeliest first."""
        return sorted(range(len(self.values)), key=lambda i: -self.values[i])


def choose(
    backbone: Backbone, prompt: PromptLike, options: Sequence[Completion], *, per: Per = "text", **how: Any
) -> Choice:
    """Choose the completion of a prompt that a model finds the likeliest, without writing a token.

    Args:
        prompt, options: as the prompt and the completions of `score`.
        per: `text`: the log-likelihoods are compared as they are. `token`, `byte`: divided by the number of tokens, or
            of bytes of the text, so that long options are not at a disadvantage.
        how: options of `score`: `estimator`, `samples`, `order`, `batch`, `seed`.

    Raises:
        MdmkitError: as `score`; or `byte` is asked of token ids.
    """
    if per not in PER:
        raise MdmkitError(unknown("per", per, PER))
    if per == "byte" and not all(isinstance(each, str) for each in options):
        raise MdmkitError("per='byte' is for texts, and an option is token ids: take 'token' or 'text'.")
    found = score(backbone, prompt, options, **how)
    sizes = [_size(option, one, per) for option, one in zip(options, found, strict=True)]
    values = [one.value / size for one, size in zip(found, sizes, strict=True)]
    best, *others = sorted(range(len(values)), key=lambda i: -values[i])
    lead = math.inf, 0.0
    if others:
        both = (found[i].error / sizes[i] for i in (best, others[0]))
        lead = values[best] - values[others[0]], math.hypot(*both)
    return Choice(best, options[best], values, found, lead)


def _size(option: Completion, found: Likelihood, per: Per) -> int:
    if per == "byte" and isinstance(option, str):
        return len(option.encode())
    return len(found.ids) if per == "token" else 1
