"""Read the body of a request, within limits of size and time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mdmkit.cli.commands import from_json
from mdmkit_serve.refusal import Refusal, wrong

if TYPE_CHECKING:
    from starlette.requests import Request

SECONDS = 30.0  # that a client may take to send a body


async def read_body(request: Request, most: int) -> Any:
    """Return the JSON value that a request's body holds.

    Args:
        most: the most bytes.

    Raises:
        Refusal: it is too large, comes too slowly, or is no JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # A page of another site cannot send this type without asking first.
        raise Refusal(415, f"the body has type {kind or 'none'!r}, and application/json is the one accepted.")
    large = Refusal(413, f"the body is larger than {most} bytes, the most that is accepted (--max-body).")
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > most:
        raise large
    body = bytearray()
    try:
        async with asyncio.timeout(SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise large
    except TimeoutError:
        raise Refusal(408, f"the body did not come within {SECONDS:g} seconds.") from None
    try:
        return from_json(body, parse_constant=_no_number)
    except UnicodeDecodeError:
        raise wrong("the body is not UTF-8 text.", code="invalid_json") from None
    except RecursionError:
        raise wrong("the body is nested too deep.", code="invalid_json") from None
    except ValueError as error:
        raise wrong(f"the body is not JSON: {error}.", code="invalid_json") from None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
