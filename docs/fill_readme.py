"""Write what was really printed and measured into README.md: `make readme`.

Between the markers go the output of `make demo`, and a summary of docs/results/puzzles.json; the live view's picture is
drawn anew.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from click.testing import CliRunner

from mdmkit_zoo.demo import demo

ROOT = Path(__file__).resolve().parents[1]
TITLES = {"sudoku4": "Sudoku 4×4", "countdown": "Countdown", "one_way": "one-way products"}


def demo_block() -> str:
    """What `make demo` prints."""
    result = CliRunner().invoke(demo, [], catch_exceptions=False)
    return f"```text\n{result.stdout.rstrip()}\n```"


def results_block() -> str:
    """Solved % of every sampler, one column per task and K."""
    data = json.loads((ROOT / "docs/results/puzzles.json").read_text(encoding="utf-8"))
    cells = {(c["sampler"], c["task"], c["tokens_per_step"]): c for c in data["cells"]}
    samplers = list(dict.fromkeys(c["sampler"] for c in data["cells"]))
    columns = list(dict.fromkeys((c["task"], c["tokens_per_step"]) for c in data["cells"]))
    facts = data["facts"]
    lines = [
        f"Solved by `zoo:puzzles` at K tokens a step, in % of held-out prompts (up to {facts['count']}; "
        f"{facts['seeds']} seeds):",
        "",
        "| sampler | " + " | ".join(f"{TITLES[task]}, K={k}" for task, k in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for sampler in samplers:
        shares = (f"{100 * cells[sampler, task, k]['solved']:.1f}" for task, k in columns)
        lines.append(f"| {sampler} | " + " | ".join(shares) + " |")
    return "\n".join(lines)


def filled(readme: str) -> str:
    for name, block in (("demo", demo_block()), ("results", results_block())):
        pattern = rf"<!-- {name}:begin -->\n.*?<!-- {name}:end -->"
        text = f"<!-- {name}:begin -->\n{block}\n<!-- {name}:end -->"
        readme = re.sub(pattern, lambda match, text=text: text, readme, flags=re.DOTALL)
    return readme


if __name__ == "__main__":
    CliRunner().invoke(demo, ["--svg", str(ROOT / "docs/img/live.svg")], catch_exceptions=False)
    path = ROOT / "README.md"
    path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
