"""The published tasks: what they ask, from small files of the same form as the real data."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from mdmkit import MdmkitError, read_prompts
from mdmkit.task import without_reference
from mdmkit_tasks.judges.countdown import value
from mdmkit_tasks.judges.reachable import can_reach
from mdmkit_tasks.public import shots
from mdmkit_tasks.public.programs import MBPP, HumanEval
from mdmkit_tasks.public.puzzles import CountdownText, SudokuText
from mdmkit_tasks.public.reasoning import GPQA, GSM8K, Math500

bubblewrap = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed (make system)")


def written(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data.jsonl"


WORDS = [
    {"question": f"What is {i} + 1000?", "answer": f"{i} + 1000 = {i + 1000}\n#### {i + 1000:,}"} for i in range(9)
]


def test_gsm8k_asks_and_scores(file: Path) -> None:
    task = GSM8K(written(file, *WORDS))
    first = task.prompts(None, 0)[0]
    assert first["prompt"].startswith("What is 0 + 1000?\n\n") and "\\boxed{}" in first["prompt"]
    assert task.judge(first, "So it is \\boxed{1000}.") and not task.judge(first, "\\boxed{100}")
    assert read_prompts([without_reference(first)], 0)[0].chat is None  # the model decides
    assert not read_prompts([without_reference(first)], 0)[0].infill  # a [MASK] in a question is text


def test_with_examples_it_is_a_text_to_be_continued(file: Path) -> None:
    prompt = GSM8K(written(file, *WORDS), shots=2).prompts(None, 0)[0]
    assert prompt["prompt"].count("Question: ") == 3 and prompt["prompt"].endswith("+ 1000?\nAnswer:")
    assert prompt["chat"] is False
    assert GSM8K(str(file), shots=2, chat=True).prompts(None, 0)[0]["chat"] is True
    with pytest.raises(MdmkitError, match="from 0 to 5"):
        GSM8K(str(file), shots=6)


def test_the_examples_are_right() -> None:
    task = GSM8K()
    for question, answer in shots.WORD_PROBLEMS:
        for part in answer.split("\n")[0].replace(",", ".").split("."):
            if "=" in part:
                words = part.split("=")
                left = "".join(c for c in words[0] if c in "0123456789+-*/ ").strip(" -+*/")
                found = value(left)
                assert found is not None and str(found[0]) == words[1].split()[0], (question, part)
        assert task.judge({"reference": answer}, f"\\boxed{{{answer.split('####')[1].strip()}}}")
    for _, test, program in shots.PROGRAMS:
        exec(f"{program}\n{test}", {})


def test_rows_are_drawn_by_the_seed_and_all_of_them_in_order(file: Path) -> None:
    task = GSM8K(written(file, *WORDS))
    asked = [prompt["prompt"] for prompt in task.prompts(None, 0)]
    assert asked == [prompt["prompt"] for prompt in task.prompts(9, 5)]
    few = [prompt["prompt"] for prompt in task.prompts(4, 1)]
    assert few == [prompt["prompt"] for prompt in task.prompts(4, 1)] != [p["prompt"] for p in task.prompts(4, 2)]
    assert len(set(few)) == 4 and set(few) < set(asked)
    with pytest.raises(MdmkitError, match="10 prompts of task 'gsm8k' were asked for, and there are 9"):
        task.prompts(10, 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{"question": "q", "answer": "#### 1"}\n{"question": "q"}\n',
            "line 2: the field 'answer' is missing; there are",
        ),
        ('{"question": "q", "answer": "#### 1"}\n\n{"question"\n', "line 3: not JSON"),
        (
            '{"question": "q", "answer": "#### 1", "answer": "#### 2"}',
            "line 1: not JSON (the key 'answer' stands twice",
        ),
        ('["q", "a"]\n', 'line 1: \'["q", "a"]\' is not an object'),
        ("\n", "the file holds no line"),
        (None, "No such file"),
    ],
)
def test_bad_data_names_the_line(file: Path, text: str | None, said: str) -> None:
    if text is not None:
        file.write_text(text)
    with pytest.raises(MdmkitError) as caught:
        GSM8K(str(file)).prompts(None, 0)
    assert said in str(caught.value)


CHOICES = {"Question": "q", "Correct Answer": "a"} | {f"Incorrect Answer {i}": "b" for i in (1, 2, 3)}
FUNCTION = {
    "prompt": 'def f(x):\n    """Twice x."""\n',
    "test": "def check(candidate):\n    assert candidate(2) == 4\n",
    "entry_point": "f",
}
ASSERTED = {"text": "t", "test_list": ["assert f(2) == 4"]}


@bubblewrap
@pytest.mark.parametrize(
    ("task", "good", "bad", "said"),
    [
        (GSM8K, WORDS[0], {"answer": 4}, "the field 'answer' is 4, and must be a text in quotes"),
        (GSM8K, WORDS[0], {"question": ["q"]}, "the field 'question' is [\"q\"], and must be a text"),
        (GSM8K, WORDS[0], {"question": "\n"}, "the field 'question' is empty"),
        (GSM8K, WORDS[0], {"answer": "many"}, 'the answer "many" holds no number to compare with'),
        (Math500, {"problem": "p", "answer": "4"}, {"answer": 4}, "the field 'answer' is 4, and must be a text"),
        (Math500, {"problem": "p", "answer": "4"}, {"answer": " "}, "the field 'answer' is empty"),
        (
            GPQA,
            CHOICES,
            {"Correct Answer": ["a"]},
            "the field 'Correct Answer' is [\"a\"], and must be a text in quotes",
        ),
        (GPQA, CHOICES, {"Incorrect Answer 2": 5}, "the field 'Incorrect Answer 2' is 5, and must be a text in quotes"),
        (GPQA, CHOICES, {"Incorrect Answer 2": " a\n"}, 'the choice "a" is both right and wrong'),
        (GPQA, CHOICES, {"Question": " "}, "the field 'Question' is empty"),
        (HumanEval, FUNCTION, {"prompt": 3}, "the field 'prompt' is 3, and must be a text"),
        (HumanEval, FUNCTION, {"entry_point": "g"}, 'the prompt does not define the function "g"'),
        (HumanEval, FUNCTION, {"prompt": "Twice x."}, "the prompt is not the head of a function of Python"),
        (
            HumanEval,
            FUNCTION,
            {"test": "def check(candidate):\n    pass\n"},
            "must define a function `check` with an assert",
        ),
        (HumanEval, FUNCTION, {"test": "assert f(2) == 4"}, "must define a function `check` with an assert"),
        (
            HumanEval,
            FUNCTION,
            {"test": "def check(candidate):\n    assert True\n"},
            "`check` with an assert that is reached",
        ),
        (
            HumanEval,
            FUNCTION,
            {"test": "def check(candidate):\n    assert candidate is not None\n"},
            "and must call this argument",
        ),
        (MBPP, ASSERTED, {"test_list": []}, "the field 'test_list' is empty, so every answer would pass"),
        (MBPP, ASSERTED, {"test_list": "assert f(2) == 4"}, "and must be a list of texts"),
        (MBPP, ASSERTED, {"test_list": ["assert f(2) == 4", 3]}, "and must be a list of texts"),
        (MBPP, ASSERTED, {"test_list": ["f(2) == 4"]}, 'the test "f(2) == 4" is not an assert'),
        (MBPP, ASSERTED, {"test_list": ["assert f(2 == 4"]}, "is not an assert of Python"),
        (
            MBPP,
            ASSERTED,
            {"test_list": ["assert True"]},
            'the test "assert True" is not an assert of Python that is reached and',
        ),
        (MBPP, ASSERTED, {"test_list": ["assert callable(f)"]}, "no test calls a function of the answer"),
        (
            MBPP,
            ASSERTED,
            {"test_list": ["assert sum([1, 2]) == 3"]},
            'call only "sum", which is Python\'s own, and pass',
        ),
        (MBPP, ASSERTED, {"test_list": ["x = max(1, 2)", "assert x == 2"]}, 'call only "max", which is Python\'s own'),
        (MBPP, {"text": "t", "test_list": ["assert sum(10, 15) == 6"]}, {"test_list": ["assert len('a') == 1"]}, "len"),
        (MBPP, ASSERTED, {"test_list": ["def t():\n    assert f(2) == 4"]}, "so no answer could fail it"),
        (MBPP, ASSERTED, {"test_list": ["x = f(2)"]}, "no test is an assert, so no answer could fail"),
        (MBPP, ASSERTED, {"test_imports": ["import numpy as np"]}, 'it imports "numpy", and the sandbox has only the'),
        (HumanEval, FUNCTION, {"test": f"from numpy import array\n{FUNCTION['test']}"}, 'it imports "numpy", and the'),
        (MBPP, ASSERTED, {"test_setup_code": "x ="}, 'the code "x =" before the tests is not Python'),
        (MBPP, ASSERTED, {"test_setup_code": 3}, "the field 'test_setup_code' is 3, and must be a text"),
        (SudokuText, {"puzzle": "0" * 16}, {"puzzle": None}, "the field 'puzzle' or 'Puzzle' is missing"),
        (SudokuText, {"puzzle": "0" * 16}, {"puzzle": [1]}, "the puzzle [1] is not sixteen digits"),
        (SudokuText, {"puzzle": "0" * 16}, {"puzzle": "000/300/100"}, 'the puzzle "000/300/100" is not sixteen dig'),
        (SudokuText, {"puzzle": "0" * 16}, {"puzzle": "00043000/10020000"}, "is not sixteen digits 0 to 4"),
        (SudokuText, {"puzzle": "0" * 16}, {"puzzle": "0" * 16 + "5"}, "is not sixteen digits 0 to 4"),
        (SudokuText, {"puzzle": "0" * 16}, {"puzzle": "43"}, "is not sixteen digits 0 to 4"),
        (SudokuText, {"puzzle": "0" * 16}, {"puzzle": "1100" + "0" * 12}, "has no solution, so no answer would pass"),
        (SudokuText, {"puzzle": "0" * 16}, {"puzzle": "1234341221434321"}, "has no open cell, so there is nothing to"),
        (CountdownText, {"numbers": [1, 2], "target": 3}, {"numbers": "1 2"}, 'the numbers "1 2" are not a list'),
        (CountdownText, {"numbers": [1, 2], "target": 3}, {"numbers": [1, "x"]}, "are not a list of whole numbers"),
        (CountdownText, {"numbers": [1, 2], "target": 3}, {"target": "x"}, 'the target "x" is not a whole number'),
    ],
)
def test_data_that_cannot_be_judged_is_refused_with_its_line(
    task: Any, good: dict[str, Any], bad: dict[str, Any], said: str, file: Path
) -> None:
    """Nothing is decoded before: a task gives its prompts before a model is loaded."""
    assert task(written(file, good)).prompts(1, 0)
    with pytest.raises(MdmkitError) as caught:
        task(written(file, good, good | bad)).prompts(1, 0)
    assert said in str(caught.value) and f"{file}, line 2: " in str(caught.value)


def test_a_target_that_cannot_be_reached_is_refused_if_it_is_asked(file: Path) -> None:
    rows = [{"nums": [3, 9, 2], "target": 24}, {"nums": [1, 1, 1], "target": 24}]
    task = CountdownText(written(file, *rows))
    assert len(task.prompts(1, 0)) == 1
    with pytest.raises(MdmkitError) as caught:
        task.prompts(None, 0)
    assert f"{file}, line 2: the target 24 cannot be made of all the numbers [1, 1, 1], so no" in str(caught.value)


def every_value(numbers: tuple[Fraction, ...]) -> set[Fraction]:
    if len(numbers) == 1:
        return {numbers[0]}
    out: set[Fraction] = set()
    for a, b, *others in itertools.permutations(numbers):
        results = [a + b, a - b, a * b, *([a / b] if b else [])]
        out |= set().union(*(every_value((value, *others)) for value in results))
    return out


@pytest.mark.parametrize(
    "numbers", [(3,), (0, 5), (2, 2), (0, 0, 3), (1, 2, 7), (4, 4, 10), (1, 3, 4, 6), (0, 1, 2, 3)]
)
def test_every_target_that_can_be_reached_is_known(numbers: tuple[int, ...]) -> None:
    right = every_value(tuple(map(Fraction, numbers)))
    assert {target for target in range(-40, 90) if can_reach(numbers, target)} == right & set(range(-40, 90))


def test_without_datasets_or_a_file_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MdmkitError, match=r"openai/gsm8k.*mdmkit-tasks\[hub\].*--data FILE.jsonl"):
        GSM8K().prompts(2, 0)


def test_rows_of_the_hub_are_asked_for_by_id(monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    asked = []

    def load_dataset(*where: Any, split: str) -> list[dict[str, str]]:
        asked.append((*where, split))
        return WORDS

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    assert len(GSM8K().prompts(None, 0)) == 9 and asked == [("openai/gsm8k", "main", "test")]


def test_a_data_set_that_cannot_be_had_is_one_paragraph(monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    def load_dataset(*where: Any, split: str) -> None:
        raise ConnectionError("offline\n mode")

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(MdmkitError, match=r"cannot be loaded \(offline mode\)"):
        Math500().prompts(2, 0)


def test_math500(file: Path) -> None:
    task = Math500(written(file, {"problem": "Halve 1.", "answer": "\\frac{1}{2}"}), shots=1)
    (prompt,) = task.prompts(None, 0)
    assert task.judge(prompt, "It is \\boxed{0.5}.") and not task.judge(prompt, "\\boxed{2}")


def test_gpqa_shuffles_the_choices_by_the_seed(file: Path) -> None:
    wrong = {f"Incorrect Answer {i}": f"wrong {i}" for i in (1, 2, 3)}
    task = GPQA(written(file, *({"Question": f"Q{i}?", "Correct Answer": "right", **wrong} for i in range(20))))
    prompts = task.prompts(None, 0)
    for prompt in prompts:
        letter = prompt["reference"]
        assert f"({letter}) right" in prompt["prompt"]
        assert task.judge(prompt, f"So \\boxed{{{letter}}}") and not task.judge(prompt, "So \\boxed{E}")
    letters = [prompt["reference"] for prompt in prompts]
    assert set(letters) == set("ABCD") and letters != [prompt["reference"] for prompt in task.prompts(None, 1)]


HEAD = 'def double(x):\n    """Twice x."""\n'
CHECK = "def check(candidate):\n    assert candidate(2) == 4\n"


@bubblewrap
def test_tests_of_every_honest_form_are_run(file: Path) -> None:
    raises = "    if candidate(2) != 4:\n        raise AssertionError('not twice')\n"
    methods = "    import unittest\n    unittest.TestCase().assertEqual(candidate.__call__(2), 4)\n"
    rows = [FUNCTION | {"test": f"def check(candidate):\n{body}"} for body in (raises, methods)]
    for task in (
        HumanEval(written(file, *rows)),
        MBPP(written(file.with_name("m"), ASSERTED | {"test_list": ["from functools import partial", "x = f(2)",
                                                       "assert x == 4", "assert partial(f, 2)() == 4"]})),
    ):  # fmt: skip
        for prompt in task.prompts(None, 0):
            assert task.judge(prompt, "def f(x):\n    return 2 * x") and not task.judge(
                prompt, "def f(x):\n    return x"
            )


@bubblewrap
def test_humaneval(file: Path) -> None:
    task = HumanEval(written(file, {"prompt": HEAD, "test": CHECK, "entry_point": "double"}))
    (prompt,) = task.prompts(None, 0)
    assert prompt["prompt"].endswith(f"```python\n{HEAD}```") and "assert" not in prompt["prompt"]
    assert HumanEval(str(file), chat=False).prompts(None, 0)[0]["prompt"] == HEAD
    assert task.judge(prompt, "    return 2 * x") and not task.judge(prompt, "    return x")


@bubblewrap
@pytest.mark.parametrize(
    "head",
    [
        "def double(x):\n",
        "from math import inf\n\ndef double(x: int) -> int:",
        'def double(x):\n    """Twice."""',
        "import functools\n\n@functools.lru_cache\ndef double(x):",
    ],
)
def test_the_head_of_humaneval_needs_no_docstring(head: str, file: Path) -> None:
    task = HumanEval(written(file, {"prompt": head, "test": CHECK, "entry_point": "double"}))
    (prompt,) = task.prompts(None, 0)
    assert prompt["prompt"].endswith(f"```python\n{head.rstrip()}\n```")
    for answer, right in (
        ("    return 2 * x", True),
        (f"{head.rstrip()}\n    return 2 * x", True),
        ("    y = 2 * x\n    return y", True),
        ("\n    y = 2 * x\n    return y", True),
        ("    y = x\n    return y", False),
        ("    return x", False),
    ):
        assert task.judge(prompt, answer) is right


@pytest.mark.parametrize("task", [HumanEval, MBPP])
def test_programs_are_refused_before_a_model_is_loaded_if_none_can_be_run(
    task: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mdmkit_tasks.judges import sandbox, seals

    sandbox.require.cache_clear()
    monkeypatch.setattr(seals.shutil, "which", lambda name: None)
    row = FUNCTION | ASSERTED
    with pytest.raises(MdmkitError, match="apt install bubblewrap"):
        task(written(file, row)).prompts(1, 0)
    assert task(str(file), seal="own").prompts(1, 0)
    with pytest.raises(MdmkitError, match="unknown seal"):
        task(str(file), seal="none")
    sandbox.require.cache_clear()


@bubblewrap
def test_mbpp(file: Path) -> None:
    row = {
        "text": "Write a function to double.",
        "test_list": ["assert double(2) == 4"],
        "test_imports": ["import math"],
    }
    task = MBPP(written(file, row))
    (prompt,) = task.prompts(None, 0)
    assert "assert double(2) == 4" in prompt["prompt"]
    assert task.judge(prompt, "```python\ndef double(x):\n    return x + x\n```")
    (few,) = MBPP(str(file), shots=3).prompts(None, 0)
    assert few["prompt"].count("[BEGIN]") == 4 and few["prompt"].endswith("[BEGIN]\n") and few["chat"] is False


def test_sudokus_have_one_solution_and_masks_in_the_prompt(file: Path) -> None:
    task = SudokuText()
    prompts = task.prompts(12, 0)
    assert prompts == task.prompts(12, 0) != task.prompts(12, 1)
    for prompt in prompts:
        assert prompt["prompt"].count("[MASK]") == prompt["reference"].count("0") >= 6
        assert "infill" not in prompt  # its masks are to be filled
    asked = SudokuText(infill=False).prompts(1, 0)[0]
    assert "[MASK]" not in asked["prompt"] and asked["length"] == 128
    read = SudokuText(written(file, {"Puzzle": "4000001002001"})).prompts(1, 0)[0]
    assert read["reference"] == "0004000001002001"
    listed = "[[0, 0, 0, 4], [3, 0, 0, 0], [1, 0, 0, 2], [0, 0, 0, 0]]"
    for said in ("00 04\n30 00\n-----\n10 02\n00 00", "___4/3___/1__2/____", "...4 3... 1..2 ....", listed):
        assert SudokuText(written(file, {"puzzle": said})).prompts(1, 0)[0]["reference"] == "0004300010020000"
    assert SudokuText().judge({"reference": "0004300010020000"}, "Solved:\n\n2134\n3421\n1342\n4213\n")
    with pytest.raises(MdmkitError, match="not sixteen digits"):
        SudokuText(written(file, {"puzzle": "12345678901234567"})).prompts(1, 0)


def test_countdowns_can_be_reached(file: Path) -> None:
    for size in (3, 4):
        for prompt in CountdownText(numbers=size).prompts(8, 0):
            asked = prompt["reference"]
            assert len(asked["numbers"]) == size and _reachable(asked["numbers"], asked["target"])
    read = CountdownText(written(file, {"nums": [3, 9, 2], "target": 24}))
    (prompt,) = read.prompts(1, 0)
    assert "3, 9, 2" in prompt["prompt"] and "make 24" in prompt["prompt"]
    assert read.judge(prompt, "<answer>(3 + 9) * 2</answer>")


def _reachable(numbers: list[int], target: int) -> bool:
    if len(numbers) == 1:
        return numbers[0] == target
    for i, a in enumerate(numbers):
        for j, b in enumerate(numbers):
            if i != j:
                rest = [n for k, n in enumerate(numbers) if k not in (i, j)]
                if any(_reachable([*rest, c], target) for c in (a + b, a - b, a * b)):
                    return True
    return False


def test_there_are_288_grids() -> None:
    from mdmkit_tasks.judges.sudoku import solves
    from mdmkit_tasks.public.puzzles import _grids

    assert len(set(_grids())) == 288 and all(solves(grid, "0" * 16) for grid in _grids())


def test_reasoning_gym_is_judged_by_its_own_verifier() -> None:
    pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed")
    from mdmkit_tasks.public.gym import ReasoningGym

    task = ReasoningGym("chain_sum", options={"min_terms": 2, "max_terms": 2})
    prompts = task.prompts(4, 1)
    assert prompts == task.prompts(4, 1) != task.prompts(4, 2)
    prompts = task.prompts(4, 1)
    right = prompts[0]["reference"]["answer"]
    assert task.judge(prompts[0], f"Let me see.\n<answer>{right}</answer>") == 1.0
    assert task.judge(prompts[0], f"<answer>{right}1</answer>") < 1.0
    with pytest.raises(MdmkitError, match="Did you mean 'chain_sum'"):
        ReasoningGym("chain_sums").prompts(1, 0)
    with pytest.raises(MdmkitError, match="cannot be made"):
        ReasoningGym("chain_sum", options={"terms": 2}).prompts(1, 0)


def test_without_reasoning_gym_its_task_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from mdmkit_tasks.public.gym import ReasoningGym, final

    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(MdmkitError, match="pip install reasoning-gym"):
        ReasoningGym("chain_sum").prompts(1, 0)
    assert final("so \\boxed{4}") == "4" and final("a\n\nb\n") == "b" and final("<answer>x</answer> y") == "x"


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused_before_anything_is_decoded(seconds: float) -> None:
    with pytest.raises(MdmkitError, match="task option seconds="):
        HumanEval(seconds=seconds)
