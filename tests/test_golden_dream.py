"""Dream's reference decoder, token for token: its schedule, and its statistics over the 50 best tokens only.

The reference leaves the mask among the tokens. mdmkit never does, so where the mask takes a share of the 50 best that
decides an order, the reference cannot be met. The rule itself is checked with the mask and without.
"""

import json
from pathlib import Path

import pytest
import torch

import mdmkit
from mdmkit import Plan, Sampler
from mdmkit.testing import device_of_tests
from mdmkit_heuristics.scores import Confidence, Entropy, Margin
from mdmkit_heuristics.selects import TopK

GOLDEN = Path(__file__).parent / "golden" / "dream"
CASES = json.loads((GOLDEN / "traces.json").read_text())["cases"]
SCORES = {"confidence": Confidence, "entropy": Entropy, "margin": Margin}
MASK = 125
# (score, steps, prompt length) of the cases in which the mask's probability decides an order.
BY_THE_MASK = {("entropy", 16, 5), ("confidence", 16, 11), ("confidence", 8, 11)}


def key(case):
    return case["sampler"], case["params"]["steps"], len(case["prompt"])


each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, key(case))))


@pytest.fixture(scope="module")
def backbone():
    return mdmkit.load(str(GOLDEN), device=str(device_of_tests()))


def ours(case):
    plan = Plan(length=case["params"]["gen_length"], steps=case["params"]["steps"], schedule="dream")
    return Sampler(SCORES[case["sampler"]](top_k=50), TopK(), plan=plan)


@torch.inference_mode()
def literally(backbone, case, with_mask):
    """The reference, position by position, from its description."""
    steps, length = case["params"]["steps"], case["params"]["gen_length"]
    tokens = torch.tensor([[*case["prompt"], *[MASK] * length]], device=backbone.device)
    times = torch.linspace(1, case["params"]["eps"], steps + 1)
    for i in range(steps):
        positions = torch.arange(tokens.shape[1], device=tokens.device)[None]
        hidden = backbone.forward(tokens, torch.ones_like(tokens).bool(), None, positions=positions).hidden
        logits = backbone.project(hidden)[0]
        if not with_mask:
            logits[:, MASK] = -torch.inf
        masked = [t for t in range(tokens.shape[1]) if tokens[0, t] == MASK]
        fill = len(masked) if i == steps - 1 else int(len(masked) * (1 - times[i + 1] / times[i]))
        worth = {}
        for t in masked:
            p = logits[t].topk(50).values.softmax(-1)
            worth[t] = {"confidence": p[0], "margin": p[0] - p[1], "entropy": (p * p.log()).sum()}[case["sampler"]]
        for t in sorted(masked, key=lambda t: -worth[t])[:fill]:
            tokens[0, t] = logits[t].argmax()
    return tokens[0, -length:].tolist()


def test_all_cases_are_here():
    assert len(CASES) == 18
    assert len({key(case) for case in CASES} & BY_THE_MASK) == 3


@each_case
def test_the_rule_is_the_references(backbone, case):
    assert literally(backbone, case, with_mask=True) == case["output"]


@each_case
def test_tokens_equal_the_reference(backbone, case):
    decoded = mdmkit.decode(ours(case), backbone, [case["prompt"]])
    assert decoded.tokens[0] == literally(backbone, case, with_mask=False)
    assert (decoded.tokens[0] == case["output"]) == (key(case) not in BY_THE_MASK)
    # A reference step that fills nothing costs no forward here.
    assert decoded.nfe["rows"] == (15 if case["params"]["steps"] == 16 else case["params"]["steps"])


def test_traces_stay_the_same_in_one_ragged_batch(backbone):
    for case in CASES:
        group = [other for other in CASES if (other["sampler"], other["params"]) == (case["sampler"], case["params"])]
        decoded = mdmkit.decode(ours(case), backbone, [other["prompt"] for other in group])
        assert len(group) == 2
        for other, tokens in zip(group, decoded.tokens, strict=True):
            assert (tokens == other["output"]) == (key(other) not in BY_THE_MASK)
