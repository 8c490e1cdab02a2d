"""What `mdmkit check REF` tries with a model: a forward, the same with padding and in a batch, and a decode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mdmkit.errors import MdmkitError
from mdmkit.model.finding import Finding

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit.canvas.canvas import Canvas
    from mdmkit.model.backbone import Backbone

_LENGTH = 8
_PADDING = 2


def length(backbone: Backbone) -> int | None:
    """How many masks a check appends; None, if the model has a length of its own, as every model of images has."""
    return None if backbone.length or backbone.files is not None else _LENGTH


def sample(backbone: Backbone) -> tuple[Canvas, Any]:
    """Encode one of the model's samples; a model without samples gets eight masks, or draws an image of "1"."""
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.settings.plan import Plan

    if backbone.samples:
        prompt = Prompt(text=backbone.samples[0])
    else:
        prompt = Prompt(text="1") if backbone.files is not None else Prompt(ids=(), length=_LENGTH)
    return backbone.encode([prompt], Plan(length=length(backbone)))


def compare(backbone: Backbone) -> list[Finding]:
    """Check that logits are numbers, and that they do not depend on padding or on the rows beside.

    A model that has no mask, or that gets its prompts beside the canvas in two halves, is only decoded.
    """
    import torch

    if backbone.mask_id is None or backbone.guided:
        return [Finding("forward", "skip", "this kind of model is only decoded")]
    canvas, conditioning = sample(backbone)
    device = backbone.device
    filled = torch.arange(canvas.tokens.shape[1])[None] % 2 == 1
    row, valid = canvas.tokens.to(device), canvas.valid.to(device)
    # The second row is the first one with other tokens at every second position.
    other = torch.where(filled.to(device) & canvas.open.to(device), _ordinary(backbone), row)

    def logits(tokens: Tensor, live: Tensor) -> Tensor:
        positions = torch.arange(tokens.shape[1], device=device).expand_as(tokens)
        rows = torch.zeros(len(tokens), dtype=torch.long, device=device)
        given = None if conditioning is None else backbone.select(conditioning, rows)
        return backbone.project(backbone.forward(tokens, live, given, positions=positions).hidden)

    with torch.inference_mode():
        alone = logits(row, valid)
        found = [_finite(alone)]
        if found[0].verdict == "FAIL":
            return found
        both = torch.cat((row, other)), valid.expand(2, -1)
        found.append(_same("rows: order", logits(both[0].flip(0), both[1])[1:], alone))
        found.append(_same("rows: batch", logits(*both)[:1], alone))
        if backbone.pads and backbone.files is None:
            padded = torch.nn.functional.pad(row, (0, _PADDING), value=backbone.pad_id)
            live = torch.nn.functional.pad(valid, (0, _PADDING), value=False)
            found.append(_same("rows: padding", logits(padded, live)[:, : row.shape[1]], alone))
        else:
            found.append(Finding("rows: padding", "skip", "rows of different lengths run one by one"))
    return found


def _ordinary(backbone: Backbone) -> int:
    never = {backbone.mask_id, *backbone.forbidden}
    return next((token for token in range(backbone.vocab) if token not in never), 0)


def _finite(logits: Tensor) -> Finding:
    bad = logits.isnan().any() or logits.isposinf().any() or not logits.isfinite().any(-1).all()
    size = f"logits {list(logits.shape)}, the largest {float(logits.max()):.4g}"
    return Finding("forward", "FAIL" if bad else "ok", f"{size}: not numbers" if bad else size)


def _same(subject: str, got: Tensor, alone: Tensor) -> Finding:
    """Compare with the row alone. Half precision rounds at 1e-3 per layer, and its kernels differ with the shape."""
    finite = alone.isfinite() & got.isfinite()
    difference = float((got - alone).masked_fill(~finite, 0).abs().max())
    bound = (1e-3 if alone.element_size() >= 4 else 3e-2) * (1 + float(alone[finite].abs().max()))
    detail = f"logits differ from those of the row alone by {difference:.2g}"
    return Finding(
        subject, "ok" if difference <= bound and bool((alone.isfinite() == finite).all()) else "FAIL", detail
    )


def decode_sample(backbone: Backbone, sampler: Any) -> Finding:
    """Decode a sample with a minimal sampler.

    Raises:
        MdmkitError: a mask is left at the end.
    """
    from mdmkit.loop.whole import fill_canvas

    canvas, conditioning = sample(backbone)
    filled, trace = fill_canvas(sampler, backbone, canvas, conditioning)
    left, count = int(filled.open.sum()), int(canvas.open.sum())
    if left:
        raise MdmkitError(f"{left} masks are left after decoding.")
    forwards = int(trace.rows.sum())
    text = "" if backbone.files is not None else f": {backbone.decode(filled)[0]!r}"
    return Finding("decode", "ok", f"{count} masks filled in {forwards} forwards by {sampler.name}{text}")
