"""What a backbone must offer to be decoded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from mdmkit.errors import MdmkitError

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.model.cache import View
    from mdmkit.model.files import Files
    from mdmkit.settings.plan import Plan


@dataclass(frozen=True)
class Output:
    """What `forward` returns.

    Attributes:
        hidden: [M, L, D].
        extra: what else the model gives, by the names of `Backbone.offers`.
    """

    hidden: Tensor
    extra: Mapping[str, Tensor] | None = None


class Backbone(ABC):
    """A model that says, for every position of a partly masked sequence, which tokens fit.

    Attributes:
        mask_id: the id of the mask; None for a model without one, which has a `blank` of its own.
        vocab: V, the number of logits.
        forbidden: ids that may never be chosen (padding, specials, rows the model never uses); the mask id always is.
        pad_id: what stands in the padding.
        attention: `"full"`, or `"block"` for block-causal models.
        caches: names of the caches it supports.
        cache: the one that `auto` stands for, which must be exact.
        pads: whether rows of different lengths may share a forward; if not, the model runs once per length.
        offers: extras of `forward` that stages may read, by name: `column` for [M, L, …], which is cut to the window,
            `row` for [M, …].
        shadows: whether `forward` takes `shadow`, a `Shadow`: extra columns that the row's own do not see.
        feeds_back: whether `forward` takes `previous`, the extras of the state that a state came from.
        lead: columns to the left of a window that its logits hang on: 1 for a model with shifted logits.
        ends: ids that end a generated row; one of them stands in the columns that are then never decoded.
        endings: `ends`, and padding: what `draw.end_penalty` makes less likely.
        length: masks appended to a prompt that holds none, where neither prompt nor plan says; None: no default.
        guided: whether `encode`'s conditioning has 2·B rows: those of the canvas, then as many without a prompt, which
            guidance asks `select` for with rows B to 2·B − 1. Each half is then joined and selected by itself. False:
            the branch without a prompt is the same row with every given token masked.
        files: how decoded rows become files, for models whose rows are no texts; None: they are texts.
        samples: prompts to show the model with.
        weights: number of parameters, 0 where unknown.
        device: where it computes.
    """

    mask_id: int | None
    vocab: int
    forbidden: Sequence[int] = ()
    pad_id: int = 0
    attention: str = "full"
    caches: frozenset[str] = frozenset({"none"})
    cache: str = "none"
    lead: int = 0
    pads: bool = True
    offers: Mapping[str, Literal["row", "column"]] = {}
    shadows: bool = False
    feeds_back: bool = False
    ends: Sequence[int] = ()
    endings: Sequence[int] = ()
    length: int | None = None
    guided: bool = False
    files: Files | None = None
    samples: Sequence[str] = ()
    weights: int = 0
    device: torch.device = torch.device("cpu")

    @classmethod
    def accepts(cls, ref: str) -> bool:
        """Say, without loading, whether a reference names one of this backbone's models."""
        return False

    @classmethod
    @abstractmethod
    def load(cls, ref: str, *, device: str, dtype: str, **options: Any) -> Backbone:
        """Load a model: a directory, a hub id, or a name of the backbone's own; dtype may be `"auto"`."""

    @classmethod
    def wraps(cls, model: Any) -> bool:
        """Say whether `wrap` can make a backbone of an object that somebody else loaded."""
        return False

    @classmethod
    def wrap(cls, model: Any, tokenizer: Any = None, **options: Any) -> Backbone:
        """Make a backbone of a loaded model; called only where `wraps` says so."""
        raise MdmkitError(f"backbone {cls.__name__!r} wraps no models that are loaded already.")

    @abstractmethod
    def encode(self, prompts: Sequence[Prompt], plan: Plan) -> tuple[Canvas, Any]:
        """Turn prompts into a canvas (see `mdmkit.lay_out`) and whatever `forward` needs beside it, or None."""

    @abstractmethod
    def forward(
        self,
        tokens: Tensor,
        valid: Tensor,
        conditioning: Any,
        *,
        positions: Tensor,
        cache: View | None = None,
        **more: Any,
    ) -> Output:
        """Compute hidden states [M, L, D] of M rows: tokens and positions int64 [M, L], valid bool [M, L].

        L is a whole row; fewer columns only where `cache`, a `View`, stands for the others. `conditioning` is that of
        these M rows (see `select`). What is not valid may not influence a row.

        `more` is empty, but for a model that `offers` extras, which gets `extras=` with the names that are read, and
        for one that `feeds_back`, which gets `previous=`: extras by name, or None at a state that came from none. One
        with `shadows` may get `shadow=`, and then returns the hidden states of those columns as `extra["shadow"]`,
        [M, E, D].
        """

    @abstractmethod
    def project(self, hidden: Tensor) -> Tensor:
        """The head: hidden [..., D] to logits [..., V], aligned with positions: `forward` undoes a model's shift."""

    @abstractmethod
    def decode(self, canvas: Canvas) -> list[Any]:
        """Turn filled rows into what the user sees: the generated text, or for an infill the whole filled text."""

    def select(self, conditioning: Any, rows: Tensor) -> Any:
        """Reduce `conditioning` to canvas rows, int64 [M]; of a `guided` backbone rows from B on have no prompt."""
        return conditioning

    def join(self, parts: Sequence[Any]) -> Any:
        """Put the conditionings of several rows below one another, in their order: the opposite of `select`.

        The default joins tensors of one trailing shape, also inside tuples, lists and mappings; None stays None.

        Raises:
            MdmkitError: the parts are of another kind: the backbone needs a `join` of its own.
        """
        return _joined(parts, type(self).__name__)

    def blank(self, canvas: Canvas, noise: Callable[[str], Tensor]) -> Tensor | None:
        """What an open place looks like to the model: int64 [M, T]; None: like the mask.

        `noise(stream)` draws uniforms in (0, 1), float64 [M, T], of the row, its step and the position: the same for
        every alternative of a step.
        """
        return None

    def render(self, token: int) -> str:
        """Show one token to a person, in the live view and in traces."""
        return str(token)


def _joined(parts: Sequence[Any], owner: str) -> Any:
    first = parts[0]
    if len(parts) == 1 or all(part is None for part in parts):
        return first
    alike = all(type(part) is type(first) for part in parts)
    if alike and isinstance(first, Tensor) and all(part.shape[1:] == first.shape[1:] for part in parts):
        return torch.cat(list(parts))
    if alike and isinstance(first, tuple | list) and all(len(part) == len(first) for part in parts):
        return type(first)(_joined(each, owner) for each in zip(*parts, strict=True))
    if alike and isinstance(first, dict) and all(part.keys() == first.keys() for part in parts):
        return {key: _joined([part[key] for part in parts], owner) for key in first}
    raise MdmkitError(
        f"backbone {owner!r}: the conditionings of two prompts cannot be joined, since they are not tensors of one "
        "trailing shape. Its class needs a method join(parts)."
    )


def unwrapped(model: Any) -> Any:
    """Give the backbone inside what `mdmkit.wrap` returned; anything else is given back as it is."""
    inner = getattr(model, "backbone", None)
    return inner if isinstance(inner, Backbone) else model


def require_cache(backbone: Backbone, name: str) -> None:
    if name not in backbone.caches:
        raise MdmkitError(
            f"cache={name}, but backbone {type(backbone).__name__!r} offers for this model: "
            f"{', '.join(sorted(backbone.caches))} (auto is {backbone.cache})."
        )
