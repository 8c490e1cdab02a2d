"""How the laws that tests cannot see from outside are checked: no mutation, no host sync, no endless decode."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.overrides import TorchFunctionMode

from mdmkit.loop.observe import Observer
from mdmkit.stage.step import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mdmkit.stage.belief import Belief

_FACTORIES = (torch.arange, torch.tensor, torch.zeros, torch.ones, torch.full, torch.empty, torch.linspace, torch.eye)


class HostSync(AssertionError):
    """A stage makes the host wait for the device."""


class _HostFree(TorchFunctionMode):
    """Refuse what fake tensors on a CPU let through: transfers to the host, and tensors made there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", str(func))
        if func in (Tensor.cpu, Tensor.numpy) or (
            func is Tensor.to and "cpu" in map(str, (*args[1:], *kwargs.values()))
        ):
            raise HostSync(f".{name} moves a tensor to the host")
        result = func(*args, **kwargs)
        if func in _FACTORIES and kwargs.get("device") is None and result.dim():
            raise HostSync(f"torch.{name} without device= makes its tensor on the host: pass the device of an input")
        return result


@contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except (DataDependentOutputException, DynamicOutputShapeException, HostSync) as error:
        raise HostSync(
            f"{what} waits for the device: {error}. A stage may not call .item(), .tolist() or nonzero, index with a "
            "boolean mask, or branch on a tensor: use torch.where, masked_fill and gather."
        ) from error
    except RuntimeError as error:
        if ".numpy()" not in str(error):
            raise
        raise HostSync(f"{what} waits for the device: .numpy() moves a tensor to the host.") from error


def call_without_host(stage: Callable[..., Any], *inputs: Any, call: Callable[..., Any] | None = None) -> Any:
    """Call a stage on tensors without values, so that reading a value fails.

    `call(stage, *inputs)` replaces the plain call of the stage.

    Raises:
        HostSync: the stage reads a tensor on the host.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    fake = swap_tensors(inputs, mode.from_tensor)
    with _named(type(stage).__name__), mode, _HostFree(), torch.no_grad():
        return stage(*fake) if call is None else call(stage, *fake)


def swap_tensors(value: Any, swap: Callable[[Tensor], Tensor], seen: dict[int, Any] | None = None) -> Any:
    """Copy a structure of containers and mdmkit objects, and replace every tensor in it; shared objects stay shared."""
    seen = {} if seen is None else seen
    if id(value) in seen:
        return seen[id(value)]
    if isinstance(value, Tensor):
        seen[id(value)] = swap(value)
    elif isinstance(value, dict):
        seen[id(value)] = {key: swap_tensors(item, swap, seen) for key, item in value.items()}
    elif isinstance(value, list | tuple):
        seen[id(value)] = type(value)(swap_tensors(item, swap, seen) for item in value)
    elif type(value).__module__.startswith("mdmkit") and hasattr(value, "__dict__"):
        seen[id(value)] = clone = copy.copy(value)
        for name, item in vars(value).items():
            object.__setattr__(clone, name, swap_tensors(item, swap, seen))
    else:
        return value
    return seen[id(value)]


@contextmanager
def unmutated(*inputs: Any) -> Iterator[None]:
    """Check that nothing in the `with` block writes into the inputs, also not into cached statistics of a belief."""
    for value in inputs:
        if isinstance(value, Step):
            _compute_shared(value)
    kept: list[tuple[Tensor, Tensor]] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append((tensor, tensor.clone()))
        return tensor

    swap_tensors(inputs, keep)
    yield
    for now, before in kept:
        same = (
            torch.equal(now.nan_to_num(), before.nan_to_num()) if now.is_floating_point() else torch.equal(now, before)
        )
        assert same, f"an input tensor of shape {list(now.shape)}, {now.dtype}, was written to: work on a copy"


def _compute_shared(step: Step) -> None:
    """Compute the cached statistics of a step, so that writing into one of them is detected."""
    belief: Belief = step.belief
    for name in ("stats", "top2", "confidence", "logp"):
        getattr(belief, name)
    for name in ("position", "tokens", "confidence"):
        getattr(step, name)


@contextmanager
def no_global_randomness() -> Iterator[None]:
    """Check that nothing in the `with` block draws from torch's global generator."""
    before = torch.random.get_rng_state()
    yield
    assert torch.equal(before, torch.random.get_rng_state()), "torch's global generator was used: draw from step.noise"


class Patience(Observer):
    """Stop a decode that does not end."""

    def __init__(self, steps: int):
        self.left = steps

    def on_step(self, step: Step, actions: Any, choice: Tensor) -> None:
        self.left -= 1
        assert self.left >= 0, f"the decode does not end: {int(step.open.sum())} positions are still open"
