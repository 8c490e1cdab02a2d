"""Tests that no answer could fail are told from tests that can fail, without running them."""

from __future__ import annotations

import ast
import re

import pytest

from mdmkit_tasks.judges.failing import can_fail, check_can_fail

# Statements that stand in the body of `check`, or at the top level, where `f` is of the answer.
STATEMENTS = [
    ("assert f(2) == 4", True),
    ("assert True\nassert f(2) == 4", True),
    ("x = f(2)\nassert x == 4, 'wrong'", True),
    ("for x in range(9):\n    assert f(x) == 2 * x", True),
    ("if True:\n    assert f(2) == 4", True),
    ("if f(1):\n    pass\nelse:\n    assert f(2) == 4", True),
    ("while True:\n    assert f(2) == 4\n    break", True),
    ("with open('a') as file:\n    assert f(file) == 4", True),
    ("try:\n    f(-1)\nexcept ValueError:\n    pass\nelse:\n    assert f is None", True),
    ("try:\n    assert f(2) == 4\nexcept ValueError:\n    pass", True),
    ("try:\n    assert f(2) == 4\nexcept Exception as error:\n    raise AssertionError from error", True),
    ("try:\n    f(2)\nfinally:\n    assert f(2) == 4", True),
    ("def test(x):\n    assert f(x) == 2 * x\ntest(2)", True),
    ("def test(x):\n    assert f(x) == 2 * x\nlist(map(test, [1, 2]))", True),
    ("def inner(x):\n    assert f(x)\ndef outer():\n    inner(2)\nouter()", True),
    ("class Test:\n    def one(self):\n        assert f(2) == 4\nTest().one()", True),
    ("async def test():\n    assert f(2) == 4\nimport asyncio\nasyncio.run(test())", True),
    ("match f(2):\n    case x:\n        assert x == 4", True),
    ("assert not (f(2) and False) and f(3)", True),
    # Checks that are no asserts.
    ("if f(2) != 4:\n    raise AssertionError", True),
    ("for x, y in [(1, 2)]:\n    if f(x) != y:\n        raise ValueError(x)", True),
    ("try:\n    f(-1)\nexcept ValueError:\n    pass\nelse:\n    raise AssertionError('no error')", True),
    ("try:\n    f(-1)\n    raise AssertionError('no error')\nexcept ValueError:\n    pass", True),
    ("for x in range(9):\n    if f(x) == 4:\n        break\nelse:\n    raise AssertionError", True),
    ("def fail():\n    raise AssertionError\nif f(2) != 4:\n    fail()", True),
    ("def fail():\n    raise AssertionError\nf(2) == 4 or fail()", True),
    ("def test():\n    if f(2) == 4:\n        return\n    raise AssertionError\ntest()", True),
    ("import sys\nif f(2) != 4:\n    sys.exit(1)", True),
    ("import unittest\nunittest.TestCase().assertEqual(f(2), 4)", True),
    ("import unittest\nwith unittest.TestCase().assertRaises(ValueError):\n    f(-1)", True),
    ("try:\n    if f(2) != 4:\n        raise KeyError\nexcept ValueError:\n    pass", True),
    ("try:\n    if f(2) != 4:\n        raise KeyError\nexcept LookupError:\n    pass", False),
    ("from contextlib import suppress\nwith suppress(AssertionError):\n    assert f(2) == 4", False),
    ("f(2)\nraise AssertionError", False),
    ("f(2)\ndef fail():\n    raise AssertionError\nfail()", False),
    ("try:\n    f(2)\nexcept ValueError:\n    raise", False),  # as if it were not caught
    ("f(2)\nif False:\n    raise AssertionError", False),
    ("import unittest\nf(2)\nunittest.TestCase().assertEqual(1, 1)", False),
    ("import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertTrue(f(2))\nf(3)", False),
    ("f(2)", False),
    ("f(2)\nassert True", False),
    ("f(2)\nassert 'f(2) == 4'", False),
    ("assert 1 == 1, f(2)", False),  # its message decides nothing
    ("assert (f(2) == 4, 'wrong')", False),  # a tuple is true
    ("assert f(2) == 4 or True", False),
    ("assert not (f(2) and False)", False),
    ("f(2)\nassert len([1, 2]) == 2", False),
    ("if False:\n    assert f(2) == 4", False),
    ("if not True:\n    assert f(2) == 4", False),
    ("if 0 and f(1):\n    assert f(2) == 4", False),
    ("if True:\n    f(1)\nelse:\n    assert f(2) == 4", False),
    ("while 0:\n    assert f(2) == 4", False),
    ("for x in []:\n    assert f(x) == 4", False),
    ("if __name__ == '__main__':\n    assert f(2) == 4", False),
    ("for x in range(9):\n    continue\n    assert f(2) == 4", False),
    ("try:\n    assert f(2) == 4\nexcept:\n    pass", False),
    ("try:\n    if f:\n        assert f(2) == 4\nexcept (TypeError, AssertionError):\n    print('wrong')", False),
    ("f(1)\ndef test():\n    assert f(2) == 4", False),
    ("f(1)\ndef one():\n    assert f(2)\n    two()\ndef two():\n    one()", False),
    ("f(1)\nclass Test:\n    def one(self):\n        assert f(2) == 4", False),
]


@pytest.mark.parametrize(("text", "right"), STATEMENTS)
def test_an_assert_that_is_reached_and_open_can_fail(text: str, right: bool) -> None:
    assert can_fail(ast.parse(text)) is right
    body = "".join(f"    {line}\n" for line in text.split("\n"))
    assert check_can_fail(ast.parse(f"def check(f):\n    'Of f.'\n{body}"), "check") is right


FALSE = [
    (re.sub(r"raise AssertionError(\('no error'\))?( from error)?", "assert False, 'why'", text), right)
    for text, right in STATEMENTS
    if "raise AssertionError" in text
]


@pytest.mark.parametrize(("text", "right"), FALSE)
def test_an_assert_that_is_false_is_read_as_a_raise(text: str, right: bool) -> None:
    assert "assert False" in text
    assert can_fail(ast.parse(text)) is right


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("def check(f):\n    assert f(2) == 4", True),
        ("def test(f):\n    assert f(2) == 4\ndef check(f):\n    test(f)", True),
        ("def check(f):\n    pass\ndef check(f):\n    assert f(2) == 4", True),  # the last definition counts
        ("def check(f):\n    assert f(2) == 4\ndef check(f):\n    pass", False),
        ("def check(f):\n    return\n    assert f(2) == 4", False),
        ("def check(f):\n    assert X == 4", False),  # not of the answer
        ("def check():\n    assert f(2) == 4", False),
        # The same for every answer that defines the function.
        ("def check(f):\n    assert f", False),
        ("def check(f):\n    assert f is not None", False),
        ("def check(f):\n    assert not (f is None or not f)", False),
        ("def check(f):\n    assert callable(f) and isinstance(f, object)", False),
        ("def check(f):\n    if f:\n        assert f.__name__ == 'f'", False),
        ("def check(f):\n    x = g(1)\n    assert f and x", False),
        ("def check(f):\n    assert list(map(f, [1])) == [2]", True),
        ("def check(f):\n    g = f\n    assert g(1) == 2", True),
        ("def check(f):\n    assert f.__call__(1) == 2", True),
        ("def check(f):\n    assert f.method(1) == 2", True),
        ("import functools\ndef check(f):\n    assert functools.partial(f, 1)() == 2", True),
        ("def check(f):\n    for g in [f]:\n        assert g(1) == 2", True),
        ("def check(f):\n    assert f is not None and f(1) == 2", True),
        ("def check(f):\n    assert all(f(x) == 2 for x in [1])", True),
        ("def check(f):\n    assert isinstance(f(1), int)", True),
        ("def check(f):\n    with pytest.raises(ValueError):\n        f(1)\n    assert f", True),
        ("async def check(f):\n    assert f(2) == 4", False),  # never awaited
        ("def check(f):\n    yield\n    assert f(2) == 4", False),
        ("class check:\n    def __init__(self, f):\n        assert f(2) == 4", False),
    ],
)
def test_the_function_check_must_run_and_read_the_answer(text: str, right: bool) -> None:
    assert check_can_fail(ast.parse(text), "check") is right


def test_a_function_of_the_answer_may_have_a_name_of_pythons_own() -> None:
    tests = ast.parse("assert sum(10, 15) == 6")
    assert can_fail(tests, ["sum"]) and not can_fail(tests)
