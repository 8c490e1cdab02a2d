"""Run the server until a signal ends it: the first one lets what was taken on finish, the second one ends at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import uvicorn

from mdmkit_serve.app import make_app

if TYPE_CHECKING:
    from mdmkit_serve.service import Service


class Server(uvicorn.Server):
    """uvicorn's server, with signals of our own."""

    def __init__(self, config: uvicorn.Config, service: Service):
        super().__init__(config)
        self.service = service

    def handle_exit(self, sig: int, frame: Any) -> None:
        if self.should_exit:
            os._exit(128 + sig)
        self.should_exit = True
        scheduler = self.service.scheduler
        left = scheduler.waiting + scheduler.working
        self.service.metrics.note(f"{signal.Signals(sig).name}: {left} rows are finished first; again ends at once.")
        scheduler.close()

    async def on_tick(self, counter: int) -> bool:
        if self.service.scheduler.broken:  # nothing can be answered any more
            self.should_exit = True
        return await super().on_tick(counter)


def run(service: Service, host: str, port: int, log: Callable[[str], None], ready: Callable[[str], None]) -> bool:
    """Serve until a signal. Return False if the engine thread has ended before.

    Args:
        log: gets one line for each request.
        ready: gets the address, once the port is open.
    """
    config = uvicorn.Config(
        make_app(service, log),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
    )
    server = Server(config, service)
    startup = server.startup

    async def started(sockets: Any = None) -> None:
        await startup(sockets)
        if server.started:
            address = server.servers[0].sockets[0].getsockname()
            name = f"[{address[0]}]" if ":" in address[0] else address[0]
            ready(f"http://{name}:{address[1]}")

    server.startup = started  # type: ignore[method-assign]
    service.scheduler.start()
    server.run()
    service.scheduler.close()
    service.scheduler.join(60)
    return not service.scheduler.broken
