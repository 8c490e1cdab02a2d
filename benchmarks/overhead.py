"""How much of a decode is not the model: share of the wall time outside `forward`, and outside `forward` and the head.

`mdmkit bench` prints the same parts in milliseconds a step, for random prompts.

python benchmarks/overhead.py                 # zoo:antibody, CPU, one thread, 120 tokens
python benchmarks/overhead.py --model DIR --length 256 --device cuda
"""

from __future__ import annotations

import argparse
import statistics

import torch

import mdmkit
from mdmkit.watch.cost import measure

PREFIX = "EVQL"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="zoo:antibody")
    parser.add_argument("--samplers", default="confidence,info_gain")
    parser.add_argument("--length", type=int, default=120, help="tokens of the whole row")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    backbone = mdmkit.load(options.model, device=options.device)
    print(f"{options.model}, {options.device}, torch {torch.__version__}, {torch.get_num_threads()} thread,")
    print(f"{options.length} tokens, batch {options.batch}, median of {options.repeats} runs")
    print("sampler      seconds   outside forward   outside forward and head   row-forwards")
    for name in options.samplers.split(","):
        sampler = mdmkit.compose(name, plan={"length": options.length - len(PREFIX)})
        costs = []
        for run in range(options.repeats + 1):  # the first run is not counted
            costs.append(measure(sampler, backbone, mdmkit.read_prompts([PREFIX] * options.batch, run)))
        shares = [(cost.seconds, 1 - cost.trunk / cost.seconds, cost.rest / cost.seconds) for cost in costs[1:]]
        seconds, outside, without_head = (statistics.median(column) for column in zip(*shares, strict=True))
        print(f"{name:<12} {seconds:7.3f} {outside:16.1%} {without_head:26.1%} {costs[-1].rows:14}")


if __name__ == "__main__":
    main()
