"""Answers that are programs: found in what a model wrote, and judged by their tests alone."""

from __future__ import annotations

import shutil
import textwrap

import pytest

from mdmkit_tasks.judges.code import name_under_test, passes, program
from mdmkit_tasks.judges.sandbox import Limits

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed (make system)")

QUICK = Limits(seconds=2)
HEAD = 'from typing import List\n\n\ndef add(a: int, b: int) -> int:\n    """Add two numbers."""\n'
TESTS = ["assert add(1, 2) == 3", "assert add(-1, 1) == 0"]

PLUS, USES = "def plus(a, b):\n    return a + b", "def add(a, b):\n    return plus(a, b)"

SHOWN = 'def add(a, b):\n    """Add.\n\n    ```\n    add(1, 2)\n    ```\n    """\n    return a + b'
FLUSH = 'def add(a, b):\n    """Add.\n```\nadd(1, 2)\n```\n"""\n    return a + b'


def quoted(text: str) -> str:
    return "".join(f"> {line}".rstrip() + "\n" for line in text.split("\n"))


ADDS = "def add(a, b):\n    return a + b"
CACHED = "def add(a, b):\n    return cache.setdefault((a, b), a + b)"
WITH_N = "def add(a, b):\n    return a + b + N"


def fenced(*blocks: str) -> str:
    return "".join(f"So:\n```python\n{block}\n```\n" for block in blocks)


# A decorated class or function stands before the function, and needs lines before itself.
DECORATED = [
    "from dataclasses import dataclass\n\n@dataclass\nclass P:\n    x: int\n\n"
    "def add(a, b):\n    return P(a).x + b",
    "from dataclasses import dataclass\n\nN = 0\n\n"
    "@dataclass(\n    frozen=True,\n)\n# A point.\nclass P:\n    x: int\n\n\n"
    "def add(a, b):\n    return P(a).x + b + N",
    "from functools import lru_cache\n"
    "@lru_cache(None)\ndef fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\n"
    "def add(a, b):\n    return a + b + fib(90) - fib(89) - fib(88)",
    "import contextlib\nN = 1\n\n@contextlib.contextmanager\ndef one():\n    yield N\n\n"
    "def add(a, b):\n    with one() as n:\n        return a + b + n - 1",
    "import functools\n\ndef same(f):\n    return f\n\n"
    "@same\n@functools.cache\nasync def nothing():\n    return 0\n\n@same\n"
    + ADDS,
]  # fmt: skip
# Whole programs, with all that the function needs.
WHOLE = [
    # Lines before the function, without a fence.
    f"cache={{}}\n{CACHED}",
    f"cache = {{}}\n\n{CACHED}",
    f"x, y = 0, 2\n{ADDS} + x + y - 2",
    f"table = []\nfor i in range(3):\n    table.append(i)\n\n{ADDS} + table[0]",
    f"for N in range(1):\n    pass\n{WITH_N}",
    f"if True:\n    N = 0\nelse:\n    N = 1\n{WITH_N}",
    '"""Adds numbers."""\n' + ADDS,
    '"""\nAdds: it\'s easy.\n"""\nN = 0\n' + WITH_N,
    f"# Adds.\nN = 0  # zero\n{WITH_N}",
    f"try:\n    from math import nothing\nexcept ImportError:\n    N = 0\n\n{WITH_N}",
    f"import contextlib\nwith contextlib.suppress(KeyError):\n    N = 0\n{WITH_N}",
    f"TABLE = {{\n    1: 0,\n    2: 1,\n}}\n{ADDS} + TABLE[1]",
    f"N: int = 0\n{WITH_N}",
    f"n = 1\nn -= 1\n{ADDS} + n",
    f"Here's the code:\n\ncache={{}}\n{CACHED}",
    f"Sure\n\ncache={{}}\n{CACHED}",
    f"Answer: code\ncache={{}}\n{CACHED}",
    f"cache={{}}\n{CACHED}\n\nThat's it!",
    f"cache={{}}\n{CACHED}\n\nDone",
    f"import sys\nsys.setrecursionlimit(5000)\ncache={{}}\n{CACHED}",
    f"import functools\n\n@functools.lru_cache(\n    maxsize=None,\n)\n{ADDS}",
    f"def twice(f):\n    return f\n\n@twice\n{ADDS}",
    f"def add(a, b):\n    return a - b\n\nNo, that's wrong.\n\n{ADDS}",
    f"{ADDS}\n\nNo, let me try again.\n\ndef add(a, b):\n    return (",
    "z=0\nadd = lambda a, b: a + b + z",
    "class Adder:\n    zero = 0\n    def add(self, a, b):\n        return a + b\nadder=Adder()\nadd = adder.add",
    "It's a line.\n" * 150 + f"cache={{}}\n{CACHED}",
    "count=0\ndef add(a, b):\n    global count\n    count += 1\n    return a + b",
    f"assert True\nN=0\n{WITH_N}",
    f"N=1\ndel N\nN=0\n{WITH_N}",
    f"N=0\n{WITH_N}\n\nif __name__ == '__main__':\n    print(add(1, 2))",
    'TEXT = """\nIt\'s\n"""\n' + ADDS + " + len(TEXT) - 6",
    # Decorated definitions before the function, with and without prose around.
    *DECORATED,
    *(f"It's code:\n\n{answer}\n\nThat's it!" for answer in DECORATED),
    "N = 0\n" + "def helper():\n" + "    x = 1\n" * 150 + WITH_N,  # one long statement
    "It's a class.\n\nN = 0\nclass Long:\n" + "    x = 1\n" * 300 + WITH_N + "\n\nThat's it!",
    # Blocks before and after the one with the function.
    fenced("x,y=2,0", f"{ADDS} + y"),
    fenced("N: int = 0", WITH_N),
    fenced("N = 1", "N -= 1", WITH_N),
    fenced("N=3\nfor _ in range(3):\n    N -= 1", WITH_N),
    fenced(
        "try:\n    import operator as o\nexcept ImportError:\n    o = None", "def add(a, b):\n    return o.add(a, b)"
    ),
    fenced("from operator import *\nplus = add", "def add(a, b):\n    return plus(a, b)"),
    fenced("t = []", "t.append(0)", f"{ADDS} + t[0]"),
    fenced("def plus(a, b):\n    return a + b\nprint(add(1, 2))", "def add(a, b):\n    return plus(a, b)"),
    fenced("n = int(input())\nprint(n)", ADDS),
    fenced("import numpy as np\nN = 0", WITH_N),
    fenced(WITH_N, "N, M = 0, 1"),
    fenced("def add(a, b):\n    return plus(a, b)", "def plus(a, b):\n    return a + b + N", "N = 0"),
    f"```python\nN = 0\n```\n```\n3\n```\n```python\n{WITH_N}\n```\n",
    fenced("(N := 0)", WITH_N),
    fenced("import io\nwith io.StringIO('0') as file:\n    N = int(file.read())", WITH_N),
    fenced(
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    n: int", "def add(a, b):\n    return P(a).n + b"
    ),
    fenced(
        "from __future__ import annotations\ndef plus(a: Nothing, b):\n    return a + b",
        "def add(a, b):\n    return plus(a, b)",
    ),
    fenced(ADDS, "while True:\n    pass"),
    fenced("while True:\n    pass", ADDS),  # nothing of it is needed
    fenced("int = 0", ADDS + " + int(0)"),
    fenced("N = 0", "def helper():\n    N = 5\n    return N", f"{WITH_N} + helper() - 5"),
    fenced("N = 0", f"{WITH_N} + helper() - 5\ndef helper():\n    N = 5\n    return N"),
    fenced("N = 1", f"N -= 1\n{WITH_N}"),
    fenced("count = 0", "def add(a, b):\n    global count\n    count += 1\n    return a + b"),
]
# Programs that are wrong, or end before the function is there.
WRONG = [
    fenced("import os\nos._exit(0)", "def add(a, b):\n    return 0"),
    "cache={}\ndef add(a, b):\n    return a - b",
    fenced(ADDS, "def add(a, b):\n    return a - b"),
    f"N = 1 / 0\n{ADDS}",
    "Sure\n\nDone",
    fenced(f"N = 1 / 0\n{ADDS}"),
    fenced("import builtins\nbuiltins.AssertionError = ValueError", "def add(a, b):\n    return 0"),
]

# Answers to "complete this function", with the head above known.
ANSWERS = [
    ("    return a + b", True),
    ("    return a + b\n", True),
    ("\n    return a + b", True),
    ("return a + b", True),
    ("    return a - b", False),
    ("    return a + b\n\n\ndef main():\n    print(add(1", True),  # runs on, and is cut at the next definition
    ("    return a + b\n\nif __name__ == '__main__':\n    add(", True),
    ("    return a + b\n\nprint(add(1, 2", True),
    ("    return a + b\n\nThis adds the numbers.", True),
    ("```python\ndef add(a, b):\n    return a + b\n```", True),
    ("```\ndef add(a, b):\n    return a + b\n```", True),
    ("```py\ndef add(a, b):\n    return a + b\n```\nIt adds.", True),
    ("Sure!\n```python\ndef add(a, b):\n    return a + b", True),  # the fence never closes
    ("```python\ndef add(a, b):\n    return a - b\n```\nNo:\n```python\ndef add(a, b):\n    return a + b\n```", True),
    ("```python\ndef add(a, b):\n    return a + b\n```\nUse it:\n```python\nprint(add(1, 2))\n```", True),
    ("```python\n    return a + b\n```", True),
    ("def add(a, b):\n    return a + b", True),
    ("Here it is.\n\ndef add(a, b):\n    return a + b\n\nI hope that this helps!", True),
    ("def plus(a, b):\n    return a + b\n\ndef add(a, b):\n    return plus(a, b)", True),
    ("import operator\n\ndef add(a, b):\n    return operator.add(a, b)", True),
    ("def add(a: List[int], b: int) -> int:\n    return a + b", True),  # the head's import still holds
    ("```python\nclass A:\n    def add(self, a, b):\n        return a + b\n```", False),
    ("    pass", False),
    ("", False),
    ("    return a +", False),
    ("    import sys\n    sys.exit(0)", False),  # ends well, before any assert
    ("    import os\n    os._exit(0)", False),
    ("    raise SystemExit", False),
    ("    import sys\n    print('warning', file=sys.stderr)\n    return a + b", True),
    ("    import warnings\n    warnings.warn('old')\n    return a + b", True),
    ("    print('adding')\n    return a + b", True),
    ("    return str(a + b)", False),
    ("    return float(a + b)", True),
    ("    while True: pass", False),
    ("    return add(a, b)", False),
    ("    x = input()\n    return a + b", False),  # nothing is there to be read
    # A fence that closes a block which was never opened.
    ("    return a + b\n```\n\nThis adds two numbers.", True),
    ("    return a + b\n```\nUse it:\n```python\nprint(add(1, 2))\n```", True),
    ("def add(a, b):\n    return a + b\n```\nIt adds.", True),
    ("Sure\n```\ndef add(a, b):\n    return a + b\n```", True),  # a word is an expression, but no body
    # Helpers before and after a body.
    ("    return plus(a, b)\n\n\ndef plus(a, b):\n    return a + b", True),
    ("    return plus(a, b)\n\n\ndef plus(a, b):\n    return a + b\n\nIt adds.", True),
    (f"```python\n{PLUS}\n```\nThe body is\n```python\n    return plus(a, b)\n```", True),
    # Fences as models write them.
    ("```python3.11\ndef add(a, b):\n    return a + b\n```", True),
    ("``` {.python .numberLines}\ndef add(a, b):\n    return a + b\n```", True),
    ('```python title="add.py"\ndef add(a, b):\n    return a + b\n```', True),
    ("~~~Python\ndef add(a, b):\n    return a + b\n~~~", True),
    ("````\ndef add(a, b):\n    return a + b\n````", True),
    ("1. The function:\n\n   ```python\n   def add(a, b):\n       return a + b\n   ```\n2. Done.", True),
    ("```bash\npip install add\n```\n```python\ndef add(a, b):\n    return a + b\n```", True),
    ("```python\ndef add(a, b):\n    return a + b\n```\nIn Java:\n```java\nint add(int a);\n```", True),
    (f"```python\n{PLUS}\n```\nand\n```python\n{USES}\n```", True),
    (f"```python\n{USES}\n```\nwith\n```python\n{PLUS}\n```", True),
    (f"```python\nimport operator as o\n```\n```python\nplus = o.add\n```\n```python\n{USES}\n```", True),
    ("```python\nimport nothing\nadd(\n```\nNo:\n```python\ndef add(a, b):\n    return a + b\n```", True),
    ("```python\nraise SystemExit\n```\nNo:\n```python\ndef add(a, b):\n    return a + b\n```", True),
    # Fences inside a string of the program.
    (f"```python\n{SHOWN}\n```\nIt adds.", True),
    (f"```python\n{SHOWN}\n```\nUse it:\n```python\nprint(add(1, 2))\n```", True),
    (f"```python\n{SHOWN}\n```\nNo:\n```python\ndef add(a, b):\n    return a - b\n```", False),
    (f"```python\n{SHOWN}", True),
    (SHOWN, True),
    (f"```python\n{FLUSH}\n```\nIt adds.", True),
    (FLUSH.partition("\n")[2], True),
    (f"1. So:\n\n   ```python\n{textwrap.indent(SHOWN, '   ')}\n   ```", True),
    (f"```python\n{SHOWN.replace('```', '~~~')}\n```", True),
    (f"```python\n{SHOWN}\n\n\n{SHOWN.replace('add', 'sub')}\n```\nTwo.", True),
    ('```python\ndef add(a, b):\n    """Adds\n```\nNo:\n```python\ndef add(a, b):\n    return a + b\n```', True),
    (f'```python\ndef add(a, b):\n    """Adds\n```\nNo:\n```python\n{SHOWN}\n```', True),
    # Quotations, sessions of a shell, cells of a notebook.
    (quoted(f"```python\n{ADDS}\n```"), True),
    (f"Sure:\n\n{quoted(f'So:{chr(10)}~~~{chr(10)}{SHOWN}{chr(10)}~~~')}\n\nIt adds.", True),
    (quoted("```python\ndef add(a, b):\n    return a - b\n```"), False),
    ("```python\ndef add(a, b):\n    return (a + b\n> 0)\n```", False),
    ("```pycon\n>>> def add(a, b):\n...     return a + b\n...\n>>> add(1, 2)\n3\n```", True),
    ("```python\n>>> from operator import add as plus\n>>> def add(a, b):\n...     return plus(a, b)\n```", True),
    ("```pycon\n>>> def add(a, b):\n...     return a - b\n>>> add(1, 2)\n3\n```", False),
    ("Such as\n```\n>>> r = add(1, 2)\n>>> r\n3\n```\nSo:\n```python\n    return a + b\n```", True),
    ("```python\n!pip install numpy\n\ndef add(a, b):\n    return a + b\n```", True),
    (
        "```python\n%matplotlib inline\nfrom __future__ import annotations\ndef add(a: A, b):\n    return a + b\n```",
        True,
    ),
    (
        "```python\n%%time\nN = 0\n!pip install \\\n  numpy\n"
        "def add(a, b):\n    return a + b + N\n%timeit add(1, 2)\n```",
        True,
    ),
    ("```python\nif False:\n    !pip install numpy\ndef add(a, b):\n    return a + b\n```", True),
    ("```python\ndef add(a, b):\n    return (a + b\n% 100)\n```", True),
    ("```python\n!pip install numpy\ndef add(a, b):\n    return a - b\n```", False),
    (
        '```python\ndef add(a, b):\n    """\n!no\n%time\n"""\n'
        '    return a + b * (add.__doc__ == "\\n!no\\n%time\\n")\n```',
        True,
    ),
    # Text after the program.
    ("    return a + b<|endoftext|>def add(", True),
    ("def add(a, b):\n    return a + b</s>", True),
    ("\treturn a + b\n\nExplanation: it adds", True),
    ("    return a + b\n\n**Note** that it's quick.", True),
    ("    if a:\n        return a -\n\n**Note** that it's quick.", False),
    # Indents as an editor shows them.
    ("\ufeff```python\ndef add(a, b):\n    return a + b\n```", True),
    ("```python\n\ufeffdef add(a, b):\n    return a + b\n```", True),
    ("\ufeffdef add(a, b):\n    return a + b", True),
    ("\u200bdef add(a, b):\n\u200b    return a + b", True),
    ("```python\ndef add(a, b):\n\xa0\xa0\xa0\xa0return a + b\n```", True),
    ("\xa0\xa0\xa0\xa0return a + b", True),
    ("def add(a, b):\n\xa0 \xa0 if a:\n\xa0 \xa0 \xa0 \xa0 return a + b\n    return b", True),
    ("\xa0```python\n\xa0def add(a, b):\n\xa0    return a + b\n\xa0```", True),
    ("def add(a, b):\n\xa0\xa0return a - b", False),
    ("def add(a, b):\n    return\xa0a\u2009+\xa0b", True),
    ("```python\ndef\xa0add(a,\xa0b):\n    return a +\xa0b\n```", True),
    ("    return a\xa0+ b  # it's\xa0a sum", True),
    ("def add(a, b):\n    if '\xa0' ==\xa0'\\xa0' and \"it's \xa0\"[-1] != ' ':\n        return a + b", True),
    ("def add(a, b):\n    if '\xa0' ==\xa0' ':\n        return a + b", False),
    ('def add(a, b):\n    if """\n\xa0""" == "\\n\\xa0":\n        return a + b', True),  # in a string it is kept
    # The fields of an f-string are code, and the rest of it is a string.
    ("    return int(f'{a\xa0+ b}')", True),
    ("    return int(f\"{(a, b)[0]\xa0+\u2003{'\xa0': b}['\xa0']}\")", True),
    ("    return a +\xa0b if f'\xa0{{\xa0}}{1\xa0:\xa0>{2\xa0}}' == ' {{ }}  1'.replace(' ', '\\xa0') else 0", False),
    ("    return a +\xa0b if f'\xa0{{\xa0}}{1\xa0:\xa0>{2\xa0}}' == '\\xa0{\\xa0}\\xa01' else 0", True),
    ('    if """\n\xa0\xa0x""" ==\xa0"\\n\\xa0\\xa0x":\n        return a + b', True),
    # What a program does when it is started by itself.
    (
        "```python\ndef add(a, b):\n    return a + b\n\nif __name__ == '__main__':\n    add(int(input()), 1)\n```",
        True,
    ),
    ("```python\nfrom __future__ import annotations\n\ndef add(a: int, b: int) -> int:\n    return a + b\n```", True),
    ("\treturn a + b", True),
    ("\tif a:\n\t\treturn a + b\n\treturn b", True),
    ("```python\ndef add(a, b):\n\treturn a + b\n```", True),
    ("```python\nadd = lambda a, b: a + b\n```", True),
    ("```python\nclass Adder:\n    def add(self, a, b):\n        return a + b\n\nadd = Adder().add\n```", True),
]


@pytest.mark.parametrize(("answer", "right"), ANSWERS)
def test_humaneval(answer: str, right: bool) -> None:
    outcome = passes(answer, "add", TESTS, HEAD, QUICK)
    assert outcome.passed is right, (program(answer, "add", HEAD), outcome.why)


@pytest.mark.parametrize("prompt", ["", HEAD], ids=["alone", "completed"])
@pytest.mark.parametrize(("answer", "right"), [*((a, True) for a in WHOLE), *((a, False) for a in WRONG)])
def test_a_whole_program(answer: str, right: bool, prompt: str) -> None:
    outcome = passes(answer, "add", TESTS, prompt, QUICK)
    assert outcome.passed is right, (program(answer, "add", prompt), outcome.why)


def test_the_table_is_long_enough() -> None:
    assert len(ANSWERS) >= 90 and len(WHOLE) >= 50


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("def add(a, b):\n    return a + b\n[DONE]\n\nNext: def add(", True),
        ("[BEGIN]\ndef add(a, b):\n    return a + b\n[DONE]", True),
        ("```python\ndef add(a, b):\n    return a + b\n```", True),
        ("add = lambda a, b: a + b", True),
        ("def plus(a, b):\n    return a + b", False),
        ("def add(a, b):\n    return a + b\n```\n\nThis adds two numbers.", True),
        ("[BEGIN]\n```python\ndef add(a, b):\n    return a + b\n```\n[DONE]", True),
        ("", False),
        ("It is a class.\n\nclass add:\n    def __new__(cls, a, b):\n        return a + b\n\nDone.", True),
    ],
)
def test_mbpp(answer: str, right: bool) -> None:
    assert passes(answer, "add", TESTS, limits=QUICK).passed is right


def test_the_function_that_asserts_are_about() -> None:
    assert name_under_test(["assert set(similar((3, 4))) == set([4])"]) == "similar"
    assert name_under_test(["import math", "assert math.isclose(area(3), 9)"]) == "area"
    assert name_under_test(["assert sum(10, 15) == 6"]) == "sum"  # a name of Python's own that the answer defines
    assert name_under_test(["assert functools.partial(area, 3)() == 9"], ["import functools"]) == "area"
    assert name_under_test(["assert partial(area, 3)() == 9"], ["from functools import partial"]) == "area"
    assert name_under_test(["assert area.__call__(3) == 9"]) == name_under_test(["assert area.of(3) == 9"]) == "area"
    assert name_under_test(["def test():\n    assert area(3) == 9", "test()"]) == "area"
    assert name_under_test(["assert area.__name__ == 'area'"]) == ""


@pytest.mark.parametrize("name", ["bisect", "token", "copy", "statistics"])
def test_a_function_may_have_the_name_of_a_module(name: str) -> None:
    tests = ["import math", f"assert math.isclose({name}(2), 4)"]
    assert name_under_test(tests) == name
    assert passes(f"def {name}(x):\n    return 2 * x", name, tests, limits=QUICK).passed
    assert not passes(f"def {name}(x):\n    return x", name, tests, limits=QUICK).passed


@pytest.mark.parametrize("call", ["turn(x)", "turn(items=x)", "turn(*[], **{'items': x})"])
def test_an_argument_that_the_answer_changes_is_changed_for_the_tests(call: str) -> None:
    tests = f"x = [1, 3, 2]\n{call}\nassert x == [2, 3, 1]"
    assert passes("def turn(items):\n    items.reverse()", "turn", tests, limits=QUICK).passed
    assert not passes("def turn(items):\n    items = items[::-1]", "turn", tests, limits=QUICK).passed


def test_the_helpers_of_a_prompt_are_there_for_the_answer_and_for_the_tests() -> None:
    prompt = 'def code(x):\n    return x + 1\n\n\ndef decode(x):\n    """Undo code."""\n'
    tests = "def check(candidate):\n    assert candidate(code(4)) == 4\n\ncheck(decode)"
    assert passes("    return x - code(0)", "decode", tests, prompt, QUICK).passed
    assert passes("```python\ndef decode(x):\n    return x - code(0)\n```", "decode", tests, prompt, QUICK).passed
    # The tests use the prompt's helper, not the answer's.
    cheat = "```python\ndef code(x):\n    return 4\n\ndef decode(x):\n    return x\n```"
    assert not passes(cheat, "decode", tests, prompt, QUICK).passed
