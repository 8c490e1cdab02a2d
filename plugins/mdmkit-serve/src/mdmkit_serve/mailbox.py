"""What the engine thread tells one request: events, in order, for its task in the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from mdmkit_serve.job import Draft

if TYPE_CHECKING:
    from mdmkit_serve.job import Event


class Mailbox:
    """Events of all rows of a request; `put` and `get` are for the event loop only."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._events: deque[tuple[int, Event]] = deque()
        self._here = asyncio.Event()

    def put(self, index: int, event: Event) -> None:
        """Add an event of choice `index`. Of drafts that a slow client has not fetched only the last one stays."""
        if isinstance(event, Draft) and self._events:
            before, last = self._events[-1]
            if before == index and isinstance(last, Draft):
                self._events.pop()
        self._events.append((index, event))
        self._here.set()

    def put_back(self, events: list[tuple[int, Event]]) -> None:
        """Put events that were fetched too early before all others."""
        self._events.extendleft(reversed(events))

    async def get(self) -> tuple[int, Event]:
        """Wait for the next event."""
        while not self._events:
            self._here.clear()
            await self._here.wait()
        return self._events.popleft()
