"""JSON schemas: every text of the automaton is judged by an independent library."""

import json
import random
import re
from datetime import datetime, time
from time import monotonic

import jsonschema
import pytest

from mdmkit import MdmkitError
from mdmkit_constrain.apart import TooSlow, of_pattern
from mdmkit_constrain.json_schema import JsonSchema
from mdmkit_constrain.schemas import numbers

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0, "maximum": 130}},
    "required": ["name"],
    "additionalProperties": False,
}
TREE = {"$defs": {"node": {"type": "object", "properties": {"v": {"type": "null"}, "next": {"$ref": "#/$defs/node"}}}}}
# In the shapes of the standard's own suite of tests, and of those that people give to language models.
SCHEMAS = (
    *(True, {}, {"type": "object"}, {"type": "array"}, {"type": "string"}, {"type": "integer"}, {"type": "number"}),
    *(
        {"type": "null"},
        {"type": "boolean"},
        {"type": ["string", "null"]},
        {"type": ["array", "integer"], "minItems": 1},
    ),
    *({"enum": ["a", 1, None, 'é\n"', {"b": [1.5]}]}, {"type": "string", "enum": ["a", 1, "b.*"]}, {"const": [[], {}]}),
    *({"type": "string", "minLength": 2, "maxLength": 4}, {"minLength": 3}, {"type": "string", "maxLength": 0}),
    *(
        {"pattern": "^[a-c]+$"},
        {"pattern": "a|b"},
        {"pattern": "^(x|y)z"},
        {"pattern": r"\d{2}$"},
        {"pattern": "^.é.$"},
    ),
    *({"format": name} for name in ("date", "time", "date-time", "uuid", "ipv4", "email")),
    *({"type": "integer", "minimum": low, "maximum": high} for low, high in ((0, 9), (-12, 103), (95, 1005), (7, 7))),
    *({"type": "integer", "exclusiveMinimum": 3}, {"type": "integer", "exclusiveMaximum": -0.5, "minimum": -20.5}),
    *({"type": "number", "minimum": 0, "maximum": 1}, {"type": "number", "minimum": -3}, {"maximum": -2}),
    *({"type": "array", "items": {"type": "integer"}}, {"items": {"type": "null"}, "minItems": 2, "maxItems": 3}),
    *({"type": "array", "maxItems": 0}, {"items": {"type": "boolean"}, "minItems": 1}, {"items": False}),
    {"type": "array", "prefixItems": [{"type": "null"}, {"type": "integer"}]},
    {"type": "array", "prefixItems": [{"type": "null"}, {"type": "integer"}], "items": False},
    {"prefixItems": [{"const": 1}, {"const": 2}, {"const": 3}], "items": {"const": 4}, "minItems": 2, "maxItems": 5},
    {"prefixItems": [{"const": 1}, False, {"const": 3}]},
    *(PERSON, {**PERSON, "required": ["name", "age"]}, {**PERSON, "required": []}),
    {"properties": {c: {"type": "null"} for c in "abcde"}, "required": ["b", "d"]},
    {"properties": {"a": False, "b": {"const": 1}}},
    {"properties": {"a": {"type": "null"}}, "required": ["a", "z"], "additionalProperties": {"type": "integer"}},
    {"type": "object", "additionalProperties": {"type": "integer"}},
    *({"type": "object", "additionalProperties": False}, {"type": "object", "properties": {}, "title": "T"}),
    {"type": "object", "properties": {'q"\\/é ': {"type": "boolean"}, "a.b*": {"const": "(x)"}}},
    *({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {"anyOf": [False, {"const": 1}]}),
    {"oneOf": [{"type": "integer"}, {"type": "string"}]},
    {"oneOf": [{"properties": {"k": {"const": k}}, "required": ["k"], "type": "object"} for k in "ab"]},
    {"oneOf": [{"enum": [1, 2]}, {"enum": [3, "x"]}]},
    {"allOf": [PERSON]},
    *({**TREE, "$ref": "#/$defs/node"}, {**TREE, "type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2}),
    {"type": "object", "properties": {"a~/b": {"type": "null"}, "c": {"$ref": "#/properties/a~0~1b"}}},
    {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}, "required": ["children"]},
    {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"$ref": "#"}, "minItems": 1, "maxItems": 2}]},
)


# The library's own check of times needs one more package; Python reads times with a zone by itself.
FORMATS = jsonschema.FormatChecker(("date", "email", "ipv4", "uuid"))
FORMATS.checkers = {
    **FORMATS.checkers,
    "date-time": (datetime.fromisoformat, ValueError),
    "time": (time.fromisoformat, ValueError),
}


def texts(automaton, rng, most=120):
    """Texts of the automaton: random ways, which turn to the nearest end after some bytes."""
    after = [[(b, s) for b, s in enumerate(row) if s != automaton.dead] for row in automaton.moves.tolist()]
    far = {s: 0 for s in range(len(after)) if automaton.final[s]}
    for distance in range(1, len(after)):
        near = [s for s, row in enumerate(after) if s not in far and any(t in far for _, t in row)]
        far |= dict.fromkeys(near, distance)
    for _ in range(most):
        state, text, length = 0, b"", rng.choice((0, 10, 40, 120))
        while not (automaton.final[state] and (len(text) >= length or rng.random() < 0.2)):
            ways = [(b, t) for b, t in after[state] if t in far]
            if len(text) >= length:
                ways = [way for way in ways if far[way[1]] == far[state] - 1]
            if not ways:
                break
            byte, state = rng.choice(ways)
            text += bytes([byte])
        yield text.decode()


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda s: json.dumps(s)[:60])
def test_every_text_fits_the_schema(schema):
    judge = jsonschema.Draft202012Validator(schema, format_checker=FORMATS)
    rng, found = random.Random(0), set()
    for text in texts(of_pattern(JsonSchema(schema).pattern), rng):
        found.add(text)
        judge.validate(json.loads(text))
    assert found


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda s: json.dumps(s)[:60])
def test_a_planted_fault_is_seen(schema):
    """What fits no schema here is not accepted; neither is a text with more behind it."""
    automaton = of_pattern(JsonSchema(schema).pattern)
    rng = random.Random(1)
    for text in texts(automaton, rng, 20):
        assert automaton.accepts(text) and not automaton.accepts(text + "]") and not automaton.accepts("\n" + text)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (PERSON, '{"name": "Ann", "age": 7}'),
        (PERSON, '{"name":"Ann"}'),
        ({}, '{"a": [1, true], "b": null}'),
        ({"type": "object"}, "{}"),
        ({"type": "number"}, "-0.5e+3"),
        ({"type": "string"}, r'"a\n\"é"'),
        ({"enum": ["a b"]}, '"a b"'),
        ({"pattern": "b"}, '"abc"'),
        ({"type": "number", "minimum": -1, "maximum": 1}, "-0.75"),
        ({**TREE, "$ref": "#/$defs/node"}, '{"v": null, "next": {"v":null}}'),
    ],
)
def test_what_people_mean_is_accepted(schema, text):
    assert of_pattern(JsonSchema(schema, depth=2).pattern).accepts(text)
    assert JsonSchema(json.dumps(schema), depth=2).pattern == JsonSchema(schema, depth=2).pattern


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"not": {}}, "constraint.schema has 'not', which is not supported: say what a value is"),
        ({"properties": {"a": {"if": {}}}}, "constraint.schema.properties.a has 'if'"),
        ({"proprties": {}}, "unknown word at constraint.schema: 'proprties'. Did you mean 'properties'?"),
        ({"type": "int"}, "unknown type at constraint.schema: 'int'. Did you mean 'integer'?"),
        ({"type": ["string", 3]}, "unknown type at constraint.schema: '3'"),
        ({"format": "hostname"}, "unknown format at constraint.schema: 'hostname'"),
        ({"minLength": "3"}, "constraint.schema.minLength is '3', and must be a whole number"),
        ({"minLength": -1}, "constraint.schema.minLength is -1"),
        ({"minItems": True}, "constraint.schema.minItems is True"),
        ({"items": [{}]}, "constraint.schema.items is [{}], and must be a schema"),
        ({"items": 3}, "constraint.schema.items is 3, and must be a schema"),
        (3, "is 3: a schema is an object"),
        ({"anyOf": []}, "constraint.schema.anyOf is empty"),
        ({"anyOf": [3]}, "constraint.schema.anyOf.0 is 3: a schema is"),
        ({"anyOf": [{}], "type": "string"}, "has 'type' beside 'anyOf'"),
        ({"enum": [1], "minimum": 0}, "has 'minimum' beside 'enum'"),
        ({"allOf": [{}, {}]}, "constraint.schema.allOf has several schemas"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "a value may fit schema 0 and schema 1"),
        ({"oneOf": [{"const": 1}, {"const": 1.0}]}, "a value may fit schema 0 and schema 1"),
        ({"oneOf": [{"properties": {"a": {}}}, {"type": "null"}]}, "a value may fit schema 0 and schema 1"),
        ({"$ref": "#/$defs/x"}, "$ref is '#/$defs/x', and nothing in the schema has this name"),
        ({"$ref": "http://example.org/x"}, "and nothing in the schema has this name"),
        ({"$ref": "#"}, "no value of depth 2 fits"),
        ({"enum": []}, "no value of depth 2 fits"),
        (False, "no value of depth 2 fits"),
        ({"minLength": 3, "maxLength": 2}, "no value of depth 2 fits"),
        ({"properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "no value of depth 2 fits"),
        ({"required": ["a"], "additionalProperties": False, "properties": {}}, "no value of depth 2 fits"),
        ({"required": [1]}, "constraint.schema.required is [1], and must be a list of names"),
        ({"type": "integer", "minimum": 2, "maximum": 1}, "no value of depth 2 fits"),
        ({"minimum": 0.5}, "constraint.schema.minimum is 0.5: only whole bounds"),
        ({"exclusiveMaximum": 1}, "'exclusiveMaximum', which is supported for type integer only: write maximum"),
        ({"minimum": float("nan")}, "constraint.schema.minimum is nan"),
        ({"pattern": "^a|b$"}, "put what | separates in brackets"),
        ({"pattern": "[^a]"}, "also allows the character"),
        ({"pattern": "("}, "constraint.schema.pattern is '('"),
        ({"pattern": "a", "minLength": 2}, "has pattern and minLength together"),
        ({"uniqueItems": True}, "has 'uniqueItems', which is not supported"),
        (
            {
                "$defs": {c: {"items": {"anyOf": [{"$ref": f"#/$defs/{d}"} for d in "abcdef"]}} for c in "abcdef"},
                "$ref": "#/$defs/a",
            },
            "unfolds to more than",
        ),
        ("{", "which is no JSON"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(schema, said):
    with pytest.raises(MdmkitError, match=re.escape(said)):
        JsonSchema(schema)


def test_a_depth_below_zero_is_refused():
    with pytest.raises(MdmkitError, match=r"constraint\.depth is -1"):
        JsonSchema({}, depth=-1)


def test_numbers_between_bounds_are_all_there():
    rng = random.Random(0)
    bounds = [None, *range(-12, 13), *(rng.randint(-1200, 1200) for _ in range(40))]
    for _ in range(150):
        low, high = rng.choice(bounds), rng.choice(bounds)
        pattern = numbers.between(low, high)
        found = {n for n in range(-1300, 1301) if pattern and re.fullmatch(pattern, str(n))}
        assert found == {n for n in range(-1300, 1301) if (low is None or n >= low) and (high is None or n <= high)}
        assert not (pattern and any(re.fullmatch(pattern, text) for text in ("-0", "01", "", "-", "1.0")))


def test_numbers_with_a_fraction_between_bounds_are_all_there():
    rng = random.Random(0)
    for _ in range(150):
        low, high = (rng.choice([None, *range(-12, 13)]) for _ in range(2))
        pattern = numbers.parted(low, high)
        for n in range(-1300, 1301):
            text = f"{n / 100:.2f}"
            found = bool(pattern and re.fullmatch(pattern, text))
            # A bound itself is written without a fraction, at least on one side.
            at_bound = n in (100 * x for x in (low, high) if x is not None)
            fits = (low is None or n >= 100 * low) and (high is None or n <= 100 * high)
            assert found == fits or (at_bound and not found), (low, high, text)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"properties": {"x": {"$ref": "#num"}}, "$defs": {"n": {"$anchor": "num"}}}, "$ref is '#num', and nothing"),
        ({"type": "array", "unevaluatedItems": False}, "has 'unevaluatedItems'"),
        ({"type": "object", "unevaluatedProperties": False}, "has 'unevaluatedProperties'"),
        ({"type": "object", "propertyNames": False}, "has 'propertyNames'"),
        ({"type": "array", "contains": False}, "has 'contains'"),
        ({"properties": {"a": {"$id": "x", "type": "null"}}}, "constraint.schema.properties.a has a '$id' of its own"),
        ({"type": []}, "constraint.schema.type is []"),
    ],
)
def test_what_would_be_read_in_another_way_is_refused(schema, said):
    with pytest.raises(MdmkitError, match=re.escape(said)):
        JsonSchema(schema)


def test_bounds_beyond_floating_point_and_words_that_ask_for_nothing():
    big = 10**400
    assert of_pattern(JsonSchema({"type": "integer", "minimum": big, "maximum": big}).pattern).accepts(str(big))
    assert JsonSchema({"type": "array", "uniqueItems": False, "$id": "root"}).pattern


def test_a_schema_that_is_too_large_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr("mdmkit_constrain.schemas.members.LONGEST", 500)
    with pytest.raises(MdmkitError, match=r"constraint\.schema is too large: .* or set constraint\.depth lower"):
        JsonSchema({"type": "object"}, depth=2)


def test_a_schema_whose_pattern_takes_too_long_is_told_what_to_do(monkeypatch):
    def slow(pattern):
        raise TooSlow("it takes long.")

    monkeypatch.setattr("mdmkit_constrain.json_schema.of_pattern", slow)
    with pytest.raises(MdmkitError, match=r"constraint\.schema is too large: .* or set constraint\.depth lower"):
        JsonSchema({"type": "object"})


def _nested(levels, around):
    schema = {"type": "integer"}
    for _ in range(levels):
        schema = around(schema)
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        _nested(50, lambda s: {"type": "array", "items": s}),
        _nested(50, lambda s: {"items": s}),
        _nested(40, lambda s: {"type": "array", "items": s, "minItems": 3, "maxItems": 9}),
        {"properties": {f"p{i}": {"type": "string"} for i in range(1900)}, "type": "object"},
        {"enum": [str(i) for i in range(60_000)]},
        {"properties": {f"p{i}": _nested(10, lambda s: {"items": s}) for i in range(100)}, "type": "object"},
    ],
)
def test_a_pattern_that_would_be_too_long_is_refused_before_it_is_made(schema):
    """Each level of arrays doubles it: 50 levels would take all memory."""
    began = monotonic()
    with pytest.raises(MdmkitError, match="has more than 200,000 characters"):
        JsonSchema(schema)
    assert monotonic() - began < 5, "it was made"


def test_thousands_of_schemas_of_which_one_may_hold():
    began = monotonic()
    assert "7" in JsonSchema({"oneOf": [{"const": i} for i in range(1500)]}).pattern
    with pytest.raises(MdmkitError, match="may fit schema 3 and schema 1500 "):
        JsonSchema({"oneOf": [{"const": i} for i in range(1500)] + [{"const": 3.0}]})
    assert monotonic() - began < 10, "each was compared with all others"
