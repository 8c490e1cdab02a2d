"""CUDA graphs of forwards: a forward whose shapes come again is recorded once, and replayed with other values.

Off unless the user asks for them (`graphs=True`), because nothing here was measured on a GPU yet.

At a small batch a GPU waits for the host, which launches some 2,000 kernels for each forward of a large model. A graph
launches them all at once. It runs on fixed memory: its inputs are copied into tensors of its own, and its result out.
"""

from __future__ import annotations

import threading
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mdmkit import MdmkitWarning

# A forward is recorded when its shapes come for this time, and so many recordings are kept.
COMES, KEPT = 3, 32
# Shapes that are counted before the counts begin again.
COUNTED = 1024

Inputs = Mapping[str, Tensor]
# Runs a forward on these inputs. It may read no other tensor whose values change from call to call.
Forward = Callable[[Inputs], Tensor]
# Records a call without arguments; returns its result, and what computes the result again, in the same memory.
Record = Callable[[Callable[[], Tensor]], tuple[Tensor, Callable[[], None]]]


@dataclass
class Recorded:
    """One forward that was recorded.

    Attributes:
        inputs: the tensors that it reads.
        result: the tensor that it writes.
        again: computes the result from the inputs.
    """

    inputs: dict[str, Tensor]
    result: Tensor
    again: Callable[[], None]

    def __call__(self, inputs: Inputs) -> Tensor:
        for name, x in inputs.items():
            self.inputs[name].copy_(x, non_blocking=True)
        self.again()
        return self.result.clone()


class Graphs:
    """Run forwards, and record those whose shapes come again.

    A recording is compared once with the forward itself. If it differs, or cannot be made, nothing is recorded any
    more, and every forward runs as it is; a note says why.

    Args:
        record: makes a recording, such as a `CudaRecorder`.

    Attributes:
        on: False if nothing is recorded any more.
        replays: how many forwards were replayed.
    """

    def __init__(self, record: Record):
        self.on, self.replays = True, 0
        self._record = record
        self._known: OrderedDict[Hashable, Recorded] = OrderedDict()
        self._counts: Counter[Hashable] = Counter()
        # Engines in several threads may share a model, and a recording has one set of tensors.
        self._alone = threading.Lock()

    def __call__(self, key: Hashable, forward: Forward, inputs: Inputs) -> Tensor:
        """Run a forward. `key` names its shapes and everything else that is the same each time."""
        if not self.on:
            return forward(inputs)
        with self._alone:
            if not self.on:  # another thread has found that it does not work
                return forward(inputs)
            if key in self._known:
                self._known.move_to_end(key)
                self.replays += 1
                return self._known[key](inputs)
            result = forward(inputs)
            self._counts[key] += 1
            if self._counts[key] >= COMES:
                self._keep(key, forward, inputs, result)
            if len(self._counts) > COUNTED:
                self._counts.clear()
            return result

    def release(self) -> None:
        """Give the memory of all recordings back; what comes again is recorded again."""
        with self._alone:
            self._forget()

    def _forget(self) -> None:
        self._known.clear()
        forget = getattr(self._record, "forget", None)
        if forget is not None:
            forget()

    def _keep(self, key: Hashable, forward: Forward, inputs: Inputs, truth: Tensor) -> None:
        own = {name: x.clone() for name, x in inputs.items()}
        try:
            recorded = Recorded(own, *self._record(lambda: forward(own)))
            recorded.result.fill_(torch.nan)  # a recording that computes nothing leaves it so
            recorded.again()
            if not _agree(recorded.result, truth):
                raise RuntimeError("a recorded forward gives other values than the forward itself")
        except Exception as error:  # a model that waits for its device, no memory, a driver that is too old
            if "out of memory" in str(error).lower():
                self._counts[key] = -100 * COMES  # there may be room later, with fewer rows
                self._forget()
            else:
                self._stop(" ".join(str(error).split())[:200])
            return
        self._known[key] = recorded
        if len(self._known) > KEPT:
            dropped, _ = self._known.popitem(last=False)
            self._counts[dropped] = -2 * COMES  # to record it again must be worth while

    def _stop(self, why: str) -> None:
        self.on = False
        self._known.clear()
        warnings.warn(
            f"this model runs without CUDA graphs, which is slower at small batches: {why}. With --model-option "
            "graphs=false none are tried.",
            MdmkitWarning,
            stacklevel=2,
        )


def _agree(got: Tensor, wanted: Tensor) -> bool:
    """True if two results differ by rounding only; what is not a number in `wanted`, as in padding, may be anything."""
    bound = 1e-4 if wanted.dtype in (torch.float32, torch.float64) else 3e-2
    known = wanted.isfinite()
    got, wanted = (x.float().masked_fill(~known, 0) for x in (got, wanted))
    # Position by position: in a whole tensor a few large values would hide that all others differ.
    return bool(((got - wanted).norm(dim=-1) <= bound * (1e-3 + wanted.norm(dim=-1))).all())


# torch records one graph at a time in a process.
_RECORDING = threading.Lock()


class CudaRecorder:
    """Make CUDA graphs on one device; all share one pool of memory, since only one of them runs at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None
        self._stream: Any = None

    def forget(self) -> None:
        """Begin a new pool; the old one goes with its recordings."""
        self._pool = None

    def __call__(self, call: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        graph = torch.cuda.CUDAGraph()
        with _RECORDING, torch.cuda.device(self._device):
            before = torch.cuda.current_stream(self._device)
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            # A stream of this device: torch's own is that of the device on which the first graph was recorded.
            self._stream = self._stream or torch.cuda.Stream(self._device)
            # Other threads may allocate meanwhile.
            options: Any = {"pool": self._pool, "stream": self._stream, "capture_error_mode": "thread_local"}
            try:
                with torch.cuda.graph(graph, **options):
                    result = call()
            finally:
                torch.cuda.set_stream(before)  # torch does not, if the recording fails

        def again() -> None:
            with torch.cuda.device(self._device):
                graph.replay()

        return result, again
