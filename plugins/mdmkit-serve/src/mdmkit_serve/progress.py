"""A line on the terminal, now and then, while there is work."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mdmkit_serve.service import Service


class Progress:
    """Say how much is going on.

    Args:
        seconds: the time between two lines.
    """

    def __init__(self, service: Service, seconds: float = 10.0):
        self.service, self.seconds = service, seconds
        self._last, self._before = time.monotonic(), self._counts()

    def tick(self) -> None:
        """Say something, if it is time and there is work."""
        now = time.monotonic()
        if now - self._last < self.seconds:
            return
        scheduler = self.service.scheduler
        tokens, calls = self._counts()
        took, self._last = now - self._last, now
        (old_tokens, old_calls), self._before = self._before, (tokens, calls)
        if scheduler.working:
            samplers = scheduler.samplers
            self.service.metrics.note(
                f"{scheduler.working} rows at work with {samplers} sampler{'s' * (samplers != 1)}, {scheduler.waiting} "
                f"wait · {(tokens - old_tokens) / took:.0f} tokens/s out · {(calls - old_calls) / took:.1f} calls/s"
            )

    def _counts(self) -> tuple[float, float]:
        metrics = self.service.metrics
        return metrics.read("mdmkit_tokens_total", kind="completion"), metrics.read("mdmkit_model_calls_total")
