"""The device and the precision of weights: what transformers does while it loads them, and the packages for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from mdmkit import MdmkitError, unknown

if TYPE_CHECKING:
    from collections.abc import Callable

DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")


def _int8(dtype: Any) -> Any:
    from torchao.quantization import Int8WeightOnlyConfig  # type: ignore[import-not-found, unused-ignore]
    from transformers import TorchAoConfig

    return TorchAoConfig(Int8WeightOnlyConfig())


def _nf4(dtype: Any) -> Any:
    from transformers import BitsAndBytesConfig

    compute = dtype if isinstance(dtype, torch.dtype) else torch.bfloat16
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute)


# Both reduce the precision of weights only. Methods that also reduce that of activations (LLM.int8) search outliers in
# the whole batch, so a row would depend on other rows. name -> (packages, a function from the dtype of the computation
# to transformers' config object)
QUANTIZATIONS: dict[str, tuple[tuple[str, ...], Callable[[Any], Any]]] = {
    "int8": (("torchao",), _int8),
    "nf4": (("bitsandbytes", "accelerate"), _nf4),
}


def placement(device: torch.device, dtype: Any, device_map: Any = None, quantization: Any = None) -> dict[str, Any]:
    """Return the keywords of `from_pretrained` that put each weight on its device as it is read.

    Args:
        device: the device of the model, if there is no device_map.
        dtype: a torch dtype or `"auto"`.
        device_map: one of `DEVICE_MAPS`, or a mapping from module names to devices: spreads the model.
        quantization: one of `QUANTIZATIONS`.

    Raises:
        MdmkitError: an unknown value, or a package that it needs is not installed.
    """
    keywords: dict[str, Any] = {}
    if quantization is not None:
        if not isinstance(quantization, str) or quantization not in QUANTIZATIONS:
            raise MdmkitError(unknown("quantization", str(quantization), QUANTIZATIONS))
        packages, make = QUANTIZATIONS[quantization]
        require(f"quantization={quantization}", packages)
        keywords["quantization_config"] = make(dtype)
    if device_map is not None:
        if not isinstance(device_map, dict) and device_map not in DEVICE_MAPS:
            raise MdmkitError(
                f"{unknown('device_map', str(device_map), DEVICE_MAPS)} For one device, write --device NAME."
            )
        require("device_map", ("accelerate",))
        keywords["device_map"] = device_map
    elif (device.type != "cpu" or quantization is not None) and _present("accelerate"):
        keywords["device_map"] = {"": device}  # without accelerate, transformers loads only on the CPU
    return keywords


def _present(package: str) -> bool:
    from transformers import utils

    return bool(getattr(utils, f"is_{package}_available")())


def require(what: str, packages: tuple[str, ...]) -> None:
    """Refuse an option whose packages are not installed.

    Raises:
        MdmkitError: which are missing.
    """
    missing = [package for package in packages if not _present(package)]
    if missing:
        raise MdmkitError(
            f"{what} needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed (or too "
            f"old): pip install {' '.join(missing)}, or pip install 'mdmkit-text[large]' for all that large models use."
        )
