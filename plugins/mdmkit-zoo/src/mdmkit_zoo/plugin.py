"""The parts of this distribution."""

from __future__ import annotations

from mdmkit import Component, hookimpl


@hookimpl
def mdmkit_backbone() -> list[Component]:
    return [
        Component(
            "zoo", "mdmkit_zoo.zoo:Zoo", "small models that come with the toolkit: puzzles, antibody, bigram, digits"
        )
    ]


@hookimpl
def mdmkit_command() -> list[Component]:
    return [Component("zoo", "mdmkit_zoo.cli:zoo", "list the zoo's models, or make them again")]


@hookimpl
def mdmkit_task() -> list[Component]:
    return [
        Component("sudoku4", "mdmkit_zoo.tasks:Sudoku4", "4x4 Sudokus that the puzzle model was not trained on"),
        Component("countdown", "mdmkit_zoo.tasks:Countdown", "three numbers and a target, two equations"),
        Component("one_way", "mdmkit_zoo.tasks:OneWay", "a product in binary and its factors, nothing is given"),
        Component("antibody", "mdmkit_zoo.tasks:Antibody", "masked residues of an antibody"),
        Component("bigram", "mdmkit_zoo.tasks:BigramLikelihood", "masked words, judged by their exact likelihood"),
    ]
