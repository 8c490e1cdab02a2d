"""What a decode costs: time and its parts, steps, forwards."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mdmkit.loop.encoded import Encoded
from mdmkit.loop.engine import Engine
from mdmkit.model.timing import Clock, Timed
from mdmkit.watch.first_text import FirstText

if TYPE_CHECKING:
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone


@dataclass(frozen=True)
class Cost:
    """The cost of one decode, of all rows together.

    Attributes:
        tokens: tokens that were written.
        seconds: from the admission of the prompts to the end of the last row.
        first_text: seconds until the leftmost open position has a final token, the median of the rows.
        steps: steps of the loop.
        trunk, head: seconds in the backbone's `forward` and in `project`; on CUDA by events of the device.
        rows, calls: NFE in row-forwards and in model calls.
        dtype: the type of the hidden states.
    """

    tokens: int
    seconds: float
    first_text: float
    steps: int
    trunk: float
    head: float
    rows: int
    calls: int
    dtype: str

    @property
    def rest(self) -> float:
        """Seconds outside of the model."""
        return self.seconds - self.trunk - self.head

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds

    @property
    def nfe_per_token(self) -> float:
        """Row-forwards for each token that was written."""
        return self.rows / max(1, self.tokens)

    def ms_per_step(self, seconds: float) -> float:
        """Milliseconds a step, of the whole decode or of a part of it."""
        return 1000 * seconds / max(1, self.steps)


def measure(sampler: Sampler, backbone: Backbone, prompts: Sequence[Prompt]) -> Cost:
    """Decode prompts, all at the same time, and return the cost.

    Raises:
        MdmkitError: the model lacks what the sampler needs, or a row cannot be decoded.
        torch.OutOfMemoryError: the GPU's memory is too small for all rows together. Their number is not halved.
    """
    encoded = [Encoded.of(prompt, backbone, sampler.plan) for prompt in prompts]
    clock = Clock(backbone.device)
    first = FirstText(clock)
    with Timed(backbone, clock) as timed:
        engine = Engine(sampler, backbone, len(encoded), observers=[first])
        clock.wait()
        began, start = time.perf_counter(), clock.now()
        for one in encoded:
            engine.admit(one)
        ended, steps = [], 0
        while engine.busy:
            ended += engine.step()
            steps += 1
        clock.wait()
        seconds = time.perf_counter() - began
    for each in ended:
        if each.error is not None:
            raise each.error
    rows = [each.row for each in ended if each.row is not None]
    return Cost(
        tokens=sum(tick >= 0 for row in rows for tick in row.order),
        seconds=seconds,
        first_text=statistics.median(first.seconds(start)),
        steps=steps,
        trunk=timed.seconds("forward"),
        head=timed.seconds("project"),
        rows=sum(row.nfe for row in rows),
        calls=engine.calls,
        dtype=timed.dtype,
    )


def median(costs: Sequence[Cost]) -> Cost:
    """Return the decode whose time is the median; of an even number the faster one of the middle two."""
    return sorted(costs, key=lambda cost: cost.seconds)[(len(costs) - 1) // 2]
