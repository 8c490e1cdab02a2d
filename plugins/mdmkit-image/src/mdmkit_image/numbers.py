"""Look for weights that are no numbers, for `mdmkit check`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from mdmkit import Finding

_LISTED = 3


def named(part: str, module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a part of a model, parameters and what is stored beside them, under the part's name."""
    return {f"{part}.{name}": tensor for name, tensor in module.state_dict().items()}


def inspect_numbers(tensors: Mapping[str, Tensor]) -> Finding:
    """Look for infinity and NaN. A decode need not show them: not every weight is used for every image."""
    odd = [name for name, tensor in tensors.items() if not _is_finite(tensor)]
    if not odd:
        return Finding("numbers", "ok", "every weight is a finite number, those of the image tokenizer too")
    more = f" and {len(odd) - _LISTED} more" if len(odd) > _LISTED else ""
    said = f"weights that are infinite or no numbers (NaN): {', '.join(odd[:_LISTED])}{more}"
    return Finding("numbers", "FAIL", said)


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    least, most = tensor.detach().aminmax()  # without a copy, unlike isfinite
    return bool(least.isfinite() & most.isfinite())
