"""Exceptions of a judged program: a test sees what it would see without a sandbox."""

from __future__ import annotations

import shutil

import pytest

from mdmkit_tasks.judges.sandbox import Limits, run

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed (make system)")

QUICK = Limits(seconds=3)
# The body of a function f that raises; the exception that a test expects; and what holds for it, as `e`.
RAISED = [
    # Subclasses, of Python, of the standard library, and own ones.
    ("import json\njson.loads('x')", "ValueError", "str(e) == 'Expecting value: line 1 column 1 (char 0)'"),
    ("import json\njson.loads('x')", "ValueError", "type(e).__name__ == 'JSONDecodeError' and e.pos == 0"),
    ("import json\njson.loads('x')", "json.JSONDecodeError", "(e.doc, e.msg, e.lineno) == ('x', 'Expecting value', 1)"),
    ("class Odd(ValueError): pass\nraise Odd('no')", "ValueError", "str(e) == 'no' and e.args == ('no',)"),
    ("class Odd(Exception): pass\nraise Odd('no')", "Exception", "type(e).__name__ == 'Odd'"),
    ("class Odd(KeyError, AttributeError): pass\nraise Odd('no')", "AttributeError", "isinstance(e, KeyError)"),
    ("b'\\xff'.decode()", "ValueError", "type(e) is UnicodeDecodeError and (e.start, e.object) == (0, b'\\xff')"),
    ("[][0]", "LookupError", "type(e) is IndexError and str(e) == 'list index out of range'"),
    ("import nothing", "ImportError", "type(e) is ModuleNotFoundError and e.name == 'nothing'"),
    ("import statistics\nstatistics.mean([])", "ValueError", "'at least one' in str(e)"),
    ("from decimal import Decimal as D\nD(1) / D(0)", "ZeroDivisionError", "type(e).__name__ == 'DivisionByZero'"),
    ("int('x')", "ValueError", "type(e) == ValueError and e.__class__ is ValueError"),
    ("eval('1 +')", "SyntaxError", "e.msg == 'invalid syntax' and e.lineno == 1"),
    ("raise AssertionError('no')", "AssertionError", "str(e) == 'no'"),
    ("import sys\nsys.exit(3)", "SystemExit", "e.code == 3"),
    ("raise KeyboardInterrupt", "KeyboardInterrupt", "e.args == ()"),
    ("class Odd(BaseException): pass\nraise Odd", "BaseException", "not isinstance(e, Exception)"),
    # Texts, arguments and attributes.
    ("{}['x']", "KeyError", "str(e) == \"'x'\" and e.args == ('x',)"),
    ("{}[(1, 2)]", "KeyError", "e.args[0] == (1, 2)"),
    ("raise ValueError", "ValueError", "str(e) == '' and e.args == ()"),
    ("raise ValueError(1, 'two', [3], {4})", "ValueError", "e.args == (1, 'two', [3], {4})"),
    ("raise ValueError('x' * 5000)", "ValueError", "str(e) == 'x' * 5000"),
    ("raise ValueError('x' * 200_000)", "ValueError", "str(e) == 'x' * 200_000"),
    ("raise ValueError('x' * 2_000_000)", "ValueError", "str(e) == 'x' * 100_000"),
    ("open('/none')", "OSError", "(e.errno, e.filename) == (2, '/none') and type(e) is FileNotFoundError"),
    ("open('/none')", "FileNotFoundError", "str(e) == \"[Errno 2] No such file or directory: '/none'\""),
    ("raise OSError(13, 'no')", "PermissionError", "e.strerror == 'no' and e.args == (13, 'no')"),
    ("e = ValueError('no')\ne.code = 7\nraise e", "ValueError", "e.code == 7"),
    ("e = ValueError('no')\ne.add_note('why')\nraise e", "ValueError", "e.__notes__ == ['why']"),
    ("raise ValueError(object())", "ValueError", "'object object at' in str(e) and len(e.args) == 1"),
    ("raise ValueError(f)", "ValueError", "callable(e.args[0])"),
    (
        "class Odd(ValueError):\n        def __init__(self, a, b): super().__init__(a); self.b = b\n"
        "        def __str__(self): return f'{self.b}!'\nraise Odd(1, 2)",
        "ValueError",
        "str(e) == '2!' and e.args == (1,) and e.b == 2",
    ),
    ("x = []\nx.append(x)\nraise ValueError('no', x)", "ValueError", "str(e) == \"('no', [[...]])\""),
    # Groups.
    ("raise ExceptionGroup('two', [TypeError('a'), KeyError('b')])", "ExceptionGroup", "e.message == 'two'"),
    (
        "raise ExceptionGroup('two', [TypeError('a'), ExceptionGroup('one', [KeyError('b')])])",
        "Exception",
        "isinstance(e.exceptions[0], TypeError) and e.exceptions[1].exceptions[0].args == ('b',)",
    ),
]


def raising(body: str) -> str:
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"def f():\n{lines}"


@pytest.mark.parametrize(("body", "kind", "holds"), RAISED)
def test_a_test_sees_the_exception_as_it_is(body: str, kind: str, holds: str) -> None:
    tests = f"import json\ntry:\n    f()\nexcept {kind} as e:\n    assert {holds}, repr(e)\nelse:\n    assert False"
    plain: dict[str, object] = {}
    exec(raising(body), plain)
    if "100_000" not in holds:  # what is cut is not as it would be
        exec(tests, plain)
    outcome = run(raising(body), tests, limits=QUICK)
    assert outcome.passed, outcome.why


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("raise ExceptionGroup('g', [TypeError('a')])", "TypeError"),
        ("class Odd(ExceptionGroup): pass\nraise Odd('g', [TypeError('a')])", "TypeError"),
        ("raise UnicodeDecodeError('utf-8', b'x', 0, 1, 'no')", "TypeError"),
        ("import json\njson.loads('x')", "TypeError"),
        ("class Odd(Exception):\n        def __init__(self, a, b): pass\nraise Odd(1, 2)", "TypeError"),
        ("raise type('a.b', (Exception,), {'__module__': 'builtins'})", "ValueError"),
        ("raise type('ValueError', (Exception,), {})", "ValueError"),
        ("raise type('E', (Exception,), {'__str__': None})", "TypeError"),
        ("raise type('E', (Exception,), {})('x' * 10**8)", "ValueError"),
        ("import sys\nsys.exit(0)", "Exception"),
        ("raise Exception", "ValueError"),
    ],
)
def test_another_exception_is_not_taken_for_the_expected_one(body: str, kind: str) -> None:
    tests = f"try:\n    f()\nexcept {kind}:\n    pass\nelse:\n    assert False"
    assert not run(raising(body), tests, limits=QUICK).passed


def test_an_answer_cannot_leave_out_the_tests() -> None:
    tests = (
        "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        assert f() == 1\n"
        "result = unittest.TextTestRunner().run(unittest.TestLoader().loadTestsFromTestCase(T))\n"
        "assert result.wasSuccessful()"
    )
    assert run("def f():\n    return 1", tests, limits=QUICK).passed
    assert not run("import unittest\ndef f():\n    raise unittest.SkipTest", tests, limits=QUICK).passed
