"""What all requests of a server share."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mdmkit import read_prompts

if TYPE_CHECKING:
    from mdmkit import Backbone
    from mdmkit_serve.answers import Form
    from mdmkit_serve.metrics import Metrics
    from mdmkit_serve.samplers import Samplers
    from mdmkit_serve.scheduler import Scheduler


@dataclass
class Service:
    """The model, the samplers and the engine thread.

    Attributes:
        name: the model's name in requests.
        key: the key that every request has to bring; None: none.
        max_body: the most bytes of a request.
        chats: True if the model can answer messages.
        making: requests with a rule that are being read.
        hosts: names that the header `Host` may have; None: any.
    """

    name: str
    backbone: Backbone
    samplers: Samplers
    scheduler: Scheduler
    metrics: Metrics
    key: str | None = None
    max_body: int = 1 << 20
    hosts: frozenset[str] | None = None
    making: int = 0
    created: int = field(default_factory=lambda: int(time.time()))
    _ends: deque[float] = field(default_factory=lambda: deque(maxlen=32))

    def __post_init__(self) -> None:
        self.chats = self._chats()  # before the engine thread begins: a tokenizer is for one thread
        watch, scheduler = self.metrics.watch, self.scheduler
        watch("rows_waiting", "Rows that wait for a slot.", lambda: scheduler.waiting)
        watch("rows_working", "Rows in the engines.", lambda: scheduler.working)
        watch("samplers_working", "Samplers with rows in an engine.", lambda: scheduler.samplers)
        watch("kept_bytes", "Bytes of finished blocks that are kept of rows that have ended.", lambda: scheduler.held)
        watch("slots", "Rows that are decoded together; fewer after memory was too small.", lambda: scheduler.most)

    def count(self, form: Form, seconds: float) -> None:
        """Count a request that was answered."""
        usage = form.usage()
        self.metrics.seconds.observe(seconds)
        for kind in ("prompt", "completion"):
            self.metrics.tokens.labels(kind).inc(usage[f"{kind}_tokens"])
        self._ends.extend([time.monotonic()] * len(form.answers))

    def _chats(self) -> bool:
        prompts = read_prompts([{"messages": [{"role": "user", "content": ""}], "length": 1}], 0)
        try:
            self.backbone.encode(prompts, self.samplers.own.sampler.plan)
        except Exception:  # any failure of the template, too
            return False
        return True

    def said(self, message: str) -> str:
        """An error of mdmkit as a client may read it: in the words of a request, without paths of this machine."""
        for path in self.backbone.loaded_from:
            message = message.replace(str(path), self.name)
        for length in ("plan.length, or the prompt's own length", "plan.length, the prompt's own length"):
            message = message.replace(length, "max_tokens")
        return message

    def patience(self) -> int:
        """Seconds after which there should be room in the queue: 1 to 60."""
        took = time.monotonic() - self._ends[0] if self._ends else 0.0
        a_row = took / len(self._ends) if self._ends else 1.0
        return max(1, min(60, round(a_row * self.scheduler.waiting / 2)))
