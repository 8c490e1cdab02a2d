"""Log-likelihoods of given completions, with standard errors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch

from mdmkit.decoding.prompts import PromptLike
from mdmkit.errors import MdmkitError, shown, unknown
from mdmkit.likelihood import maskings
from mdmkit.likelihood.divided import Completion, Divided, divide
from mdmkit.likelihood.forwards import Forwards, Part
from mdmkit.model.backbone import unwrapped
from mdmkit.settings.numbers import is_whole

if TYPE_CHECKING:
    from mdmkit.model.backbone import Backbone

Estimator = Literal["bound", "left_to_right", "path"]
ESTIMATORS = ("bound", "left_to_right", "path")
# 97.5 % quantiles of Student's t, by degrees of freedom from 1 on.
T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365)


@dataclass(frozen=True)
class Likelihood:
    """How likely a completion is.

    Attributes:
        value: the logarithm of its probability, or of a bound from below, nats.
        error: the standard error of `value`, nats: 0 if nothing was drawn at random, infinity if too little was.
        replicates: independent estimates from which the error is known; 1 if nothing was drawn.
        prompt_ids, ids: the tokens of the prompt and of the completion.
        estimator: `bound`, `left_to_right` or `path`.
    """

    value: float
    error: float
    replicates: int
    prompt_ids: list[int] = field(repr=False)
    ids: list[int] = field(repr=False)
    estimator: str

    @property
    def interval(self) -> tuple[float, float]:
        """The interval that holds the true value in 95 % of all cases, nats (Student's t)."""
        wide = self.error * T[self.replicates - 2] if self.replicates > 1 else self.error
        return self.value - wide, self.value + wide


@torch.inference_mode()
def score(
    backbone: Backbone,
    prompt: PromptLike,
    completions: Sequence[Completion],
    *,
    estimator: Estimator = "bound",
    samples: int = 128,
    order: Sequence[Sequence[int]] | None = None,
    batch: int = 16,
    seed: int = 0,
) -> list[Likelihood]:
    """Return how likely a model finds each of several completions of a prompt.

    A model that attends by blocks is a chain over its blocks, so its likelihood is the sum of those of the blocks, each
    given the blocks before it.

    Args:
        prompt: a text, a conversation, or token ids, as for `decode`.
        completions: texts; token ids, if the prompt is token ids.
        estimator: `bound`: the mean over maskings, a bound from below (arXiv:2406.04329; arXiv:2502.09992, eq. 6), by
            all maskings of a text of few tokens, else by drawn ones. `left_to_right`: the probability with which the
            model writes the tokens one by one in this order; n forwards for n tokens. `path`: the same in the order of
            a row that was decoded before.
        samples: maskings for each completion (for each of its blocks, if the model has blocks), 2 or more.
        order: for `path`: for each completion, and each of its tokens, the step that wrote it, as `Row.order`.
        batch: states of a forward.
        seed: the same seed gives the same numbers. A completion's number does not depend on the other ones.

    Raises:
        MdmkitError: an option is wrong, the model has no mask, or it cannot read the prompt or a completion.
    """
    backbone = unwrapped(backbone)
    _check(backbone, completions, estimator, samples, batch, seed)
    texts = [divide(backbone, prompt, each) for each in completions]
    orders = _orders(texts, order, estimator)
    out = {}
    for size in sorted({len(text.ids) for text in texts}):
        group = [i for i, text in enumerate(texts) if len(text.ids) == size]
        forwards = Forwards(backbone, [texts[i] for i in group], batch)
        parts = [
            _parts(place, texts[i], forwards.block, orders[i], estimator, samples, seed)
            for place, i in enumerate(group)
        ]
        sums = iter(forwards.sums([part for own in parts for part in own]))
        for i, own in zip(group, parts, strict=True):
            out[i] = _likelihood(texts[i], [(part.maskings.drawn, next(sums)) for part in own], estimator)
    return [out[i] for i in range(len(texts))]


def _check(
    backbone: Backbone, completions: Sequence[Completion], estimator: str, samples: int, batch: int, seed: int
) -> None:
    if estimator not in ESTIMATORS:
        raise MdmkitError(unknown("estimator", estimator, ESTIMATORS))
    if isinstance(completions, str) or not len(completions):
        raise MdmkitError(f"completions is a list of texts, not {shown(completions)}: name at least one, in [ ].")
    for name, value, least in (("samples", samples, 2), ("batch", batch, 1)):
        if not is_whole(value) or value < least:
            raise MdmkitError(f"{name}={value!r}: it is a whole number from {least} on.")
    if not is_whole(seed):
        raise MdmkitError(f"seed={seed!r}: it is a whole number.")
    if backbone.mask_id is None:
        raise MdmkitError(
            f"{type(backbone).__name__} has no mask, and this likelihood is that of masked tokens: use a model that "
            "has a mask."
        )


def _orders(
    texts: Sequence[Divided], order: Sequence[Sequence[int]] | None, estimator: str
) -> Sequence[Sequence[int] | None]:
    if estimator != "path":
        if order is not None:
            raise MdmkitError("order is for the estimator 'path': give both, or none.")
        return [None] * len(texts)
    if order is None or [len(each) for each in order] != [text.end - text.start for text in texts]:
        counts = ", ".join(str(text.end - text.start) for text in texts)
        raise MdmkitError(
            "the estimator 'path' needs order: for each completion one number for each of its tokens, the step that "
            f"wrote it, as Row.order has them. The completions have {counts} tokens."
        )
    return order


def _parts(
    place: int, text: Divided, block: int | None, order: Sequence[int] | None, kind: str, samples: int, seed: int
) -> list[Part]:
    """A text cut at the ends of the model's blocks, which count from its first token, with the maskings of each."""
    cuts = [text.start, *(c for c in range(0, text.end, block or text.end) if text.start < c), text.end]
    generator = torch.Generator().manual_seed(seed)
    out = []
    for start, stop in itertools.pairwise(cuts):
        if kind == "bound":
            own = maskings.bound(stop - start, samples, generator)
        elif order is None:
            own = maskings.by_order(range(stop - start))
        else:
            own = maskings.by_order(order[start - text.start : stop - text.start])
        out.append(Part(place, start, stop, own))
    return out


def _likelihood(text: Divided, sums: Sequence[tuple[bool, torch.Tensor]], estimator: str) -> Likelihood:
    value = sum(float(each.mean()) for _, each in sums)
    random = [each for drawn, each in sums if drawn]
    replicates, error = 1, 0.0
    if random:
        replicates = len(random[0])
        # Blocks are drawn independently, so one estimate of each is together one of their sum.
        spread = float(torch.stack(random).sum(0).std()) if replicates > 1 else math.inf
        error = spread / math.sqrt(replicates)
    return Likelihood(
        value=value,
        error=error,
        replicates=replicates,
        prompt_ids=list(text.ids[: text.start]),
        ids=list(text.ids[text.start : text.end]),
        estimator=estimator,
    )
