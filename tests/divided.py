"""What `test_torchrun` runs in every process of torchrun: decode with a model that they share, and print the rows."""

import json
import os
import sys

import torch

import mdmkit

PROMPTS = [{"prompt_ids": [5 + (7 * i + 3 * j) % 60 for j in range(9 + 2 * i)], "length": 8 + 5 * i} for i in range(3)]
SAMPLERS = {
    "confidence": {},
    "info_gain": {"select": {"candidates": 4}},
    "info_gain drawn": {"draw": {"temperature": 0.7}},
    "beam": {},
}


def rows(backbone):
    """Sampler and cache -> tokens, orders and H̃ of the rows."""
    found = {}
    for name, nodes in SAMPLERS.items():
        for cache in sorted(backbone.caches):
            plan = {"block": backbone.block or 8, "early_stop": False}
            sampler = mdmkit.compose(name.split()[0], cache=cache, **nodes, plan=plan)
            decoded = mdmkit.decode(sampler, backbone, PROMPTS, seed=1).rows
            found[f"{name}, {cache}"] = [[row.tokens, row.order, row.uncertainty] for row in decoded]
    return found


def share(backbone):
    """How much of the layers' weights this process holds."""
    held = whole = 0
    for name, weight in backbone.network.model.named_parameters():
        if ".layers." in name:
            whole += weight.numel()
            held += weight.to_local().numel() if hasattr(weight, "to_local") else weight.numel()
    return held / whole


if __name__ == "__main__":
    torch.set_num_threads(1)
    model = mdmkit.load(sys.argv[1], device="cpu", tp=2, **json.loads(sys.argv[2]))
    assert os.environ["RANK"] == "0"  # in the other process `load` does not return
    print("found", json.dumps({"rows": rows(model), "share": share(model)}))
