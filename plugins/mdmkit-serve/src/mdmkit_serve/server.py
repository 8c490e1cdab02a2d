"""Run the server until a signal ends it: the first one lets what was taken on finish, the second one ends at once."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import uvicorn

from mdmkit import MdmkitError
from mdmkit_serve.app import make_app
from mdmkit_serve.progress import Progress

if TYPE_CHECKING:
    from mdmkit_serve.service import Service


# Seconds after which a connection is dropped at the end, if its client reads nothing of what waits to be sent.
UNREAD = 10


class Server(uvicorn.Server):
    """uvicorn's server, with signals of our own."""

    def __init__(self, config: uvicorn.Config, service: Service, ready: Callable[[], None]):
        super().__init__(config)
        self.service, self.progress, self.signal = service, Progress(service), ""
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()

    def handle_exit(self, sig: int, frame: Any) -> None:
        # Here is no place for more: the signal may have come while a lock was held, or a line was being written.
        if self.should_exit:
            os._exit(128 + sig)
        self.signal = signal.Signals(sig).name
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        unread = asyncio.create_task(self._drop_unread())
        try:
            await super().shutdown(sockets)
        finally:
            unread.cancel()

    async def _drop_unread(self) -> None:
        """Drop connections whose clients stopped reading: to be closed, they would have to be read to the end."""
        scheduler = self.service.scheduler
        before: dict[Any, tuple[int, int]] = {}  # by connection: the bytes that wait, and for how many seconds
        while True:
            await asyncio.sleep(1)
            now: dict[Any, tuple[int, int]] = {}
            for connection in [*self.server_state.connections]:
                waits = connection.transport.get_write_buffer_size()
                last, seconds = before.get(connection, (0, 0))
                stalls = waits and waits >= last and not scheduler.waiting + scheduler.working
                now[connection] = waits, seconds + 1 if stalls else 0
                if now[connection][1] >= UNREAD:
                    connection.transport.abort()
            before = now

    async def on_tick(self, counter: int) -> bool:
        scheduler = self.service.scheduler
        if scheduler.broken:  # nothing can be answered any more
            self.should_exit = True
        if self.signal and scheduler.closed is None:
            left = scheduler.waiting + scheduler.working
            scheduler.close()
            self.service.metrics.note(f"{self.signal}: {left} rows are finished first; again ends at once.")
        self.progress.tick()
        return await super().on_tick(counter)


def bind(host: str, port: int) -> socket.socket:
    """Take an address, before a model is loaded. Nobody can connect until the server listens.

    Raises:
        MdmkitError: it cannot be taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        taken = socket.socket(family, kind, protocol)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
    except OSError as error:
        raise MdmkitError(
            f"--host {host} --port {port} cannot be taken: {error.strerror or error}. Give another port, or 0 for any "
            "free one."
        ) from error
    return taken


def run(service: Service, taken: socket.socket, log: Callable[[str], None], ready: Callable[[], None]) -> bool:
    """Serve until a signal. Return False if the engine thread has ended before.

    Args:
        taken: the address, see `bind`.
        log: gets one line for each request.
        ready: is called once clients can connect.
    """
    config = uvicorn.Config(
        make_app(service, log),
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
    )
    service.scheduler.start()
    Server(config, service, ready).run(sockets=[taken])
    service.scheduler.close()
    service.scheduler.join(60)
    return not service.scheduler.broken
