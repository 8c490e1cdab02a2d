"""The description at /openapi.json has the routes, fields and statuses of the server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import mdmkit_serve
from mdmkit_serve.fields import CHAT, COMPLETION, problem

SOURCES = Path(mdmkit_serve.__file__).parent


def described(live: Any) -> dict[str, Any]:
    status, found, _ = live.ask("GET", "/openapi.json")
    assert status == 200 and found["openapi"] == "3.1.0"
    return found


def test_it_has_every_route_and_no_other(live: Any) -> None:
    routes = {
        (route.path.replace(":path", ""), method.lower())
        for route in live.app.app.routes
        for method in route.methods - {"HEAD"}
    }
    found = {(path, method) for path, methods in described(live)["paths"].items() for method in methods}
    assert found == routes


def test_it_has_every_field_and_its_limits(live: Any) -> None:
    schemas = described(live)["components"]["schemas"]
    for name, fields in (("Completion", COMPLETION), ("Chat", CHAT)):
        assert set(schemas[name]["properties"]) == set(fields) and schemas[name]["additionalProperties"] is False
    assert schemas["Completion"]["required"] == ["model", "prompt"]
    n = schemas["Completion"]["properties"]["n"]["anyOf"]
    assert n == [COMPLETION["n"], {"type": "null"}]


def test_every_reference_leads_somewhere_and_every_field_is_described(live: Any) -> None:
    found = described(live)
    for path in re.findall(r"'\$ref': '#/([^']+)'", str(found)):
        here: Any = found
        for part in path.split("/"):
            here = here[part]
    for name, schema in {**COMPLETION, **CHAT}.items():
        assert schema.get("description") or name in ("messages", "stream_options", "mdmkit")


def test_every_status_that_the_server_answers_with_is_described(live: Any) -> None:
    source = "".join(file.read_text() for file in SOURCES.glob("*.py") if file.name != "openapi.py")
    raised = {
        int(status)
        for status in re.findall(r"(?:Refusal|Failed)\(\s*(?:[^()]*\([^()]*\))?[^()]*?\b([45]\d\d)\b", source)
    }
    assert {400, 401, 403, 404, 408, 413, 415, 429, 503} <= raised
    known = set(map(int, described(live)["paths"]["/v1/completions"]["post"]["responses"])) - {200}
    assert raised <= known


def test_an_answer_and_an_error_are_as_described(live: Any) -> None:
    """The answer's own fields; `problem` reads the part of JSON schema that requests need."""
    found = described(live)
    answer = found["paths"]["/v1/completions"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    _, done = live.complete(prompt="7*8=", max_tokens=7, mdmkit={"tokens": True})
    assert set(done) == set(answer["properties"])
    choice = answer["properties"]["choices"]["items"]["properties"]
    assert set(done["choices"][0]) == set(choice)
    assert set(done["choices"][0]["mdmkit"]) <= set(found["components"]["schemas"]["Own"]["properties"])
    usage = found["components"]["schemas"]["Usage"]
    assert problem(done["usage"], usage, "usage") is None and set(done["usage"]) == set(usage["properties"])
    _, refused = live.complete(prompt=5)
    assert set(refused["error"]) == set(found["components"]["schemas"]["Error"]["properties"]["error"]["properties"])
