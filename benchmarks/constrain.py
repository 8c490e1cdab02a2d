"""What a constraint does to the quality of answers: `exact` beside `mask`, no constraint, and rejection.

    python benchmarks/constrain.py [--only choices] [--only lengths] [--only puzzles]

Writes docs/results/constraints.json, and the page beside it. With `--only` the rest stays as it was measured before;
`--only page` writes the page alone. One thread, fp32.
"""

from __future__ import annotations

import datetime
import json
import time
from pathlib import Path
from typing import Any

import click
import torch
from constrain_chain import CHOICES, PROMPTS, WORDS, choices, lengths
from constrain_page import page
from constrain_puzzles import TRIES, puzzles

import mdmkit


@click.command()
@click.option("--only", multiple=True, type=click.Choice(["choices", "lengths", "puzzles", "page"]))
@click.option("--drawn", default=1000, show_default=True, help="Answers for each prompt of the choices.")
@click.option("--prompts", default=40, show_default=True, help="Prompts of the answers of 32 characters.")
@click.option("--rows", default=10, show_default=True, help="Answers for each of them.")
@click.option("--count", default=250, show_default=True, help="Prompts per puzzle.")
@click.option("--output", default="docs/results/constraints.md", show_default=True, type=click.Path(path_type=Path))
def main(only: tuple[str, ...], drawn: int, prompts: int, rows: int, count: int, output: Path) -> None:
    torch.set_num_threads(1)
    place = output.with_suffix(".json")
    told: dict[str, Any] = json.loads(place.read_text()) if place.exists() else {}
    chain, puzzle = (mdmkit.load(f"zoo:{name}", device="cpu") for name in ("bigram", "puzzles"))
    parts = {
        "choices": lambda: {
            **{"drawn": drawn, "texts": CHOICES, "words": WORDS, "prompts": len(PROMPTS)},
            "cells": choices(chain, drawn),
        },
        "lengths": lambda: {"rows": rows, "cells": lengths(chain, prompts, rows)},
        "puzzles": lambda: {"tries": TRIES, "cells": puzzles(puzzle, count)},
    }
    for name, measure in parts.items():
        if not only or name in only:
            begun = time.perf_counter()
            found = measure()
            about = {"torch": torch.__version__, "date": str(datetime.date.today())}
            told[name] = {**about, "seconds": round(time.perf_counter() - begun), **found}
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(told) + "\n", encoding="utf-8")
    output.write_text(page(told), encoding="utf-8")


if __name__ == "__main__":
    main()
