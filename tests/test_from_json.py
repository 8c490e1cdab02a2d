"""JSON in which no object has a key twice."""

from __future__ import annotations

import json

import pytest

from mdmkit.from_json import TwiceError, from_json


@pytest.mark.parametrize("text", ['{"a": 1, "b": {"c": [], "a": 2}}', "[]", '"a"', "{}", '{"": null, " ": null}'])
def test_it_reads_json(text: str) -> None:
    assert from_json(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"a": 1, "a": 1}', "'a'"),
        ('[{"b": {"c": 1, "d": 2, "c": 3}}]', "'c'"),
        ('{"x": 1, "y": 1, "y": 2, "x": 2}', "'x'"),
        ('{"\\u0061": 1, "a": 2}', "'a'"),
        (f'{{"{"k" * 99}": 1, "{"k" * 99}": 2}}', f"'{'k' * 60}'…"),
    ],
)
def test_a_key_that_stands_twice_is_named(text: str, key: str) -> None:
    with pytest.raises(TwiceError, match=f"the key {key} stands twice"):
        from_json(text)


def test_many_keys_take_one_pass() -> None:
    """To count each key among all would take hours here."""
    many = ",".join(f'"{i}": 0' for i in range(300_000))
    with pytest.raises(TwiceError, match="'299999'"):
        from_json(f'{{{many}, "299999": 1}}')
