"""Text as it becomes final, and rows as they finish."""

from __future__ import annotations

import mdmkit

sampler, backbone = mdmkit.compose("confidence"), mdmkit.load("zoo:puzzles")

# One prompt: its text, left to right, as no mask is left before it.
show = mdmkit.TextStream(lambda row, piece, last: print(piece, end="\n" if last else ""))
mdmkit.decode(sampler, backbone, ["7*8=_______"], observers=[show])

# Any number of prompts: each row once it and all before it are finished. Prompts are read as they are needed.
prompts = (f"{a}*{b}=_______" for a in range(2, 10) for b in range(2, 10))
for row in mdmkit.stream(sampler, backbone, prompts, batch=8):
    if row.index % 16 == 0:
        print(row.index, row.text)
