"""Run a model's code so that whatever goes wrong in it is an error that names the backbone and the method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mdmkit.errors import FAILURES, MdmkitError, told
from mdmkit.loop.guard import got
from mdmkit.model.backbone import Output

if TYPE_CHECKING:
    from mdmkit.model.backbone import Backbone


class Asking:
    """Turn an exception in a backbone's code into one that names the backbone and its method.

    with Asking(backbone, "forward"):
        out = backbone.forward(…)
    """

    def __init__(self, backbone: Backbone, method: str):
        self.backbone, self.method = backbone, method

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if not isinstance(error, FAILURES) or isinstance(error, MdmkitError | torch.OutOfMemoryError):
            return
        raise MdmkitError(
            f"backbone {type(self.backbone).__name__!r} failed in {self.method}: {told(error)}. See its own code, or "
            "run with --debug."
        ) from error


def project(backbone: Backbone, hidden: Tensor) -> Tensor:
    """Apply the head to hidden states [m, S, D]: logits [m, S, V], which may be changed in place.

    Raises:
        MdmkitError: the head fails, or returns another shape.
    """
    # On a CPU a head is up to four times slower on a slice of hidden states than on a copy of it.
    hidden = hidden.contiguous()
    with Asking(backbone, "project"):
        logits = backbone.project(hidden)
    wanted = (*hidden.shape[:-1], backbone.vocab)
    if not isinstance(logits, Tensor) or logits.shape != wanted:
        raise MdmkitError(
            f"backbone {type(backbone).__name__!r} returned {got(logits)} from project; it must return logits "
            f"{list(wanted)}, one for each of its vocab={backbone.vocab} tokens."
        )
    # A model whose head does nothing returns the hidden states themselves.
    return logits.clone() if logits.untyped_storage() is hidden.untyped_storage() else logits


def checked(backbone: Backbone, out: Any, given: Tensor, more: dict[str, Any]) -> dict[str, Tensor]:
    """Check the result of `forward` for tokens `given` [M, L], and the keywords `more`; return its extras.

    Raises:
        MdmkitError: it is no `Output`, has another shape, or lacks an extra, or has one that the model does not offer.
    """
    name = f"backbone {type(backbone).__name__!r}"
    if not isinstance(out, Output):
        raise MdmkitError(
            f"{name} returned {type(out).__name__} from forward, as in the first edition: it must return "
            "mdmkit.Output(hidden), or Output(hidden, extra={…}) with more. Its `valid` is [M, L] now, that of the "
            "columns it is given, and rows are padded on the right."
        )
    m, length = given.shape
    if not isinstance(out.hidden, Tensor) or out.hidden.dim() != 3 or out.hidden.shape[:2] != given.shape:
        raise MdmkitError(
            f"{name} returned hidden states {got(out.hidden)} from forward; they must be [{m}, {length}, D], one for "
            "each column that it was given."
        )
    if not out.extra and not ({"shadow", "extras"} & more.keys()):
        return {}
    extra = dict(out.extra or {})
    _check_names(backbone, name, extra, more)
    for each in extra.keys() - {"shadow"}:
        _check_axes(backbone, name, each, extra[each], given)
    return extra


def _check_names(backbone: Backbone, name: str, extra: dict[str, Tensor], more: dict[str, Any]) -> None:
    if "shadow" in more and "shadow" not in extra:
        raise MdmkitError(
            f"{name} says that it forwards shadow columns (`shadows = True`), and forward returned no "
            'extra["shadow"]: their hidden states, [M, E, D].'
        )
    if strange := sorted(extra.keys() - backbone.offers.keys() - {"shadow"}):
        raise MdmkitError(
            f"{name} returned the extra {strange[0]!r}, which its `offers` do not name "
            f"({', '.join(sorted(backbone.offers)) or 'none'}). Add it there, with its kind: row, column or key."
        )
    if absent := [each for each in more.get("extras", ()) if each not in extra]:
        raise MdmkitError(f"{name} offers {absent[0]!r}, and forward, which was asked for it, did not return it.")


def _check_axes(backbone: Backbone, name: str, each: str, x: Any, given: Tensor) -> None:
    kind = backbone.offers[each]
    shape = given.shape[:1] if kind == "row" else given.shape
    least = len(shape) + (kind == "key")
    if not isinstance(x, Tensor) or x.shape[: len(shape)] != shape or x.dim() < least:
        raise MdmkitError(
            f"{name} returned the extra {each!r} as {got(x)}; an extra of the kind {kind} begins with {list(shape)}"
            f"{', and its last axis is columns' if kind == 'key' else ''}."
        )
