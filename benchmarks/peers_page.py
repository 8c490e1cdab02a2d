"""The page of `benchmarks/peers.py`."""

from __future__ import annotations

from typing import Any

from lookahead_page import lookahead, machine_of

INTRODUCTION = """\
# Speed beside the public loops

How long a step takes in the public decoding loops, and in mdmkit, with the same weights on the same machine. Made by

```text
python benchmarks/peers.py
```

With `--only` some cells are measured again. The last columns say how each row was measured: `--pairs`, `--clock`.

* **Loops.** Each is stated again in one file under `benchmarks/peers/`, in words of our own. It writes the tokens that
  the original has written on recorded cases (tests/test_peers.py).
* **Model.** Weights are random, in fp32. A loop runs the very model object that mdmkit has loaded. So only the loops
  differ: not the model's code, in which mdmkit and the published repositories differ too.
* **Task.** Prompts of 32 tokens; 64 tokens to fill (32 at V 126,464), in blocks of 16; one token a step. SDAR's blocks
  are its model's. Info-Gain has N = 8 and a position temperature of 0.1; mdmkit has `scope: sequence`, as its authors'
  code.
* **Measured.** Pairs in one process, one thread. In each pair both decode the same prompts, and who begins changes from
  pair to pair. *Ratio* is their time divided by ours, the median over the pairs; in brackets the least and the most.
  Above 1 mdmkit is faster; below 1 it is bold.
* **Share** is the part of their step that is spent in the model, trunk and head. mdmkit runs the head at open positions
  of the block only, so its step can be shorter than this part.
* **Rows** are row-forwards a step, theirs and ours. Info-Gain draws its alternatives, so the two differ, and the ratio
  with them.
* **Same tokens**: of all tokens that both wrote. A `–` means that both draw.
* **Clock**: `wall`, or `cpu`, the CPU time of the process, if the machine was busy. *Load* is the machine's load
  average when the cell was measured. Where it is above the number of cores, other processes shared the caches of the
  processor: such a row is a first figure, to be measured again on an idle machine.

## What in the loops costs time

It is in the originals, so it is here:

* **LLaDA, dllm, bare greedy loop**: head and softmax run over all columns, also over the prompt and filled ones.
* **dllm**: how many positions a step fills is computed number by number. With a cache all columns are sorted.
* **Fast-dLLM v1**: the softmax is in float64, over all computed columns. Under `prefix` the argmax is taken twice. With
  a cache a block that its first step has filled is computed once more.
* **Info-Gain authors**: one argmax over all columns for every candidate; entropies of the whole canvas, also where
  logits are zeros; a copy of the keys for every candidate.
* **SDAR**: the call that stores the keys of a full block runs the head too.

In four things the loops are better off here than in their repositories:

* Keys are stored with their rotary position. The published code of LLaDA rotates all of them in every call.
* No attention mask is passed where every column may be read.
* What Info-Gain's authors compute for end tokens and for a display is left out.
* SDAR's loop takes the most probable token. The published one draws it from the softmax.

At temperature 0 the original loops draw no Gumbel noise, so its float64 does not count here.
"""


def page(data: dict[str, Any]) -> str:
    """The page of these rows: they and the facts of the machine are the JSON file beside it."""
    parts = [INTRODUCTION, "## Results\n", machine_of(data)]
    for size in dict.fromkeys(row["size"] for row in data["rows"]):
        parts.append(f"### {size[0].upper()}{size[1:]}\n")
        parts.append(_table([row for row in data["rows"] if row["size"] == size]))
    if "lookahead" in data:
        parts.append(lookahead(data["lookahead"]))
    if data["missing"]:
        parts.append("### Not measured yet\n")
        parts.append("".join(f"* {name}\n" for name in data["missing"]))
    return "\n".join(parts)


HEADS = "peer|cache|batch|their ms a step|our ms a step|ratio|share|rows|same tokens|pairs|clock|load|date"


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [HEADS.split("|"), ["---"] * len(HEADS.split("|")), *map(_cells, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cells(row: dict[str, Any]) -> list[str]:
    ratio = f"{row['ratio']:.2f}" if row["ratio"] >= 1 else f"**{row['ratio']:.2f}**"
    return [
        row["peer"],
        row["cache"],
        str(row["batch"]),
        f"{row['theirs_ms']:.2f}",
        f"{row['ours_ms']:.2f}",
        f"{ratio} ({row['least']:.2f} to {row['most']:.2f})",
        f"{row['share']:.0%}",
        f"{row['rows']:.2f} / {row['rows_ours']:.2f}",
        "–" if row["same"] is None else f"{row['same']:.1%}",
        str(row["pairs"]),
        row["clock"],
        f"{row['load']:.1f}",
        row["date"],
    ]
