"""The parts of this distribution."""

from __future__ import annotations

from mdmkit import Component, hookimpl


@hookimpl
def mdmkit_command() -> list[Component]:
    return [
        Component("eval", "mdmkit_tasks.cli:evaluate", "judge one sampler on one task"),
        Component("compare", "mdmkit_tasks.cli:compare", "compare samplers on the same prompts"),
        Component(
            "reproduce",
            "mdmkit_tasks.reproduction.command:reproduce",
            "run a paper's experiments, or compute their cost",
        ),
        Component("lm-eval", "mdmkit_tasks.cli:harness", "lm-evaluation-harness, with the model `mdmkit`"),
    ]


@hookimpl
def mdmkit_task() -> list[Component]:
    public = "mdmkit_tasks.public"
    return [
        Component("gsm8k", f"{public}.reasoning:GSM8K", "grade-school word problems, by their number"),
        Component("math500", f"{public}.reasoning:Math500", "500 problems of MATH, by math-verify"),
        Component("gpqa", f"{public}.reasoning:GPQA", "graduate-level multiple choice"),
        Component("humaneval", f"{public}.programs:HumanEval", "functions to complete, run in a sandbox"),
        Component("mbpp", f"{public}.programs:MBPP", "short programs with asserts, run in a sandbox"),
        Component("sudoku4_text", f"{public}.puzzles:SudokuText", "4x4 Sudokus for text models"),
        Component("countdown_text", f"{public}.puzzles:CountdownText", "Countdown for text models"),
        Component("reasoning_gym", f"{public}.gym:ReasoningGym", "the generated data sets of reasoning-gym"),
        Component("writing", f"{public}.writing:Writing", "stories, compared by a judge behind an endpoint"),
    ]
