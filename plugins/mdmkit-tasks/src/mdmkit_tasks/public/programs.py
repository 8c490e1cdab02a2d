"""Programs that are run: HumanEval and MBPP, in the sandbox."""

from __future__ import annotations

import ast
import builtins
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mdmkit import Backbone, MdmkitError
from mdmkit_tasks.judges import code, sandbox
from mdmkit_tasks.judges.failing import can_fail, check_can_fail
from mdmkit_tasks.judges.names import parsed
from mdmkit_tasks.judges.seals import seal as find_seal
from mdmkit_tasks.public import shots as examples
from mdmkit_tasks.public.data import FromData, brief

COMPLETE = "Complete this function. Answer with the whole function in one block of Python."
PASS = "Answer with one block of Python."


class _Programs(FromData):
    """Args:
    chat: True: use the model's chat template; None: if the model has one.
    seconds: how long a program may run.
    seal: `bwrap`, the sandbox of bubblewrap; `own`, mdmkit's older one, which does not hide files. It goes with the
        next release.
    """

    measure = "pass@1"
    settings = {"plan": {"length": 512}}  # noqa: RUF012

    def __init__(self, data: str | None = None, chat: bool | None = None, seconds: float = 5.0, seal: str = "bwrap"):
        super().__init__(data)
        find_seal(seal)
        if not (math.isfinite(seconds) and seconds > 0):
            raise MdmkitError(f"task option seconds={seconds}: it is how long a program may run, above 0.")
        self.chat, self.limits, self.seal = chat, sandbox.Limits(seconds=seconds), seal

    def rows(self, count: int | None, seed: int) -> list[dict[str, Any]]:
        found = super().rows(count, seed)
        sandbox.require(self.seal)  # before a model is loaded
        return found

    def check(self, backbone: Backbone) -> None:
        sandbox.require(self.seal)

    def ask(self, text: str, reference: Any) -> dict[str, Any]:
        asked = {"prompt": text, "infill": False, "reference": reference}
        return asked if self.chat is None else asked | {"chat": self.chat}


class HumanEval(_Programs):
    """164 functions to complete (arXiv:2107.03374): a head with a docstring, judged by its tests.

    Args:
        chat: False: the prompt is only the head, to be continued; otherwise the model is asked to complete it.
    """

    name, hub = "humaneval", ("openai/openai_humaneval", None, "test")
    fields = ("prompt", "test", "entry_point")

    def problem(self, row: Mapping[str, Any]) -> str:
        name, head, tests = row["entry_point"], parsed(code.whole(row["prompt"])), parsed(row["test"])
        if head is None:
            return "the prompt is not the head of a function of Python"
        if name not in _functions(head):
            return f"the prompt does not define the function {brief(name)} that is to be completed"
        if tests is None or not check_can_fail(tests, "check"):
            return (
                "the test must define a function `check` with an assert that is reached and depends on its argument "
                "(or a `raise` under such a condition, or a method such as assertEqual), and must call this argument, "
                "since nothing else could fail"
            )
        return _outside(code.whole(row["prompt"]), row["test"])

    def prompts(self, count: int | None, seed: int) -> Sequence[Any]:
        out = []
        for row in self.rows(count, seed):
            head = row["prompt"]
            if self.chat is not False:
                end = "" if head.endswith("\n") else "\n"
                head = f"{COMPLETE}\n\n```python\n{head}{end}```"
            out.append(self.ask(head, {key: row[key] for key in self.fields}))
        return out

    def judge(self, prompt: Any, answer: str) -> bool:
        row = prompt["reference"]
        tests = f"{row['test']}\n\ncheck({row['entry_point']})"
        return code.passes(answer, row["entry_point"], tests, row["prompt"], self.limits, self.seal).passed


class MBPP(_Programs):
    """Short programs from a sentence and its asserts (arXiv:2108.07732), the sanitized set.

    Args:
        shots: the number of worked examples before the question. With examples, the prompt is a text to be continued,
            not a chat.
    """

    name, hub = "mbpp", ("google-research-datasets/mbpp", "sanitized", "test")
    fields = ("prompt|text", "test_list")
    others = ("test_list",)

    def __init__(
        self,
        data: str | None = None,
        chat: bool | None = None,
        seconds: float = 5.0,
        shots: int = 0,
        seal: str = "bwrap",
    ):
        super().__init__(data, False if chat is None and shots else chat, seconds, seal)
        if not 0 <= shots <= len(examples.PROGRAMS):
            raise MdmkitError(f"task 'mbpp': shots={shots} is from 0 to {len(examples.PROGRAMS)}.")
        self.shots = shots

    def problem(self, row: Mapping[str, Any]) -> str:
        return _malformed(row) or self._undecided(row)

    def _undecided(self, row: Mapping[str, Any]) -> str:
        """What is wrong with tests that no answer could pass, or fail; empty: nothing."""
        name = _name(row)
        for line in row["test_list"]:
            tree = parsed(line)
            if tree is None or not (can_fail(tree, [name]) or _only_prepares(tree)):
                return (
                    f"the test {brief(line)} is not an assert of Python that is reached and depends on the answer (or "
                    "a `raise` under such a condition, or a method such as assertEqual), so no answer could fail it"
                )
        if not name:
            return "no test calls a function of the answer, so every answer that defines it would pass"
        whole = "\n".join(row["test_list"])
        if not can_fail(ast.parse(whole), [name]):
            return "no test is an assert, so no answer could fail"
        if said := _outside(*_before(row), whole):
            return said
        # Only a run can tell if a test such as `assert sum(10, 15) == 6` means Python's own function.
        if hasattr(builtins, name) and self._passes_without_an_answer(row):
            return (
                f"the tests call only {brief(name)}, which is Python's own, and pass without an answer, so every "
                "answer would pass"
            )
        return ""

    def _passes_without_an_answer(self, row: Mapping[str, Any]) -> bool:
        tests = "\n".join((*_before(row), *row["test_list"]))
        return sandbox.run("", tests, limits=self.limits, by=self.seal).passed

    def prompts(self, count: int | None, seed: int) -> Sequence[Any]:
        out = []
        for row in self.rows(count, seed):
            tests = [*_before(row), *row["test_list"]]
            shown = "\n".join(row["test_list"])
            if self.shots:
                worked = "".join(_shot(*example) for example in examples.PROGRAMS[: self.shots])
                text = f"{worked}{row['prompt']}\n{shown}\n[BEGIN]\n"
            else:
                text = f"{row['prompt']}\nIt has to pass:\n\n```python\n{shown}\n```\n\n{PASS}"
            out.append(self.ask(text, {"tests": tests, "name": _name(row)}))
        return out

    def judge(self, prompt: Any, answer: str) -> bool:
        row = prompt["reference"]
        return code.passes(answer, row["name"], row["tests"], limits=self.limits, by=self.seal).passed


def _functions(tree: ast.Module) -> set[str]:
    return {line.name for line in tree.body if isinstance(line, (ast.FunctionDef, ast.AsyncFunctionDef))}


def _before(row: Mapping[str, Any]) -> list[str]:
    """The code of an MBPP row that runs before its tests."""
    return [*(row.get("test_imports") or ()), row.get("test_setup_code") or ""]


def _name(row: Mapping[str, Any]) -> str:
    return code.name_under_test(row["test_list"], _before(row))


def _only_prepares(tree: ast.Module) -> bool:
    """True for lines that only import, assign or define something for the tests after them."""
    kinds = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.AugAssign)
    return all(isinstance(line, kinds) for line in tree.body)


def _outside(*texts: str) -> str:
    """Say which module a program imports that the sandbox does not have; empty if there is none."""
    for tree in filter(None, map(parsed, texts)):
        for line in ast.walk(tree):
            names = [each.name for each in line.names] if isinstance(line, ast.Import) else []
            names += [line.module or ""] if isinstance(line, ast.ImportFrom) else []
            for name in (name.partition(".")[0] for name in names):
                if name not in sys.stdlib_module_names:
                    return f"it imports {brief(name)}, and the sandbox has only the standard library of Python"
    return ""


def _shot(asked: str, test: str, program: str) -> str:
    return f"{asked}\n{test}\n[BEGIN]\n{program}\n[DONE]\n\n"


def _malformed(row: Mapping[str, Any]) -> str:
    """What is wrong with the fields of a row of MBPP, other than its tests; empty: nothing."""
    for field in ("test_list", "test_imports"):
        lines = row.get(field) or []
        if isinstance(lines, str) or not isinstance(lines, Sequence) or not all(isinstance(one, str) for one in lines):
            return f"the field {field!r} is {brief(row[field])}, and must be a list of texts"
    if not isinstance(row.get("test_setup_code") or "", str):
        return f"the field 'test_setup_code' is {brief(row['test_setup_code'])}, and must be a text"
    if not row["test_list"]:
        return "the field 'test_list' is empty, so every answer would pass"
    for text in _before(row):
        if parsed(text) is None:
            return f"the code {brief(text)} before the tests is not Python, so no answer could pass"
    return ""
