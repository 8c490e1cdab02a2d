"""Every task of the zoo keeps the laws of tasks, and its command those of commands."""

from __future__ import annotations

from typing import ClassVar

import mdmkit
from mdmkit.testing import CommandContract, TaskContract
from mdmkit_zoo.plugin import mdmkit_command
from mdmkit_zoo.puzzles import texts
from mdmkit_zoo.tasks import TRASTUZUMAB, Antibody, BigramLikelihood, Countdown, OneWay, Sudoku4


def filled(task: str, prompt: str) -> str:
    """The first true text that keeps a prompt's givens."""
    return next(text for text in texts.texts(task) if texts.judge(task, prompt, text))


class TestSudoku4(TaskContract):
    component = Sudoku4

    def right(self, prompt):
        return filled("sudoku4", prompt)


class TestCountdown(TaskContract):
    component = Countdown

    def right(self, prompt):
        return filled("countdown", prompt)


class TestOneWay(TaskContract):
    component = OneWay

    def right(self, prompt):
        return "7*8=0111000"


class TestAntibody(TaskContract):
    component = Antibody

    def right(self, prompt):
        return TRASTUZUMAB


class TestAntibodyWithFewHidden(TestAntibody):
    options: ClassVar = {"hidden": 0.1}


class TestBigram(TaskContract):
    """The most probable filling is the right one."""

    component = BigramLikelihood
    options: ClassVar = {"words": 6}

    def right(self, prompt):
        model = mdmkit.load("zoo:bigram")
        import torch

        best, _ = model.chain.viterbi(torch.tensor([model.tokens(prompt)]))
        return model.text(best[0].tolist())

    def solved(self, scores):
        return scores["gap"] < 1e-3


class TestZoo(CommandContract):
    (component,) = mdmkit_command()
