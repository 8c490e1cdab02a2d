"""The backbone: a model with the methods that the loop needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from mdmkit.errors import MdmkitError
from mdmkit.model.store import Store

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.model.cache import View
    from mdmkit.model.files import Files
    from mdmkit.model.finding import Finding
    from mdmkit.settings.plan import Plan


@dataclass(frozen=True)
class Output:
    """The result of `forward`.

    Attributes:
        hidden: hidden states [M, L, D].
        extra: extras of the model, by the names of `Backbone.offers`.
    """

    hidden: Tensor
    extra: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class Source:
    """What a model was loaded from: the arguments of `mdmkit.load`, with which another process loads the same model.

    Attributes:
        origin: distribution and version of the plugin that loaded it.
    """

    ref: str
    device: str
    dtype: str
    options: Mapping[str, Any]
    origin: str = ""


class Backbone(ABC):
    """A model that predicts, for every position of a partly masked sequence, which token stands there.

    Attributes:
        mask_id: the id of the mask; None for a model without a mask, which must define `blank`.
        vocab: V, the number of logits.
        forbidden: ids that are never chosen (padding, special tokens, unused rows). The mask is never chosen either.
        pad_id: the token of padding.
        attention: `"full"`, or `"block"` for attention by blocks.
        caches: names of the caches that the model supports.
        cache: the cache that `auto` chooses; it must be exact.
        pads: True if rows of different lengths may share a forward. If False, the model runs once per length.
        packs: True if `forward` computes only the columns that are valid. Then all rows of a step share a forward,
            whatever their lengths, and padding does not count as computed.
        offers: extras of `forward` that stages may read, by name: `row` for [M, …]; `column` for [M, L, …], which is
            cut to the window; `key` for [M, L, …, K], such as attention: its last axis is the row's columns from 0 on.
        shadows: True if `forward` takes `shadow`, a `Shadow`: extra columns that the row's own columns do not see.
        asks_plain: True if `forward` takes `plain`, a bool: True if every column of the call is valid.
        feeds_back: True if `forward` takes `previous`: the extras of the state that each state was made from.
        lead: how many columns to the left of a window its logits need: 1 for a model with shifted logits.
        drops_space: True if `decode` leaves out a space at the start of a generated text. See `texts`.
        ends: ids that end a generated row. If a row ends early, its open positions are filled with the first of them.
        endings: `ends` and padding: the ids that `draw.end_penalty` makes less likely.
        length: how many masks are appended to a prompt without masks, if neither prompt nor plan sets a length; None:
            no default.
        guided: True if the conditioning of `encode` has 2·B rows: first the B rows, then the same rows without prompt.
            Each half is selected and joined separately. False: the branch without prompt is the row with every prompt
            token masked.
        inputs: names that `encode` reads in `Prompt.inputs`, such as `image`. A file of prompts that has one outside of
            `inputs` is refused.
        files: writes decoded rows to files, for models whose rows are not texts; None: rows are texts.
        samples: example prompts.
        weights: number of parameters, 0 if unknown.
        device: the device of the model.
        source: the reference and options that the model was loaded with; None if `mdmkit.load` did not load it.
        loaded_from: the files and folders that the model was read from. The record of a run says what they hold, so
            that no other run continues it with other weights. Empty: `mdmkit.load` sets the reference, if it is a path.
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
    packs: bool = False
    offers: Mapping[str, Literal["row", "column", "key"]] = {}
    shadows: bool = False
    asks_plain: bool = False
    feeds_back: bool = False
    drops_space: bool = False
    ends: Sequence[int] = ()
    endings: Sequence[int] = ()
    length: int | None = None
    guided: bool = False
    inputs: Sequence[str] = ()
    files: Files | None = None
    samples: Sequence[str] = ()
    weights: int = 0
    device: torch.device = torch.device("cpu")
    source: Source | None = None
    loaded_from: Sequence[Path] = ()

    @classmethod
    def accepts(cls, ref: str) -> bool:
        """Return True if a reference names one of this backbone's models. Must not load anything."""
        return False

    @classmethod
    @abstractmethod
    def load(cls, ref: str, *, device: str, dtype: str, **options: Any) -> Backbone:
        """Load a model: a directory, a hub id, or another name that the backbone knows; dtype may be `"auto"`."""

    @classmethod
    def wraps(cls, model: Any) -> bool:
        """Return True if `wrap` can make a backbone of a model that is loaded already."""
        return False

    @classmethod
    def wrap(cls, model: Any, tokenizer: Any = None, **options: Any) -> Backbone:
        """Make a backbone of a loaded model; called only if `wraps` returned True."""
        raise MdmkitError(f"backbone {cls.__name__!r} wraps no models that are loaded already.")

    @abstractmethod
    def encode(self, prompts: Sequence[Prompt], plan: Plan) -> tuple[Canvas, Any]:
        """Turn prompts into a canvas (see `mdmkit.lay_out`) and the conditioning for `forward`, or None."""

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
        """Compute hidden states [M, L, D] of M states: tokens and positions int64 [M, L], valid bool [M, L].

        L is a whole row, or fewer columns if `cache`, a `View`, holds the others. `conditioning` is that of these M
        states (see `select`). Columns that are not valid must not influence a row.

        `more` has `extras=`, the names of the extras that are read, if the sampler reads any; and `previous=` for a
        model with `feeds_back`: by name the extras of the state before, at the columns of this forward; 0 where nothing
        was said yet. None means 0 everywhere. A model with `shadows` may get `shadow=`: it then returns the hidden
        states of those columns as `extra["shadow"]`, [M, E, D]. A model with `asks_plain` gets `plain=`.
        Otherwise `more` is empty.
        """

    @abstractmethod
    def project(self, hidden: Tensor) -> Tensor:
        """Apply the head: hidden [..., D] to logits [..., V], aligned with positions (`forward` undoes any shift).

        The result is a new tensor, which the loop may change in place, or `hidden` itself.
        """

    @abstractmethod
    def decode(self, canvas: Canvas) -> list[Any]:
        """Turn filled rows into results: the generated text of each, or for an infill the whole filled text."""

    def select(self, conditioning: Any, rows: Tensor) -> Any:
        """Select rows int64 [M] of a conditioning; for a `guided` backbone rows from B on have no prompt."""
        return conditioning

    def join(self, parts: Sequence[Any]) -> Any:
        """Join the conditionings of several rows, in their order: the opposite of `select`.

        The default joins tensors with equal trailing shapes, also inside tuples, lists and mappings; None stays None.

        Raises:
            MdmkitError: the parts cannot be joined in this way; the backbone must define `join`.
        """
        return _joined(parts, type(self).__name__)

    def blank(self, canvas: Canvas, noise: Callable[[str], Tensor]) -> Tensor | None:
        """Return what open positions look like to the model: int64 [M, T]; None: the mask.

        `noise(stream)` draws uniform numbers in (0, 1), float64 [M, T]. They depend on row, tick and position, and are
        the same for all alternatives of a step.
        """
        return None

    def render(self, token: int) -> str:
        """Return one token as a person reads it, for the live view and traces."""
        return str(token)

    def texts(self) -> Sequence[bytes | None]:
        """Return what each token adds to a text, as UTF-8 bytes [V]; None for a token without text, such as the mask.

        What the tokens of a generated text add, one behind another, is the text that `decode` returns, but for a space
        at its start if the model `drops_space`. A token may hold a part of a character. The default, an empty sequence,
        means that the texts are not known, as of a model whose rows are images.
        """
        return ()

    def new_store(self) -> Store:
        """Return an empty store of frozen columns, for the rows of one run."""
        return Store()

    def release(self) -> None:  # noqa: B027  (most models keep nothing)
        """Give memory back that only saves time, such as recorded forwards; called when memory was too small."""

    def inspect(self) -> Sequence[Finding]:
        """Return what the backbone read in its checkpoint, and what it did not, for `mdmkit check`."""
        return ()


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
    """Return the backbone inside a result of `mdmkit.wrap`; return anything else unchanged."""
    inner = getattr(model, "backbone", None)
    return inner if isinstance(inner, Backbone) else model


def require_cache(backbone: Backbone, name: str) -> None:
    if name not in backbone.caches:
        raise MdmkitError(
            f"cache={name}, but backbone {type(backbone).__name__!r} offers for this model: "
            f"{', '.join(sorted(backbone.caches))} (auto is {backbone.cache})."
        )
