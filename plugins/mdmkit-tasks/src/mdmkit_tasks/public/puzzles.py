"""Puzzles as text, for text models: Sudoku 4×4 and Countdown, generated from the seed or read from a file."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mdmkit import MdmkitError, Task
from mdmkit_tasks.judges import countdown, sudoku
from mdmkit_tasks.judges.reachable import can_reach
from mdmkit_tasks.public.data import brief, from_file


class SudokuText(Task):
    """4×4 Sudokus: sixteen digits, of which 4 to 10 are given and determine the others.

    Args:
        data: JSON lines with `puzzle`, sixteen digits row by row, 0 for an open cell.
        infill: True: the open cells are masks inside the prompt (arXiv:2602.18176: nothing is appended); False: the
            prompt is a question, and the model writes an answer.
    """

    places = ("data",)

    def __init__(self, data: str | None = None, infill: bool = True):
        self.data, self.infill = data, infill

    def prompts(self, count: int | None, seed: int) -> Sequence[Any]:
        count = self.limit if count is None else count
        puzzles = self._read(count) if self.data is not None else _sudokus(count, seed)
        return [self._ask(puzzle) for puzzle in puzzles]

    def judge(self, prompt: Any, answer: str) -> bool:
        return sudoku.solves(answer, prompt["reference"])

    def _ask(self, puzzle: str) -> dict[str, Any]:
        rows = [puzzle[i : i + 4] for i in range(0, 16, 4)]
        rules = "In a 4x4 Sudoku every row, every column and every 2x2 box holds the digits 1 to 4 once."
        if self.infill:
            shown = "\n".join(row.replace("0", "[MASK]") for row in rows)
            return {"prompt": f"{rules} Solved:\n\n{shown}\n", "reference": puzzle}
        shown = "\n".join(rows)
        wanted = "Solve it: answer with the four rows inside <answer></answer>."
        text = f"{rules} Here 0 is an open cell:\n\n{shown}\n\n{wanted}"
        return {"prompt": text, "length": 128, "infill": False, "reference": puzzle}

    def _read(self, count: int) -> list[str]:
        rows = from_file("sudoku4_text", Path(str(self.data)), ("puzzle|Puzzle",), _sudoku_problem)
        return [_cells(row["puzzle"]) for row in rows][:count]


class CountdownText(Task):
    """Reach a target with all of three or four numbers and + − × ÷.

    Args:
        data: JSON lines with `numbers` (or `nums`) and `target`. A target that cannot be reached with up to five
            numbers is refused.
        numbers: how many numbers a generated puzzle has, 3 or 4.
    """

    settings = {"plan": {"length": 128}}  # noqa: RUF012
    places = ("data",)

    def __init__(self, data: str | None = None, numbers: int = 3):
        if numbers not in (3, 4):
            raise MdmkitError(f"task 'countdown_text': numbers={numbers} is 3 or 4.")
        self.data, self.numbers = data, numbers

    def prompts(self, count: int | None, seed: int) -> Sequence[Any]:
        count = self.limit if count is None else count
        if self.data is not None:
            puzzles = self._read(count)
        else:
            rng = random.Random(f"countdown_text/{seed}")
            puzzles = [_countdown(rng, self.numbers) for _ in range(count)]
        return [self._ask(numbers, target) for numbers, target in puzzles]

    def _read(self, count: int) -> list[tuple[list[int], int]]:
        asked = itertools.count()

        def problem(row: Mapping[str, Any]) -> str:
            # Files have some 100,000 rows, so only those that are asked are solved.
            return _countdown_problem(row) or (_unreachable(row) if next(asked) < count else "")

        rows = from_file("countdown_text", Path(str(self.data)), ("numbers|nums", "target"), problem)
        return [(list(row["numbers"]), row["target"]) for row in rows[:count]]

    def judge(self, prompt: Any, answer: str) -> bool:
        return countdown.reaches(answer, prompt["reference"]["numbers"], prompt["reference"]["target"])

    def _ask(self, numbers: list[int], target: int) -> dict[str, Any]:
        listed = ", ".join(map(str, numbers))
        text = (
            f"With the numbers {listed}, each used exactly once, and +, -, * and / make {target}. Think it over in a "
            "few words, and end with the expression inside <answer></answer>, such as <answer>(1 + 2) * 3</answer>."
        )
        return {"prompt": text, "infill": False, "reference": {"numbers": numbers, "target": target}}


def _cells(puzzle: Any) -> str:
    """The digits of a puzzle row by row, 0 for an open cell; empty if it is no 4×4 grid.

    A spreadsheet may have turned it into a number without its first zeros. These are at most seven: if two rows of a
    box are open, they can change places, so a puzzle with one solution has a digit among its first eight.
    """
    said = str(puzzle).strip()
    if re.fullmatch(r"\d{9,15}", said):
        said = said.rjust(16, "0")
    rows = [re.sub(r"[\s|,+\-\[\]()\"']", "", row) for row in re.split(r"[/;\n]", said)]
    rows = [re.sub(r"[_.]", "0", row) for row in rows if row]
    shape = [16] if len(rows) == 1 else [4] * 4
    return "".join(rows) if [len(row) for row in rows] == shape and re.fullmatch("[0-4]+", "".join(rows)) else ""


def _sudoku_problem(row: Mapping[str, Any]) -> str:
    said = row["puzzle"]
    cells = _cells(said) if type(said) in (str, int) else ""
    if not cells:
        return f"the puzzle {brief(said)} is not sixteen digits 0 to 4"
    if not any(map(_keeps, _grids(), itertools.repeat(cells))):
        return f"the puzzle {brief(said)} has no solution, so no answer would pass"
    if "0" not in cells:
        return f"the puzzle {brief(said)} has no open cell, so there is nothing to solve"
    return ""


def _countdown_problem(row: Mapping[str, Any]) -> str:
    given, target = row["numbers"], row["target"]
    if not isinstance(given, list) or not given or not all(type(n) is int and n >= 0 for n in given):
        return f"the numbers {brief(given)} are not a list of whole numbers, such as [3, 9, 2]"
    return "" if type(target) is int else f"the target {brief(target)} is not a whole number"


def _unreachable(row: Mapping[str, Any]) -> str:
    if can_reach(row["numbers"], row["target"]):
        return ""
    return (
        f"the target {brief(row['target'])} cannot be made of all the numbers {brief(row['numbers'])}, so no answer "
        "would pass"
    )


def _countdown(rng: random.Random, size: int) -> tuple[list[int], int]:
    while True:
        numbers = [rng.randint(1, 20) for _ in range(size)]
        left = list(numbers)
        while len(left) > 1:
            a, b = (left.pop(rng.randrange(len(left))) for _ in range(2))
            left.append({"+": a + b, "-": abs(a - b), "*": a * b}[rng.choice("+-*")])
        if 1 <= left[0] <= 100:
            return numbers, left[0]


def _sudokus(count: int, seed: int) -> list[str]:
    rng, grids = random.Random(f"sudoku4_text/{seed}"), _grids()
    out: dict[str, None] = {}
    while len(out) < count:
        grid, shown = rng.choice(grids), set(rng.sample(range(16), rng.randint(4, 10)))
        puzzle = "".join(c if i in shown else "0" for i, c in enumerate(grid))
        if sum(_keeps(other, puzzle) for other in grids) == 1:
            out[puzzle] = None
    return list(out)


def _keeps(grid: str, puzzle: str) -> bool:
    """True if a filled grid has the given digits of a puzzle."""
    return all(p in ("0", c) for p, c in zip(puzzle, grid, strict=True))


@cache
def _grids() -> tuple[str, ...]:
    """All 288 filled grids."""
    rows = ["".join(p) for p in itertools.permutations("1234")]
    bands = [(a, b) for a, b in itertools.product(rows, repeat=2) if not set(a[:2]) & set(b[:2])]
    pairs = itertools.product(bands, repeat=2)
    stacked = ((*top, *bottom) for top, bottom in pairs)
    return tuple("".join(grid) for grid in stacked if all(len(set(column)) == 4 for column in zip(*grid, strict=True)))
