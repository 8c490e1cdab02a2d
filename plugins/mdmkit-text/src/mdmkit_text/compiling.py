"""Compile a model's layers with torch.compile: fewer and larger kernels, after a wait.

Off unless the user asks for it (`compile=True`). The layers of a model are alike, so they are compiled once for all of
them, for shapes that change. What reads and writes frozen columns stays as it is, between the compiled parts.
"""

from __future__ import annotations

import functools
import time
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mdmkit import MdmkitError, MdmkitWarning
from mdmkit_text.alternatives import Alternatives
from mdmkit_text.foreign import name_of
from mdmkit_text.frozen import FrozenLayer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mdmkit_text.network import Network


def check(given: Any, spread: tuple[Any, Any]) -> bool:
    """Return True if the user asks for it.

    Args:
        given: the option, None if it was not given.
        spread: the options `device_map` and `quantization`.

    Raises:
        MdmkitError: the option is not a flag, or the model's layers are not plain ones.
    """
    if given is not None and not isinstance(given, bool):
        raise MdmkitError(f"compile={given!r}: it must be true or false.")
    if given and spread != (None, None):
        raise MdmkitError(
            "compile=true, and device_map or quantization: layers that are spread over devices or quantized are not "
            "compiled. Leave one of them out."
        )
    return bool(given)


@torch.inference_mode()
def compile_layers(network: Network, ids: Sequence[int]) -> None:
    """Compile the layers of a network, and compare it with itself. A note says how many seconds it took.

    Args:
        network: its model may not be shared with others, since its layers are changed.
        ids: token ids to try it with.

    Raises:
        MdmkitError: the model has no list of layers, it cannot be compiled here, or it computes something else then.
    """
    name, layers = name_of(network.model), _layers(network.model)
    if layers is None:
        raise MdmkitError(f"compile=true, and {name} has no list of layers that are alike. Leave compile out.")
    plain, began = _hidden(network, ids), time.perf_counter()
    _leave_stores_alone()
    # Compiled attention would be compiled again for each forward that packs, or that returns attention weights.
    network.packs, network.attends, network.compiled = False, False, True
    for layer in layers:
        layer.compile(dynamic=True)
    try:
        compiled = _hidden(network, ids)
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise MdmkitError(
            f"compile=true, and torch.compile failed for {name}: {said}. It needs a C++ compiler (gcc or clang) on a "
            "CPU, and Triton and gcc on a GPU. Install them, or leave compile out."
        ) from error
    worst = 1e-3 if plain.dtype in (torch.float32, torch.float64) else 5e-2
    if not float((compiled - plain).abs().max()) <= worst * (1 + float(plain.abs().max())):
        raise MdmkitError(f"compile=true, and the compiled {name} computes something else. Leave compile out.")
    seconds = time.perf_counter() - began
    warnings.warn(
        f"the {len(layers)} layers of {name} are compiled ({seconds:.0f} s). The first decode takes longer too: other "
        "kinds of forwards are compiled when they first come.",
        MdmkitWarning,
        stacklevel=2,
    )


@functools.cache
def _leave_stores_alone() -> None:
    """Compile no code that reads frozen columns: its numbers on the host are others at each step."""
    for owner, method in ((FrozenLayer, "update"), (Alternatives, "__call__")):
        setattr(owner, method, torch.compiler.disable(getattr(owner, method)))


def _layers(model: Any) -> nn.ModuleList | None:
    """The longest list of modules of one class. Lists within a layer, such as its experts, do not count."""
    lists = [(name, each) for name, each in model.named_modules() if isinstance(each, nn.ModuleList)]
    outer = [each for name, each in lists if not any(name.startswith(f"{other}.") for other, _ in lists)]
    return max((each for each in outer if len({type(layer) for layer in each}) == 1), key=len, default=None)


def _hidden(network: Network, ids: Sequence[int]) -> Tensor:
    """Hidden states of one row of a few tokens, and of two rows."""
    row = torch.tensor([[*ids, *ids]], device=network.model.device)
    parts = []
    for rows in (row, row[:, 1:].expand(2, -1)):
        positions = torch.arange(rows.shape[1], device=row.device).expand_as(rows)
        parts.append(network.run(rows, torch.ones_like(rows, dtype=torch.bool), positions).flatten(0, 1))
    return torch.cat(parts)
