"""The tasks that need no hub keep the laws of tasks, on data made here where they need any."""

from __future__ import annotations

import itertools
import json
from typing import ClassVar

import pytest

from mdmkit.testing import CommandContract, TaskContract
from mdmkit_tasks.judges.countdown import reaches
from mdmkit_tasks.plugin import mdmkit_command
from mdmkit_tasks.public.puzzles import CountdownText, SudokuText, _grids
from mdmkit_tasks.public.reasoning import GSM8K, Math500


class TestSudokuText(TaskContract):
    component = SudokuText

    def right(self, prompt):
        given = prompt["reference"]
        grid = next(g for g in _grids() if all(c in ("0", d) for c, d in zip(given, g, strict=True)))
        return "\n".join(grid[i : i + 4] for i in range(0, 16, 4))


class TestSudokuAsked(TestSudokuText):
    options: ClassVar = {"infill": False}

    def right(self, prompt):
        return f"It is <answer>{super().right(prompt)}</answer>"


class TestCountdownText(TaskContract):
    component = CountdownText

    def right(self, prompt):
        numbers, target = prompt["reference"]["numbers"], prompt["reference"]["target"]
        for a, b, c in itertools.permutations(numbers):
            for one, two in itertools.product("+-*", repeat=2):
                for said in (f"({a}{one}{b}){two}{c}", f"{a}{one}({b}{two}{c})"):
                    if reaches(said, numbers, target):
                        return f"<answer>{said}</answer>"
        raise AssertionError(f"no expression of {numbers} is {target}")


class TestCountdownOfFour(TaskContract):
    component = CountdownText
    options: ClassVar = {"numbers": 4}


class TestGSM8K(TaskContract):
    component = GSM8K

    @pytest.fixture(autouse=True)
    def _data(self, tmp_path):
        rows = [{"question": f"What is {i} + 10?", "answer": f"It is so.\n#### {i + 10}"} for i in range(9)]
        file = tmp_path / "data.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.options = {"data": str(file)}

    def right(self, prompt):
        return f"So \\boxed{{{prompt['reference'].rpartition(' ')[2]}}}."


class TestGSM8KWithExamples(TestGSM8K):
    @pytest.fixture(autouse=True)
    def _shots(self, _data):
        self.options |= {"shots": 2}


class TestMath500(TaskContract):
    component = Math500

    @pytest.fixture(autouse=True)
    def _data(self, tmp_path):
        pytest.importorskip("math_verify")
        rows = [{"problem": f"Half of {i}?", "answer": f"\\frac{{{i}}}{{2}}"} for i in range(9)]
        file = tmp_path / "data.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.options = {"data": str(file)}

    def right(self, prompt):
        return f"So \\boxed{{{prompt['reference']}}}."


# lm-eval is left out: its options and its help are those of lm-evaluation-harness.
COMMANDS = [component for component in mdmkit_command() if component.name != "lm-eval"]


@pytest.mark.parametrize("listed", COMMANDS, ids=lambda listed: listed.name)
class TestCommands(CommandContract):
    @pytest.fixture(autouse=True)
    def _listed(self, listed):
        self.one = listed

    def make(self):
        return self.one
