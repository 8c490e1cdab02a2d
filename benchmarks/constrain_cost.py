"""What a rule costs beside the head of a model: 32,000 tokens, a pattern of 20 fields, 8 rows.

    python benchmarks/constrain_cost.py [--answer 256] [--window 32]

Tokens are random texts of 1 to 7 characters. Prints seconds: of building the automaton and the tables; of one call of
`shape`, and of one choice of tokens, if every position of the window is filled; and of a head with d = 4096 for the
same positions. One thread, logits in fp32.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import click
import torch

from mdmkit import Actions, Canvas, Draw, Plan, States, Step, Window
from mdmkit.stage.belief import Belief
from mdmkit.stage.memory import Memory, Recall
from mdmkit_constrain.apart import of_pattern
from mdmkit_constrain.language import Language
from mdmkit_constrain.tables import tables_of

FIELDS = ",".join(rf'"f{i}": ("[a-z ]{{0,10}}"|[0-9]{{1,4}}|true|false)' for i in range(20))
LETTERS = 'abcdefghijklmnopqrstuvwxyz     0123456789{}":,ABC.-_'
ROWS, VOCAB, MASK, END = 8, 32_000, 31_998, 31_999


def texts() -> tuple[bytes | None, ...]:
    rng = random.Random(0)
    found = {bytes([i]) for i in range(256)}
    while len(found) < MASK:
        found.add("".join(rng.choices(LETTERS, k=rng.randint(2, 7))).encode())
    return (*sorted(found), None, None)


def timed(what: str, call: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    result = call()
    print(f"{what}: {time.perf_counter() - began:.2f} s", flush=True)
    return result


@click.command()
@click.option("--answer", "length", default=256, show_default=True, help="Positions of each answer.")
@click.option("--window", "width", default=32, show_default=True, help="Positions whose logits are read.")
@torch.inference_mode()
def main(length: int, width: int) -> None:
    torch.set_num_threads(1)
    here = torch.device("cpu")
    automaton = timed("automaton", lambda: of_pattern(r"\{" + FIELDS + r"\}"))
    tables = timed("tables", lambda: tables_of(automaton, texts(), (MASK,), (END,), (END,)))
    print(f"{tables.states} states, {tables.classes} classes, {len(tables.moves.index)} arrows")
    answer, window = (Window.of([(0, n)] * ROWS, here) for n in (length, width))
    flags, tokens = torch.ones(ROWS, length, dtype=torch.bool), torch.full((ROWS, length), MASK)
    none = torch.zeros(ROWS, dtype=torch.bool)
    logits = torch.randn(ROWS, width, VOCAB).index_fill_(2, torch.tensor([MASK]), -torch.inf)
    places = torch.arange(ROWS * width)
    states = States(tokens, flags, torch.arange(ROWS), window, answer, none, behind=0, places=places)
    canvas = Canvas(tokens, flags, flags, flags, torch.arange(ROWS), none, ~flags, MASK)
    place = flags[:, None, :width]
    for mode in ("exact", "mask"):
        language = Language(tables, tables, "a pattern", mode)
        shaped = timed(f"{mode}: shape", partial(language.shape, logits.flatten(0, 1), states, window.columns))
        shaped = shaped.view_as(logits)
        for heat in (0.0, 1.0):
            belief, memory = Belief(shaped, unconstrained=logits), Recall(Memory(rows=ROWS), None, window, length)
            numbers = none.long(), none, none.long(), none.long()
            draw = Draw(temperature=heat)
            step = Step(canvas, window, belief, place[:, 0], *numbers, Plan(), draw, memory, answer=answer, behind=0)
            actions = Actions(place, step.tokens[:, None], place[..., 0])
            timed(f"{mode}: tokens, temperature {heat:g}", partial(language.settle, step, actions))
    hidden, head = torch.randn(ROWS * width, 4096), torch.randn(4096, VOCAB)
    timed("head", lambda: hidden @ head)


if __name__ == "__main__":
    main()
