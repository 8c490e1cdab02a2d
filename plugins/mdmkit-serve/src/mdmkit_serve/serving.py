"""Answer one request: submit its rows, wait for what they tell, and write the answer or the stream."""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

from mdmkit_serve import rules
from mdmkit_serve.answers import Form
from mdmkit_serve.asked import Asked, read_request
from mdmkit_serve.bodies import read_body
from mdmkit_serve.job import Answer, Begun, Draft, Failed, Job, Text
from mdmkit_serve.mailbox import Mailbox
from mdmkit_serve.refusal import ONCE, Refusal, wrong
from mdmkit_serve.scheduler import Closed, Full

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from mdmkit_serve.service import Service

# A stream that has nothing to send says so after this many seconds, so that nobody between takes it for dead.
PAUSE = 15.0
# Seconds after the time-out of a request in which a slow client may still read its stream.
GRACE = 60.0
# Requests with a rule that are read at a time: one after the other may take seconds.
MAKING = 16


class Gone(Exception):
    """The client has closed the connection."""


class Exchange:
    """One request and its answer.

    Args:
        service: the model, the samplers and the engine thread.
    """

    def __init__(self, service: Service, asked: Asked):
        self.service, self.asked = service, asked
        self.form = Form(asked, service.backbone)
        self.mailbox = Mailbox()
        self.began = time.monotonic()
        deadline = self.began + service.scheduler.limits.timeout
        self.jobs = [
            Job(prompt, asked.chosen, self.mailbox, index, deadline, asked.stop, asked.stream, asked.draft)
            for index, prompt in enumerate(asked.prompts)
        ]

    async def answer(self, request: Request) -> Response:
        """Answer the request.

        Raises:
            Refusal: it cannot be met.
            Gone: nobody waits for the answer any more.
        """
        self._submit()
        leaves = asyncio.create_task(_leaves(request))
        try:
            await self._begin(leaves)
            if self.asked.stream:
                return EventStream(self, self.service.scheduler.limits.timeout + GRACE)
            while len(self.form.answers) < len(self.jobs):
                index, event = await self._next(leaves)
                self._take(index, event)
        except BaseException:
            self.service.scheduler.give_up(self.jobs)
            raise
        finally:
            leaves.cancel()
        self._count()
        return JSONResponse(self.form.whole())

    def _submit(self) -> None:
        try:
            self.service.scheduler.submit(self.jobs)
        except Full:
            limits = self.service.scheduler.limits
            most = limits.queue + limits.slots
            if len(self.jobs) > most:
                raise wrong(f"{len(self.jobs)} choices are more than this server takes on: {most}.", "n") from None
            after = self.service.patience()
            raise Refusal(
                429,
                f"{self.service.scheduler.waiting} rows wait already, the most that is accepted. Try again in {after} "
                "seconds.",
                code="queue_full",
                headers={"retry-after": str(after)},
            ) from None
        except Closed as closed:
            raise Refusal(503, str(closed), headers={"retry-after": "5"}) from None

    async def _begin(self, leaves: asyncio.Task[None]) -> None:
        """Wait until every prompt is encoded, so that a wrong one is refused before a stream begins."""
        early = []
        while len(self.form.prompt_tokens) < len(self.jobs):
            index, event = await self._next(leaves)
            self._refuse(event)
            if isinstance(event, Begun):
                self.form.prompt_tokens[index] = event.prompt_tokens
            else:
                early.append((index, event))
        self.mailbox.put_back(early)

    async def _next(self, leaves: asyncio.Task[None]) -> tuple[int, Any]:
        comes = asyncio.create_task(self.mailbox.get())
        try:
            await asyncio.wait({comes, leaves}, return_when=asyncio.FIRST_COMPLETED)
            if comes.done():
                return comes.result()
            raise Gone
        finally:
            comes.cancel()

    def _refuse(self, event: Any) -> None:
        if isinstance(event, Failed):
            raise Refusal(event.status, self.service.said(event.message), None, CODES.get(event.status), ONCE)

    def _take(self, index: int, event: Any) -> None:
        self._refuse(event)
        if isinstance(event, Answer):
            self.form.answers[index] = event

    def _count(self) -> None:
        self.service.count(self.form, time.monotonic() - self.began)

    async def stream(self) -> AsyncIterator[bytes]:
        """The lines of the answer's stream."""
        form, first = self.form, True
        try:
            for index in range(len(self.jobs)):
                yield _line(form.opening(index))
            while len(form.answers) < len(self.jobs):
                index, event = await self._event()
                self._take(index, event)
                if event is None:
                    yield b": working\n\n"
                elif isinstance(event, Text):
                    if first:
                        self.service.metrics.first.observe(time.monotonic() - self.began)
                    first = False
                    yield _line(form.piece(index, event.piece))
                elif isinstance(event, Draft):
                    yield _line(form.draft(index, event.canvas))
                elif isinstance(event, Answer):
                    yield _line(form.closing(index))
            self._count()
            if self.asked.usage:
                yield _line(form.totals())
            yield b"data: [DONE]\n\n"
        except Refusal as refusal:
            yield _line(refusal.json())

    async def _event(self) -> tuple[int, Any]:
        try:
            return await asyncio.wait_for(self.mailbox.get(), PAUSE)
        except TimeoutError:
            return 0, None


CODES = {504: "timeout", 507: "out_of_memory"}


class EventStream(StreamingResponse):
    """A stream that gives its rows up when it ends, also if the client is gone before its first piece.

    Args:
        seconds: the most time that the client may take to read it.
    """

    def __init__(self, exchange: Exchange, seconds: float):
        super().__init__(exchange.stream(), media_type="text/event-stream", headers=STREAM)
        self.exchange, self.seconds = exchange, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self.seconds):
                await super().__call__(scope, receive, send)
        except TimeoutError:  # it reads too slowly: what was not sent is dropped with the connection
            raise Gone from None
        finally:
            self.exchange.service.scheduler.give_up(self.exchange.jobs)


STREAM = {"cache-control": "no-cache", "x-accel-buffering": "no"}


async def _leaves(request: Request) -> None:
    """Return when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _line(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


async def answer(service: Service, request: Request, chat: bool) -> Response:
    """Read one request and answer it."""
    body = await read_body(request, service.max_body)
    asked = await _read(service, functools.partial(read_request, body, chat, service.name, service.samplers), body)
    request.state.user, request.state.sampler = asked.user, asked.chosen.name
    return await Exchange(service, asked).answer(request)


async def _read(service: Service, read: Callable[[], Asked], body: Any) -> Asked:
    """Read a request; one with a rule in a thread, since the event loop must not wait until the rule is ready."""
    if not rules.asked_by(body):
        return read()
    if service.making >= MAKING:
        said = f"{MAKING} requests with a rule are being read already. Try again in 5 seconds."
        raise Refusal(429, said, code="queue_full", headers={"retry-after": "5"})
    service.making += 1
    try:
        return await run_in_threadpool(read)
    finally:
        service.making -= 1
