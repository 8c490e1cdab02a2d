"""What the server counts, for /metrics, and what it says on the terminal."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Metrics:
    """Counters of one server.

    Args:
        note: gets what the terminal should say.
    """

    def __init__(self, note: Callable[[str], None] = lambda said: None):
        self.note = note
        own = self.registry = CollectorRegistry()
        self.requests = Counter("mdmkit_requests", "Requests answered.", ["path", "status"], registry=own)
        self.rows = Counter("mdmkit_rows", "Rows that have ended.", ["how"], registry=own)
        self.tokens = Counter("mdmkit_tokens", "Tokens of answered requests.", ["kind"], registry=own)
        self.steps = Counter("mdmkit_steps", "Steps of all samplers.", registry=own)
        self.calls = Counter("mdmkit_model_calls", "Model calls.", registry=own)
        self.reused_rows = Counter("mdmkit_reused_rows", "Rows that began with kept blocks.", registry=own)
        self.reused = Counter("mdmkit_reused_columns", "Columns that these rows did not compute.", registry=own)
        self._reused = (0, 0)
        self.out_of_memory = Counter("mdmkit_out_of_memory", "Steps for which memory was too small.", registry=own)
        self.waited = Histogram("mdmkit_queue_seconds", "Time until a row is admitted.", buckets=SECONDS, registry=own)
        self.seconds = Histogram("mdmkit_request_seconds", "Time of an answer.", buckets=SECONDS, registry=own)
        self.first = Histogram("mdmkit_first_text_seconds", "Time to the first text.", buckets=SECONDS, registry=own)

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """Add a number that is read when somebody asks for it."""
        Gauge(f"mdmkit_{name}", about, registry=self.registry).set_function(value)

    def count_step(self, calls: int) -> None:
        self.steps.inc()
        self.calls.inc(calls)

    def count_reuse(self, rows: int, columns: int) -> None:
        """Count what rows found of kept blocks; both numbers are since the server began."""
        self.reused_rows.inc(rows - self._reused[0])
        self.reused.inc(columns - self._reused[1])
        self._reused = rows, columns

    def read(self, name: str, **labels: str) -> float:
        """The value of a counter; 0 if nothing was counted yet."""
        return self.registry.get_sample_value(name, labels) or 0.0

    def text(self) -> bytes:
        """All of them, in the text form of Prometheus."""
        return generate_latest(self.registry)
