"""The rule that the answers of a request must keep, in the words of OpenAI's API and of vLLM's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mdmkit import MdmkitError, make_part
from mdmkit_serve.refusal import wrong

FIELDS = ("response_format", "guided_regex", "guided_choice", "guided_json", "structured_outputs")
# A request has no field for it.
DEPTH = re.compile(r",? or set constraint\.depth (?:higher|lower)")
FORMATS = ("text", "json_object", "json_schema")


def rule_of(given: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Return the field that asks for a rule, and the rule as a configuration of a constraint part; None: none does.

    Raises:
        Refusal: more than one field does, it does not say what the rule is, or no part can keep it.
    """
    rules = {name: rule for name in FIELDS if name in given and (rule := _read(name, given[name])) is not None}
    if len(rules) > 1:
        first, second = list(rules)[:2]
        raise wrong(f"{first} and {second} both ask for a rule: give one.", second)
    for name, rule in rules.items():
        try:
            # In a thread of its own; the automata of patterns, which take long, are kept for the engine.
            make_part("constraint", rule)
        except MdmkitError as error:
            said = str(error).replace("constraint.schema", name).replace("constraint.of", name)
            said = DEPTH.sub("", said)
            raise wrong(said, name, "invalid_rule") from error
        return name, rule
    return None


def asked_by(body: Any) -> bool:
    """True if a body may ask for a rule, by a field of its own or by a setting of the sampler."""
    if not isinstance(body, dict):
        return False
    own = body.get("mdmkit")
    settings = own.get("set") if isinstance(own, dict) else None
    if isinstance(settings, dict) and any(str(key).startswith("constraint") for key in settings):
        return True
    return any(body.get(field) not in (None, {"type": "text"}) for field in FIELDS)


def _read(name: str, value: Any) -> dict[str, Any] | None:
    if name == "response_format":
        return _of_format(value)
    if name == "structured_outputs":
        kinds = {kind: each for kind, each in value.items() if each is not None}
        if len(kinds) != 1:
            raise wrong("structured_outputs has one of: choice, json, regex.", name)
        kind, value = next(iter(kinds.items()))
        name = f"guided_{kind}"
    if name == "guided_regex":
        return {"name": "regex", "pattern": value}
    if name == "guided_choice":
        return {"name": "choices", "of": value}
    return {"name": "json_schema", "schema": value}


def _of_format(value: Mapping[str, Any]) -> dict[str, Any] | None:
    kind = value["type"]
    if kind not in FORMATS:
        raise wrong(f"response_format.type is {kind!r}, and must be one of: {', '.join(FORMATS)}.", "response_format")
    if kind == "text":
        return None
    if kind == "json_object":
        return {"name": "json_schema", "schema": {"type": "object"}}
    schema = (value.get("json_schema") or {}).get("schema")
    if schema is None:
        raise wrong("response_format.json_schema has no 'schema'.", "response_format")
    return {"name": "json_schema", "schema": schema}
