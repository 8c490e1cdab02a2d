"""The routes of the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route, Router

from mdmkit.cli.commands import default_registry
from mdmkit_serve.door import Door
from mdmkit_serve.openapi import describe
from mdmkit_serve.page import HEADERS as PAGE_HEADERS
from mdmkit_serve.page import PAGE
from mdmkit_serve.refusal import Refusal, not_served
from mdmkit_serve.serving import answer

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from mdmkit_serve.service import Service


def make_app(service: Service, log: Callable[[str], None] = lambda line: None) -> ASGIApp:
    """Make the ASGI application of a server.

    Args:
        log: gets one line for each request.
    """

    async def completions(request: Request) -> Response:
        return await answer(service, request, chat=False)

    async def chat(request: Request) -> Response:
        return await answer(service, request, chat=True)

    async def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [_model(service)]})

    async def model(request: Request) -> Response:
        name = request.path_params["name"]
        if name != service.name:
            raise not_served(name, service.name)
        return JSONResponse(_model(service))

    async def health(request: Request) -> Response:
        return _health(service)

    async def metrics(request: Request) -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(request: Request) -> Response:
        return JSONResponse(describe(service))

    async def page(request: Request) -> Response:
        return HTMLResponse(PAGE, headers=PAGE_HEADERS)

    routes = [
        Route("/v1/completions", completions, methods=["POST"]),
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/models", models),
        Route("/v1/models/{name:path}", model),
        Route("/health", health),
        Route("/metrics", metrics),
        Route("/openapi.json", openapi),
        Route("/", page),
    ]
    # No application of Starlette: it would answer errors itself, in its own form.
    return Door(Router(routes), service, log)


def _health(service: Service) -> Response:
    if service.scheduler.closed is not None:
        raise Refusal(503, service.scheduler.closed)
    return JSONResponse({"status": "ok"})


def _model(service: Service) -> dict[str, object]:
    installed = sorted({part.name for part in default_registry().of_kind("sampler")})
    own = service.samplers.own.name
    names = installed if own in installed else [own, *installed]
    about = {"sampler": own, "max_tokens": service.samplers.length, "chat": service.chats, "samplers": names}
    return {"id": service.name, "object": "model", "created": service.created, "owned_by": "mdmkit", "mdmkit": about}
