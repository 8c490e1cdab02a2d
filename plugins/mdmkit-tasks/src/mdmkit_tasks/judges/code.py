"""Answers that are Python: find the program in the answer, and run its tests in the sandbox."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from mdmkit_tasks.judges.sandbox import Limits, Outcome, run

FENCE = re.compile(r"```[ \t]*(?:python3?|py)?[ \t]*\n(.*?)(?:\n[ \t]*```|\Z)", re.S | re.I)
# The end of a function's completion, where other text of the model begins.
STOPS = re.compile(r"\n(?=(?:class |def |if __name__|print\(|assert |@|#|<\||\[DONE\]|```|Question:|[A-Z][a-z]+ ))")


def program(answer: str, name: str, prompt: str = "") -> str:
    """The program that an answer gives for a function `name`.

    Args:
        prompt: the function's head, which an answer may leave out: completions of HumanEval begin with the body.
    """
    blocks = FENCE.findall(answer)
    whole = re.compile(rf"^(?:async )?def {re.escape(name)}\b", re.M)
    for block in reversed(blocks):
        if whole.search(block):
            return _imports(prompt) + block
    text = "\n".join(blocks) if blocks else answer.removeprefix("[BEGIN]").partition("[DONE]")[0]
    if match := whole.search(text):
        return _imports(prompt) + _runs(text[_start(text, match.start()) :])
    if not prompt:
        return text
    body = text if re.match(r"\s*\n|[ \t]", text) else "    " + text
    return prompt + STOPS.split(body, maxsplit=1)[0] + "\n"


def passes(answer: str, name: str, tests: Sequence[str] | str, prompt: str = "", limits: Limits = Limits()) -> Outcome:  # noqa: B008
    """True if the program in an answer passes its tests."""
    asserts = tests if isinstance(tests, str) else "\n".join(tests)
    return run(f"{program(answer, name, prompt)}\n\n{asserts}\n", limits)


def name_under_test(tests: Sequence[str]) -> str:
    """The function that the asserts test: the first called name that is not a builtin of Python."""
    import builtins

    for test in tests:
        try:
            nodes = list(ast.walk(ast.parse(test)))
        except SyntaxError:
            continue
        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not hasattr(builtins, node.func.id):
                return node.func.id
    return ""


def _imports(prompt: str) -> str:
    """The lines before a function's `def` that its head needs, helpers included."""
    heads = list(re.finditer(r"^def ", prompt, re.M))
    return prompt[: heads[-1].start()] if heads else ""


def _start(text: str, found: int) -> int:
    """The start of the program that contains a definition: imports, helpers and decorators before it belong to it."""
    first = re.search(r"^(?:import |from \w+ import |def |class |@|[A-Z_]+ ?= ?)", text, re.M)
    return min(first.start(), found) if first else found


def _runs(text: str) -> str:
    """The longest beginning of a text that is valid Python, because text after the program is not."""
    lines = text.split("\n")
    for end in range(len(lines), 0, -1):
        head = "\n".join(lines[:end])
        try:
            ast.parse(head)
        except (SyntaxError, ValueError):
            continue
        return head
    return text
