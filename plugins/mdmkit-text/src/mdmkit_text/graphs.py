"""CUDA graphs of forwards: a forward whose shapes come again is recorded once, and replayed with other values.

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
        record: makes a recording; None: a CUDA graph.

    Attributes:
        on: False if nothing is recorded any more.
        replays: how many forwards were replayed.
    """

    def __init__(self, record: Record | None = None):
        self.on, self.replays = True, 0
        self._record = record or CudaRecorder()
        self._known: OrderedDict[Hashable, Recorded] = OrderedDict()
        self._counts: Counter[Hashable] = Counter()
        # Engines in several threads may share a model, and a recording has one set of tensors.
        self._alone = threading.Lock()

    def __call__(self, key: Hashable, forward: Forward, inputs: Inputs) -> Tensor:
        """Run a forward. `key` names its shapes and everything else that is the same each time."""
        if not self.on:
            return forward(inputs)
        with self._alone:
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

    def _keep(self, key: Hashable, forward: Forward, inputs: Inputs, truth: Tensor) -> None:
        own = {name: x.clone() for name, x in inputs.items()}
        try:
            recorded = Recorded(own, *self._record(lambda: forward(own)))
            recorded.again()
            if not _agree(recorded.result, truth):
                raise RuntimeError("a recorded forward gives other values than the forward itself")
        except Exception as error:  # a model that waits for its device, no memory, a driver that is too old
            self._stop(" ".join(str(error).split())[:200])
            return
        self._known[key] = recorded
        if len(self._known) > KEPT:
            self._known.popitem(last=False)

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
    """True if two results differ by rounding only; rows that are all padding may hold anything that is not a number."""
    bound = 1e-4 if wanted.dtype in (torch.float32, torch.float64) else 3e-2
    got, wanted = (x.float().nan_to_num() for x in (got, wanted))
    return bool((got - wanted).abs().max() <= bound * (1 + wanted.abs().max()))


class CudaRecorder:
    """Make CUDA graphs; all share one pool of memory, since only one of them runs at a time."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, call: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # Other threads may allocate meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            result = call()
        return result, graph.replay
