"""Measure how long a model's own methods take, without making anybody wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from types import TracebackType

    from mdmkit.model.backbone import Backbone

PARTS = ("forward", "project")


class Clock:
    """Note moments of a device's work. On CUDA a moment is an event in the device's queue, else the host's time.

    Read the differences after `wait`.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self._cuda = device.type == "cuda"

    def now(self) -> Any:
        """Note this moment."""
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def seconds(self, since: Any, until: Any) -> float:
        """Return the seconds between two moments."""
        return since.elapsed_time(until) / 1000 if self._cuda else until - since

    def wait(self) -> None:
        """Wait until the device has done everything that it was given."""
        if self._cuda:
            torch.cuda.synchronize(self.device)


class Timed:
    """Add up the time in a backbone's `forward` and `project` while the `with` block lasts.

    On CUDA the time is the device's, from the first of the method's kernels to the last.

    Attributes:
        dtype: the type of the hidden states, such as `bfloat16`; empty before the first forward.
    """

    def __init__(self, backbone: Backbone, clock: Clock):
        self.backbone, self.clock, self.dtype = backbone, clock, ""
        self._spans: dict[str, list[tuple[Any, Any]]] = {name: [] for name in PARTS}
        self._before: dict[str, Any] = {}

    def __enter__(self) -> Timed:
        own = vars(self.backbone)
        self._before = {name: own[name] for name in PARTS if name in own}
        for name in PARTS:
            # Not by plain assignment, because a backbone may be a frozen dataclass.
            object.__setattr__(self.backbone, name, self._timed(name, getattr(self.backbone, name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in PARTS:
            object.__delattr__(self.backbone, name)
        for name, method in self._before.items():
            object.__setattr__(self.backbone, name, method)

    def seconds(self, part: str) -> float:
        """Return the time in `forward` or `project` so far. On CUDA call `clock.wait` first."""
        return sum(self.clock.seconds(since, until) for since, until in self._spans[part])

    def _timed(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **options: Any) -> Any:
            since = self.clock.now()
            result = method(*args, **options)
            self._spans[name].append((since, self.clock.now()))
            if not self.dtype and name == "forward":
                self.dtype = str(result.hidden.dtype).removeprefix("torch.")
            return result

        return timed
