"""The three puzzles as fixed-width strings: all correct texts of each, the held-out split, and the judges.

| puzzle | text | prompt (`_` is the mask) |
|---|---|---|
| `sudoku4` | `1234/3412/2143/4321` | some of the sixteen cells |
| `countdown` | `3,4,9>08:3+9=12,12-04=08` | the numbers and the target |
| `one_way` | `7*8=0111000` (decimal factors, binary product) | anything; the paper's case gives nothing |

The one-way product follows the case study of arXiv:2602.18176: to multiply is easy, to factor is not.
"""

from __future__ import annotations

import itertools
import random
import re
import zlib
from functools import cache

from mdmkit import MdmkitError

MASK = "_"
ALPHABET = "0123456789+-*=/,>:"
TASKS = ("sudoku4", "countdown", "one_way")
# The number of characters at the start that are given: numbers and target, or factors; none in a Sudoku.
PROMPT = {"sudoku4": 0, "countdown": len("3,4,9>08:"), "one_way": len("7*8=")}
# The Countdown column that is 0 in every text, because the last operand is below ten. It is given, like punctuation.
LEADING_ZERO = "3,4,9>08:3+9=12,12-04=08".index("04")

# One in this number of puzzles is never trained on; see `held_out`.
HELD_OUT_ONE_IN = {"sudoku4": 4, "countdown": 8}


@cache
def sudoku_texts() -> tuple[str, ...]:
    """All 288 valid 4x4 grids, rows joined by `/`."""
    rows = ["".join(p) for p in itertools.permutations("1234")]
    # Two rows that fill two boxes: few pairs do, and only these need be set upon each other.
    bands = ["/".join(two) for two in itertools.product(rows, repeat=2) if _fills_boxes(*two)]
    grids = ("/".join(two) for two in itertools.product(bands, repeat=2))
    return tuple(g for g in grids if is_sudoku(g))


@cache
def countdown_texts() -> tuple[str, ...]:
    """Every solved puzzle of three numbers 1..9 by + and −, target above 0; a sum keeps the prompt's order."""
    texts = []
    for numbers in itertools.product(range(1, 10), repeat=3):
        for i, j, k in ((0, 1, 2), (0, 2, 1), (1, 2, 0)):
            for a, op, b, middle in _equations(numbers[i], numbers[j]):
                for x, op2, y, target in _equations(middle, numbers[k]):
                    if target > 0:
                        given = ",".join(map(str, numbers))
                        texts.append(f"{given}>{target:02d}:{a}{op}{b}={middle:02d},{x:02d}{op2}{y:02d}={target:02d}")
    return tuple(dict.fromkeys(texts))


@cache
def one_way_texts() -> tuple[str, ...]:
    """The 64 products of two numbers 2..9, in seven bits."""
    return tuple(f"{a}*{b}={a * b:07b}" for a in range(2, 10) for b in range(2, 10))


def texts(task: str) -> tuple[str, ...]:
    return {"sudoku4": sudoku_texts, "countdown": countdown_texts, "one_way": one_way_texts}[task]()


def _fills_boxes(upper: str, lower: str) -> bool:
    return len({*upper[:2], *lower[:2]}) == len({*upper[2:], *lower[2:]}) == 4


def _equations(a: int, b: int):
    yield a, "+", b, a + b
    yield max(a, b), "-", min(a, b), abs(a - b)


def held_out(task: str, prompt: str) -> bool:
    """True if a masked prompt belongs to the judged split, which is never trained on.

    Sudoku is split by the whole masked puzzle, Countdown by its numbers and target. One-way products have no
    split: in the judged case nothing is given, so there is no puzzle to hold out.
    """
    if task not in HELD_OUT_ONE_IN:
        return False
    key = prompt if task == "sudoku4" else prompt[: PROMPT["countdown"]]
    return zlib.crc32(key.encode()) % HELD_OUT_ONE_IN[task] == 0


def instances(task: str, count: int, seed: int, *, trained: bool = False) -> list[str]:
    """Draw `count` different held-out prompts from a seed (one-way: `count` times its only prompt).

    With `trained=True` they are prompts that training may use.

    Raises:
        MdmkitError: there are fewer than `count` such prompts.
    """
    if task == "one_way":
        return [_prompt(task, one_way_texts()[0], random.Random(0))] * count
    if count > (most := available(task)) and not trained:
        raise MdmkitError(f"{count} held-out {task} prompts were asked for, and there are {most}.")
    rng = random.Random(f"{task}/{seed}")
    prompts: dict[str, None] = {}
    while len(prompts) < count:
        prompt = _prompt(task, rng.choice(texts(task)), rng)
        if held_out(task, prompt) is not trained:
            prompts[prompt] = None
    return list(prompts)


@cache
def available(task: str) -> int:
    """The number of different held-out prompts; for Sudoku a very large number."""
    if task == "countdown":
        prompts = {_prompt(task, text, random.Random(0)) for text in countdown_texts()}
        return sum(held_out(task, prompt) for prompt in prompts)
    return 10**6


def _prompt(task: str, text: str, rng: random.Random) -> str:
    if task == "sudoku4":
        cells = [i for i, c in enumerate(text) if c != "/"]
        hidden = set(rng.sample(cells, 16 - rng.randint(4, 10)))
        return "".join(MASK if i in hidden else c for i, c in enumerate(text))
    start = PROMPT["countdown"] if task == "countdown" else 0
    given = {"countdown": ",=", "one_way": "*="}[task]
    kept = {LEADING_ZERO} if task == "countdown" else set()
    return "".join(c if i < start or c in given or i in kept else MASK for i, c in enumerate(text))


def judge(task: str, prompt: str, answer: str) -> bool:
    """True if `answer` solves `prompt`: given characters are kept and the rules hold."""
    if len(answer) != len(prompt) or any(p not in (MASK, a) for p, a in zip(prompt, answer, strict=True)):
        return False
    return {"sudoku4": is_sudoku, "countdown": is_countdown, "one_way": is_product}[task](answer)


def is_sudoku(text: str) -> bool:
    rows = text.split("/")
    if [len(r) for r in rows] != [4] * 4:
        return False
    columns = ["".join(c) for c in zip(*rows, strict=True)]
    boxes = [rows[r][c : c + 2] + rows[r + 1][c : c + 2] for r in (0, 2) for c in (0, 2)]
    return all(sorted(unit) == list("1234") for unit in [*rows, *columns, *boxes])


def is_countdown(text: str) -> bool:
    """Check the arithmetic, the target, and that the three given numbers are used once each."""
    m = re.fullmatch(r"(\d),(\d),(\d)>(\d\d):(\d)([+-])(\d)=(\d\d),(\d\d)([+-])(\d\d)=(\d\d)", text)
    if m is None:
        return False
    given, target = sorted(map(int, m.group(1, 2, 3))), int(m[4])
    a, b, middle, x, y, result = (int(m[i]) for i in (5, 7, 8, 9, 11, 12))
    last = [y] if x == middle else [x] if y == middle else []
    if x == middle == y:
        last = [middle]
    return (
        _apply(a, m[6], b) == middle
        and _apply(x, m[10], y) == result == target
        and any(sorted([a, b, number]) == given for number in last)
    )


def is_product(text: str) -> bool:
    m = re.fullmatch(r"([2-9])\*([2-9])=([01]{7})", text)
    return m is not None and int(m[1]) * int(m[2]) == int(m[3], 2)


def _apply(a: int, op: str, b: int) -> int:
    return a + b if op == "+" else a - b
