"""How much of a decode is not the model: share of the wall time outside `forward`, and outside `forward` and the head.

python benchmarks/overhead.py                 # zoo:antibody, CPU, one thread, 120 tokens
python benchmarks/overhead.py --model DIR --length 256 --device cuda
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

import mdmkit

PREFIX = "EVQL"


class Timed:
    """Adds up the time spent in a backbone's own methods; on CUDA it waits for each, so that the shares are honest."""

    def __init__(self, backbone):
        self.seconds = {"forward": 0.0, "project": 0.0}
        for name in self.seconds:
            setattr(backbone, name, self._wrapped(name, getattr(backbone, name), backbone.device))

    def _wrapped(self, name, method, device):
        def timed(*args, **options):
            began = time.perf_counter()
            result = method(*args, **options)
            if device.type == "cuda":
                torch.cuda.synchronize()
            self.seconds[name] += time.perf_counter() - began
            return result

        return timed


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
    timed = Timed(backbone)
    print(f"{options.model}, {options.device}, torch {torch.__version__}, {torch.get_num_threads()} thread,")
    print(f"{options.length} tokens, batch {options.batch}, median of {options.repeats} runs")
    print("sampler      seconds   outside forward   outside forward and head   row-forwards")
    for name in options.samplers.split(","):
        sampler = mdmkit.compose(name, plan={"length": options.length - len(PREFIX)})
        shares = []
        for run in range(options.repeats + 1):
            timed.seconds.update(forward=0.0, project=0.0)
            decoded = mdmkit.decode(sampler, backbone, [PREFIX] * options.batch, seed=run)
            forward, project = timed.seconds["forward"], timed.seconds["project"]
            total = decoded.seconds
            shares.append((total, 1 - forward / total, 1 - (forward + project) / total))
        seconds, outside, without_head = (statistics.median(column) for column in zip(*shares[1:], strict=True))
        nfe = decoded.nfe["rows"]
        print(f"{name:<12} {seconds:7.3f} {outside:16.1%} {without_head:26.1%} {nfe:14}")


if __name__ == "__main__":
    main()
