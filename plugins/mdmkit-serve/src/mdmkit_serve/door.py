"""What every request passes: the key, the name of the host, errors in OpenAI's form, and the access log."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mdmkit.cli.commands import visible
from mdmkit_serve.refusal import Refusal, failed
from mdmkit_serve.serving import Gone

if TYPE_CHECKING:
    from starlette.routing import Router
    from starlette.types import Message, Receive, Scope, Send

    from mdmkit_serve.service import Service

# Paths that need no key: a health check and the page, which asks for the key itself.
OPEN = ("/", "/health", "/openapi.json")
GONE = 499  # in the log, for a client that did not wait; nobody reads it as a status


class Door:
    """An ASGI application around the server's own.

    Args:
        log: gets one line for each request.
    """

    def __init__(self, app: Router, service: Service, log: Callable[[str], None]):
        self.app, self.service, self.log = app, service, log
        self.paths: dict[Any, str] = {route.endpoint: route.path for route in app.routes if isinstance(route, Route)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        scope["app"] = self.app  # the router then raises for a path or a method that it does not know
        request, began, status = Request(scope, receive), time.monotonic(), 0
        request.state.user = request.state.sampler = ""

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self._check(request)
            await self.app(scope, receive, watched)
        except Exception as error:
            status, answered = _status(error), status
            if not answered and not isinstance(error, Gone):
                await as_response(error)(scope, receive, send)
            if not isinstance(error, Gone | Refusal | HTTPException):
                self.service.metrics.note(f"{scope['method']} {scope['path']}: {type(error).__name__}: {error}")
        # By route and not by path: a client must not be able to make counters.
        path = self.paths.get(scope.get("endpoint"), "other")
        self.service.metrics.requests.labels(path, status).inc()
        self._log(request, status, time.monotonic() - began)

    def _check(self, request: Request) -> None:
        service, host = self.service, request.headers.get("host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if service.hosts is not None and name.lower() not in service.hosts:
            raise Refusal(
                403,
                f"this server answers to {', '.join(sorted(service.hosts))} only, and the request is for {name!r}. To "
                "be reached by other names, it needs --host or --api-key.",
            )
        if service.key is None or request.url.path in OPEN:
            return
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(key.strip().encode(), service.key.encode()):
            raise Refusal(
                401,
                "no API key, or a wrong one: send the header 'Authorization: Bearer KEY'.",
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )

    def _log(self, request: Request, status: int, seconds: float) -> None:
        client = request.client.host if request.client else "-"
        more = " ".join(word for word in (request.state.sampler, request.state.user) if word)
        moment = time.strftime("%Y-%m-%d %H:%M:%S")
        said = f"{moment} {client} {request.method} {request.url.path} {status} {seconds:.3f} s {more}"
        self.log(" ".join(visible(said).split()))  # a client writes parts of it: one line, whatever it sends


def _status(error: Exception) -> int:
    if isinstance(error, Gone):
        return GONE
    if isinstance(error, HTTPException):
        return error.status_code
    return error.status if isinstance(error, Refusal) else 500


def as_response(error: Exception) -> Response:
    """An error in OpenAI's form."""
    if isinstance(error, HTTPException):
        error = Refusal(error.status_code, f"{error.detail}: {KNOWN}", headers=error.headers)
    refusal = error if isinstance(error, Refusal) else failed(f"the server failed: {type(error).__name__}.")
    return JSONResponse(refusal.json(), refusal.status, refusal.headers)


KNOWN = (
    "there are GET /v1/models, POST /v1/completions, POST /v1/chat/completions, GET /health, GET /metrics, "
    "GET /openapi.json and the page at /."
)
