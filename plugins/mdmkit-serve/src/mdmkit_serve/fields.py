"""The fields of a request's body: each with its JSON schema, by which it is checked and described."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mdmkit import LONGEST_ROW, shown, unknown
from mdmkit_serve.refusal import wrong

Schema = dict[str, Any]
TYPES: dict[str, Any] = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "object": dict,
    "array": list,
    "null": type(None),
}
# How types are named in errors.
NAMES = {"string": "a text", "boolean": "true or false", "integer": "a whole number", "number": "a number"}
NAMES |= {"object": "an object", "array": "a list", "null": "null"}

TEXTS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
SCHEMA = {"anyOf": [{"type": "object"}, {"type": "string"}]}
STOPS, ROWS = 16, 128
EXTENSION = {
    "sampler": {"type": "string", "description": "A sampler for this request; null: the server's."},
    "set": {
        "type": "object",
        "description": 'Keys of the sampler\'s configuration, such as {"select.candidates": 4}.',
    },
    "draft": {"type": "boolean", "description": "With stream: send the canvas after each step."},
    "tokens": {"type": "boolean", "description": "Return the token ids of each choice."},
    "infill": {
        "type": "boolean",
        "description": "Fill the masks in the prompt or not. Default: true in a prompt, false in messages.",
    },
    "chat_options": {"type": "object", "description": "Variables of the chat template."},
}
COMMON: dict[str, Schema] = {
    "model": {"type": "string", "description": "The served model, see /v1/models."},
    "max_tokens": {
        "type": "integer",
        "minimum": 1,
        "maximum": LONGEST_ROW,
        "description": "Masks appended to the prompt; the default is in /v1/models.",
    },
    "temperature": {"type": "number", "minimum": 0, "maximum": 100, "description": "draw.temperature of the sampler."},
    "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1, "description": "draw.top_p of the sampler."},
    "n": {"type": "integer", "minimum": 1, "maximum": ROWS, "description": "Choices for each prompt, 1 by default."},
    "seed": {
        "type": "integer",
        "minimum": -(1 << 63),
        "maximum": (1 << 63) - 1,
        "description": "The same seed gives the same tokens. Without one it is random; the answer says which it was.",
    },
    "stop": {
        "anyOf": [{"type": "string", "minLength": 1}, {**TEXTS, "maxItems": STOPS}],
        "description": "Texts before the first of which an answer ends.",
    },
    "stream": {"type": "boolean", "description": "Send text as soon as no later step can change it."},
    "stream_options": {
        "type": "object",
        "properties": {"include_usage": {"type": "boolean"}},
        "additionalProperties": False,
    },
    "guided_regex": {"type": "string", "description": "A regular expression that each answer matches as a whole."},
    "guided_choice": {**TEXTS, "description": "Each answer is one of these texts."},
    "guided_json": {**SCHEMA, "description": "A JSON schema that each answer fits, as an object or as its text."},
    "structured_outputs": {
        "type": "object",
        "properties": {"regex": {"type": "string"}, "choice": TEXTS, "json": SCHEMA},
        "additionalProperties": False,
        "description": "The same as guided_regex, guided_choice or guided_json.",
    },
    "response_format": {
        "type": "object",
        "properties": {
            "type": {"type": "string", "description": "text, json_object or json_schema."},
            "json_schema": {
                "type": "object",
                "properties": {
                    **{name: {"type": "string"} for name in ("name", "description")},
                    "schema": {"type": "object"},
                    "strict": {"type": "boolean", "description": "Read, and without effect: a schema always holds."},
                },
                "additionalProperties": False,
            },
        },
        "required": ["type"],
        "additionalProperties": False,
        "description": "json_object: an object; json_schema: JSON that fits json_schema.schema.",
    },
    "user": {"type": "string", "maxLength": 200, "description": "A name that is written into the access log."},
    "mdmkit": {"type": "object", "properties": EXTENSION, "additionalProperties": False},
}
COMPLETION: dict[str, Schema] = {
    "prompt": {
        "anyOf": [
            {"type": "string"},
            {**TEXTS, "maxItems": ROWS},
            IDS,
            {"type": "array", "items": IDS, "minItems": 1, "maxItems": ROWS},
        ],
        "description": "A text, token ids, or a list of either. Masks in it are filled.",
    },
    **COMMON,
    "suffix": {"type": "string", "description": "Text after the appended masks."},
    "echo": {"type": "boolean", "description": "Return the prompt before the answer."},
    "logprobs": {
        "type": "integer",
        "minimum": 0,
        "maximum": 0,
        "description": "0: log probability of each token at the step that wrote it. There are no further ones.",
    },
}
CHAT: dict[str, Schema] = {
    "messages": {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "properties": {"role": {"type": "string"}, "content": {"anyOf": [{"type": "string"}, {"type": "array"}]}},
            "required": ["role", "content"],
        },
    },
    **COMMON,
    "max_completion_tokens": {**COMMON["max_tokens"], "description": "The same as max_tokens."},
    "logprobs": {"type": "boolean", "description": "Log probability of each token at the step that wrote it."},
    "top_logprobs": {"type": "integer", "minimum": 0, "maximum": 0, "description": "0: there are no further ones."},
}
REQUIRED = {"prompt": COMPLETION, "messages": CHAT}


@dataclass(frozen=True)
class Absent:
    """A field of OpenAI's API that is not here.

    Attributes:
        instead: what to do instead.
        nothing: values that ask for nothing, and are accepted.
    """

    instead: str
    nothing: tuple[Any, ...] = ()


_TOOLS = Absent("this server calls no tools. Leave it out", ([], "none", "auto"))
ABSENT: dict[str, Absent] = {
    **dict.fromkeys(("tools", "tool_choice", "functions", "function_call", "parallel_tool_calls"), _TOOLS),
    "guided_grammar": Absent("the server reads no grammars. Write guided_regex or guided_json"),
    "logit_bias": Absent(
        'write "mdmkit": {"set": {"draw.penalty": {"ID": amount}}}, which is subtracted from a token\'s logit', ({},)
    ),
    "frequency_penalty": Absent('write "mdmkit": {"set": {"draw.repetition_penalty": 1.1}}', (0,)),
    "presence_penalty": Absent('write "mdmkit": {"set": {"draw.repetition_penalty": 1.1}}', (0,)),
    "top_k": Absent('write "mdmkit": {"set": {"draw.top_k": 20}}', (-1, 0)),
    "best_of": Absent('ask for n choices, or write "mdmkit": {"set": {"search": "best_of_n"}}', (1,)),
}


def check(body: Any, fields: Mapping[str, Schema]) -> dict[str, Any]:
    """Return the body's fields that ask for something; a null asks for nothing.

    Raises:
        Refusal: a field is unknown, absent here, missing, of a wrong type, or out of range.
    """
    if not isinstance(body, dict):
        raise wrong(f"the body is a JSON object, and not {shown(body)}.")
    given = {name: value for name, value in body.items() if value is not None}
    for name, value in list(given.items()):
        if name in ABSENT and name not in fields:
            if not any(_same(value, nothing) for nothing in ABSENT[name].nothing):
                raise wrong(f"{name} cannot be given: {ABSENT[name].instead}.", name, "unsupported_parameter")
            del given[name]
        elif name not in fields:
            raise wrong(unknown("field", name, fields, known_as="Accepted"), name, "unknown_parameter")
        else:
            _fits(value, fields[name], name, name)
    missing = [name for name in ("model", *REQUIRED) if name in fields and name not in given]
    if missing:
        raise wrong(f"{missing[0]} is missing: it is {_wanted(fields[missing[0]])}.", missing[0], "missing_parameter")
    return given


def _same(value: Any, nothing: Any) -> bool:
    return value == nothing and isinstance(value, bool) == isinstance(nothing, bool)


def _fits(value: Any, schema: Schema, path: str, param: str) -> None:
    if not (why := problem(value, schema, path)):
        return
    raise wrong(why, param, "invalid_value")


def problem(value: Any, schema: Schema, path: str) -> str | None:
    """What is wrong with a value by its schema, or None."""
    if "anyOf" in schema:
        if any(problem(value, each, path) is None for each in schema["anyOf"]):
            return None
        return f"{path} is {shown(value)}, and must be {_wanted(schema)}."
    kind = schema["type"]
    if not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind in ("integer", "number")):
        return f"{path} is {shown(value)}, and must be {_wanted(schema)}."
    if kind in ("integer", "number"):
        return None if _in_range(value, schema) else f"{path} is {shown(value)}, and must be {_wanted(schema)}."
    if kind in ("string", "array"):
        low, high = ("minLength", "maxLength") if kind == "string" else ("minItems", "maxItems")
        if not schema.get(low, 0) <= len(value) <= schema.get(high, len(value)):
            return f"{path} has {len(value)} {'characters' if kind == 'string' else 'items'}: it is {_wanted(schema)}."
    if kind == "array" and "items" in schema:
        return _first(problem(each, schema["items"], f"{path}[{i}]") for i, each in enumerate(value))
    if kind == "object" and "properties" in schema:
        return _of_object(value, schema, path)
    return None


def _of_object(value: dict[str, Any], schema: Schema, path: str) -> str | None:
    known, given = schema["properties"], {name: each for name, each in value.items() if each is not None}
    if schema.get("additionalProperties") is False:
        for name in given:
            if name not in known:
                return f"{path}: {unknown('key', name, known, known_as='Accepted')}"
    for name in schema.get("required", ()):
        if name not in value:
            return f"{path} has no {name!r}: it is {_wanted(schema)}."
    return _first(problem(each, known[name], f"{path}.{name}") for name, each in given.items() if name in known)


def _first(found: Any) -> str | None:
    return next((each for each in found if each is not None), None)


def _in_range(value: float, schema: Schema) -> bool:
    above = "exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"]
    return above and schema.get("minimum", value) <= value <= schema.get("maximum", value)


def _wanted(schema: Schema) -> str:
    """A schema in words."""
    if "anyOf" in schema:
        return ", or ".join(dict.fromkeys(_wanted(each) for each in schema["anyOf"]))
    kind = schema["type"]
    said = NAMES[kind]
    if kind == "array" and "items" in schema:
        said = f"a list of {_several(schema['items'])}"
        low, high = schema.get("minItems", 0), schema.get("maxItems")
        said += f", {low} to {high} of them" if high else ", at least one" if low else ""
    elif kind == "object" and "required" in schema:
        said = f"an object with {' and '.join(map(repr, schema['required']))}"
    elif kind == "string":
        said += f" of at most {schema['maxLength']} characters" if "maxLength" in schema else ""
        said += " that is not empty" if schema.get("minLength") else ""
    elif kind in ("integer", "number"):
        said += _range(schema)
    return said


def _several(schema: Schema) -> str:
    plural: dict[str, Callable[[], str]] = {
        "string": lambda: "texts",
        "integer": lambda: "token ids",
        "array": lambda: f"lists of {_several(schema['items'])}",
        "object": lambda: "messages, each " + _wanted(schema),
    }
    return plural[schema["type"]]()


def _range(schema: Schema) -> str:
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    if low == high and low is not None:
        return f": {low} is the only one accepted"
    if "exclusiveMinimum" in schema:
        return f" above {low}" + (f" and at most {high}" if high is not None else "")
    return f" from {low} to {high}" if high is not None else f" from {low} on" if low is not None else ""
