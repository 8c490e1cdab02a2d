"""The description of the server for programs: OpenAPI 3.1, made from the fields by which requests are checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mdmkit import __version__
from mdmkit_serve.fields import CHAT, COMPLETION, Schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mdmkit_serve.service import Service

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string", "description": "What was wrong, and what is accepted."},
                "type": {"enum": ["invalid_request_error", "rate_limit_error", "server_error"]},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
USAGE = {
    "type": "object",
    "properties": {name: {"type": "integer"} for name in ("prompt_tokens", "completion_tokens", "total_tokens")},
}
OWN = {
    "type": "object",
    "description": "Of a choice: why it ended, its row's seed, H̃ in nats, NFE, and the token ids if asked for.",
    "properties": {
        "stopped": {"type": "string"},
        "seed": {"type": "integer"},
        "uncertainty": {"type": "number"},
        "nfe": {"type": "integer"},
        "tokens": {"type": "array", "items": {"type": "integer"}},
        "logprobs": {
            "type": "object",
            "description": "With plan.logprobs in mdmkit.set: for each token its log-probability and rank.",
            "additionalProperties": {"type": "array", "items": {"type": ["number", "null"]}},
        },
        "draft": {"type": "array", "items": {"type": ["string", "null"]}},
    },
}
# What can go wrong, by status, and which paths it concerns.
REFUSALS = {
    400: "A field is wrong; the error names it.",
    401: "No key, or a wrong one.",
    403: "A name of the host that the server does not answer to.",
    404: "The model is not served here.",
    408: "The body came too slowly.",
    413: "The body is too large.",
    415: "The body is not application/json.",
    429: "Too many rows wait; Retry-After says when to come back.",
    500: "The row failed.",
    503: "The server is about to end.",
    504: "The request ran out of time.",
    507: "Memory is too small for this request.",
}
ANYWHERE = (401, 403)


def describe(service: Service) -> dict[str, Any]:
    """The description of a server."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mdmkit-serve",
            "version": __version__,
            "description": f"{service.name}: a masked diffusion model, in the form of OpenAI's API.",
        },
        "security": [{"key": []}] if service.key is not None else [],
        "paths": {
            "/v1/completions": {"post": _post("Complete prompts.", "Completion", "text")},
            "/v1/chat/completions": {"post": _post("Answer a conversation.", "Chat", "message")},
            "/v1/models": {"get": _get("The served model, in a list.", {"type": "object"})},
            "/v1/models/{name}": {
                "get": {
                    **_get("The served model.", {"type": "object"}, 404),
                    "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
                }
            },
            "/health": {"get": {**_get("Whether requests are accepted.", {"type": "object"}, 503), "security": []}},
            "/metrics": {"get": _get("Counters for Prometheus.", None)},
            "/openapi.json": {"get": {**_get("This description.", {"type": "object"}), "security": []}},
            "/": {"get": {**_get("A page to try the model.", None), "security": []}},
        },
        "components": {
            "schemas": {
                "Completion": _body(COMPLETION, "prompt", service.name),
                "Chat": _body(CHAT, "messages", service.name),
                "Error": ERROR,
                "Usage": USAGE,
                "Own": OWN,
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _body(fields: Mapping[str, Schema], content: str, model: str) -> Schema:
    """A null asks for nothing, except in the two fields that are needed."""
    needed = ["model", content]
    properties = {
        name: schema if name in needed else {"anyOf": [schema, {"type": "null"}]} for name, schema in fields.items()
    }
    properties["model"] = {**fields["model"], "enum": [model]}
    return {"type": "object", "required": needed, "properties": properties, "additionalProperties": False}


def _of(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _refusals(*statuses: int) -> dict[str, Any]:
    body = {"application/json": {"schema": _of("Error")}}
    return {str(status): {"description": REFUSALS[status], "content": body} for status in sorted(statuses)}


def _get(summary: str, schema: Schema | None, *statuses: int) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}} if schema is not None else {}
    done = {"description": "Done.", **({"content": content} if content else {})}
    return {"summary": summary, "responses": {"200": done, **_refusals(*ANYWHERE, *statuses)}}


def _post(summary: str, body: str, text: str) -> dict[str, Any]:
    choice = {
        "type": "object",
        "properties": {
            "index": {"type": "integer"},
            text: {"type": "string" if text == "text" else "object"},
            "finish_reason": {"enum": ["stop", "length"]},
            "logprobs": {"type": ["object", "null"]},
            "mdmkit": _of("Own"),
        },
    }
    answer = {
        "type": "object",
        "properties": {
            **{name: {"type": "string"} for name in ("id", "object", "model")},
            "created": {"type": "integer"},
            "choices": {"type": "array", "items": choice},
            "usage": _of("Usage"),
            "mdmkit": {
                "type": "object",
                "properties": {"sampler": {"type": "string"}, "seed": {"type": "integer"}},
            },
        },
    }
    stream = {"schema": {"description": "With stream: one JSON object in each event, then [DONE]."}}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": _of(body)}}},
        "responses": {
            "200": {
                "description": "Done.",
                "content": {"application/json": {"schema": answer}, "text/event-stream": stream},
            },
            **_refusals(*REFUSALS),
        },
    }
