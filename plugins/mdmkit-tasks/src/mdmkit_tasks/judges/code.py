"""Answers that are Python: find the program in the answer, and run its tests in the sandbox."""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Sequence

from mdmkit_tasks.judges.calling import INSPECT, uses
from mdmkit_tasks.judges.fences import blocks
from mdmkit_tasks.judges.marks import TURN
from mdmkit_tasks.judges.names import DEFINITIONS, bound, free, parsed
from mdmkit_tasks.judges.runs import around, valid
from mdmkit_tasks.judges.sandbox import Limits, Outcome, Part, run
from mdmkit_tasks.judges.spaces import spaced

# So many blocks before and after a function are looked at.
LOOKED_AT = 100
# The end of a function's completion, where other text of the model begins.
STOPS = re.compile(r"\n(?=(?:class |def |if __name__|print\(|assert |@|#|<\||\[DONE\]|```|Question:|[A-Z][a-z]+[ :,]))")


def program(answer: str, name: str, prompt: str = "") -> list[Part]:
    """The program that an answer gives for a function `name`, in parts that run one after the other.

    It is the last block of code that defines the function; in an answer without fences, it is the run of lines around
    the function that is Python. If a name is missing in it, the blocks before it run first, as the cells of a notebook,
    and so do blocks after it that define a missing name. What fails in them is passed over.

    Args:
        prompt: the function's head, which an answer may leave out: completions of HumanEval begin with the body.
    """
    prompt = f"{prompt}\n" if prompt and not prompt.endswith("\n") else prompt  # a body begins on a line of its own
    plain = TURN.split(answer, maxsplit=1)[0].lstrip("\ufeff").removeprefix("[BEGIN]").partition("[DONE]")[0]
    found = None
    if parsed(plain) is None and not _completes(plain, prompt):  # else its fences stand in strings
        found = blocks(plain, lambda text: bool(_defines(name).search(text)) or _completes(text, prompt))
    texts = [spaced(text) for text in ([plain] if found is None else found)]
    for index in reversed(range(len(texts))):
        if matches := list(_defines(name).finditer(texts[index])):
            main = valid(texts[index]) if found is not None else around(texts[index], [m.start() for m in matches])
            return _joined(head(prompt), texts[:index], main, texts[index + 1 :])
    if not prompt:
        return [Part(valid("\n".join(texts)))]
    at = next((at for at, text in enumerate(texts) if _completes(text, prompt)), None)
    body = _body("\n".join(texts) if at is None else texts[at], prompt)
    cut = STOPS.split(body, maxsplit=1)[0]
    ends = (cut, body)  # a stop may stand in a string
    end = next((end for end in ends if parsed(prompt + end) is not None), "")
    main = prompt + end if end else valid(prompt + cut)
    before, after = ([], []) if at is None else (texts[:at], texts[at + 1 :])
    return _joined(head(prompt), before, main + "\n", [valid(body[len(cut) :]), *after])


def _joined(head: str, before: Sequence[str], main: str, after: Sequence[str]) -> list[Part]:
    """The parts in the order in which they run."""
    there, needed = {*dir(builtins), *bound(head)}, free(main)
    if needed <= there:
        return [Part(head), Part(main)]
    cells = [text for text in before[-LOOKED_AT:] if text.strip() and parsed(text) is not None]
    there |= set().union(*map(bound, (*cells, main)))
    needed |= set().union(*map(free, cells))
    later = {text: bound(text) for text in after[:LOOKED_AT]}
    while found := next((text for text, names in later.items() if names & (needed - there)), None):
        cells.append(found)
        there |= later.pop(found)
        needed |= free(found)
    return [Part(head), *(Part(text, may_fail=True) for text in cells), Part(main)]


def passes(
    answer: str,
    name: str,
    tests: Sequence[str] | str,
    prompt: str = "",
    limits: Limits = Limits(),  # noqa: B008
    by: str = "bwrap",
) -> Outcome:
    """Judge the program in an answer by its tests.

    Raises:
        MdmkitError: the sandbox does not work here.
    """
    asserts = tests if isinstance(tests, str) else "\n".join(tests)
    return run(program(answer, name, prompt), asserts, name=name, head=whole(prompt), limits=limits, by=by)


def name_under_test(tests: Sequence[str], setup: Sequence[str] = ()) -> str:
    """The name of the answer that is tested: the first one that is called, else the first one that is put to use.

    Names that the tests define, or the code `setup` before them, are not the answer's. Nor are Python's own, if there
    is another one. It is empty if nothing is put to use: functions that only look at another one do not test it.
    """
    open_names = free("\n".join((*setup, *tests)))
    nodes = [node for tree in map(parsed, tests) if tree is not None for node in ast.walk(tree)]
    called = [node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    called = [name for name in called if name in open_names and name not in INSPECT]
    used = [name for node in nodes if isinstance(node, ast.stmt) for name in uses(node) if name in open_names]
    own = [n for n in (*called, *used) if not hasattr(builtins, n) and n not in sys.stdlib_module_names]
    return next(iter(own or called), "")


def head(prompt: str) -> str:
    """The lines before a prompt's last `def` and its decorators: imports, and helpers that the function may call."""
    heads = list(re.finditer(r"^(?:@[^\n]*\n)*(?:async )?def ", prompt, re.M))
    return prompt[: heads[-1].start()] if heads else ""


def whole(prompt: str) -> str:
    """A prompt as Python: a function without a docstring gets a body."""
    return prompt if not prompt or parsed(prompt) is not None else f"{prompt.rstrip()}\n    pass\n"


def _defines(name: str) -> re.Pattern[str]:
    return re.compile(rf"^(?:(?:async )?def|class) {re.escape(name)}\b|^{re.escape(name)} *(?::[^=\n]*)?=(?!=)", re.M)


def _completes(text: str, prompt: str) -> bool:
    """True for the body of the prompt's function. Prose is none: it may be a valid expression, but it does nothing."""
    tree = parsed(prompt + _body(text, prompt)) if prompt and text.strip() else None
    if tree is None or not isinstance(tree.body[-1], DEFINITIONS):
        return False
    return any(not isinstance(line, ast.Expr) for line in tree.body[-1].body)


def _body(text: str, prompt: str) -> str:
    """A body with the indent that it needs; tabs become spaces if the prompt has none."""
    body = text if re.match(r"\s*\n|[ \t]", text) else "    " + text
    return body if "\n\t" in prompt else re.sub(r"^[ \t]+", lambda found: found[0].expandtabs(4), body, flags=re.M)
