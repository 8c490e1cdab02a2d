"""Record what reference classes compute for changed configs: `python record.py CLASSES.py`.

CLASSES.py is a file outside of this repository. It defines NAMES, and `reference(name, config, weights, tokens)`: the
logits float32 [1, L, V] that the class of family `name` gives for token ids int64 [1, L], aligned with their positions.
It raises an exception if the class cannot be built from the config, or if the weights do not have its names and shapes.

`NAME.json` holds a published config with small sizes, and the name of the golden weights that fit it. This script adds
`cases`: for each field its other values in a list, or null if the field is left out, and the number of the result. The
results are in NAME.safetensors, float32 [N, L, V / 8], for every eighth token. Number 0 is that of the config as it is,
and -1 stands for an exception.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
GOLDEN = HERE.parents[3] / "tests" / "golden"
TOKENS = torch.arange(2, 14)[None]
# Values that the rules below do not think of.
MORE: dict[str, list[Any]] = {
    "rope_scaling": [{"type": "linear", "factor": 2.0}, {"rope_type": "yarn", "factor": 4.0}],
    "hidden_act": ["gelu", "relu"],
    "activation_type": ["gelu", "swiglu"],
    "block_type": ["sequential"],
    "layer_norm_type": ["default", "low_precision"],
    "score_function": ["softmax"],
    "moe_router_score_function": ["sigmoid"],
    "partial_rotary_factor": [1.0, 0.25],
    "head_dim": [4],
    "num_key_value_heads": [1, 4],
    "n_kv_heads": [1, 2],
    "num_experts_per_tok": [1],
    "n_group": [1, 2],
    "topk_group": [1],
    "first_k_dense_replace": [0],
    "block_size": [2],
    "bd_size": [4],
}


def other_values(field: str, value: Any) -> list[Any]:
    """The values to which a field is changed."""
    if isinstance(value, bool):
        found: list[Any] = [not value]
    elif isinstance(value, int):
        found = [value + 1, value * 2]
    elif isinstance(value, float):
        found = [value * 2 + 0.25]
    elif isinstance(value, str):
        found = [f"{value}_x"]
    elif isinstance(value, list):
        found = [[*value, *value[:1]]]
    else:
        found = [] if isinstance(value, dict) else [1]
    return [each for each in [*found, *MORE.get(field, [])] if each != value]


def main(classes: str) -> None:
    spec = importlib.util.spec_from_file_location("classes", classes)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for path in sorted(HERE.glob("*.json")):
        if path.stem in module.NAMES:
            record(path, module.reference)


def record(path: Path, reference: Any) -> None:
    published = json.loads(path.read_text())
    config, results = published["config"], []
    weights = load_file(GOLDEN / published["weights"] / "model.safetensors")

    def number(changed: dict[str, Any]) -> int:
        try:
            found = reference(path.stem, copy.deepcopy(changed), weights, TOKENS)[0, :, ::8].contiguous()
        except Exception:  # the class may refuse a config in any way
            return -1
        same = (i for i, each in enumerate(results) if torch.equal(each, found))
        if (known := next(same, None)) is not None:
            return known
        results.append(found)
        return len(results) - 1

    assert number(config) == 0
    cases = []
    for field, value in config.items():
        cases += [[field, [each], number(config | {field: each})] for each in other_values(field, value)]
        cases.append([field, None, number({k: v for k, v in config.items() if k != field})])
    lines = ",\n".join(json.dumps(case) for case in cases)
    head = json.dumps({key: value for key, value in published.items() if key != "cases"}, indent=1)
    path.write_text(f'{head[:-2]},\n "cases": [\n{lines}\n]}}\n')
    save_file({"results": torch.stack(results)}, path.with_suffix(".safetensors"))
    print(path.stem, len(cases), "cases,", len(results), "results")


if __name__ == "__main__":
    main(sys.argv[1])
