"""The decoders of the block-causal families, token for token: SDAR's three, LLaDA2.0's, LLaDA2.1's editing.

Blocks lie on a grid that the first token starts, the row is filled up to whole blocks, and a step's quota is that of a
whole block also where a part of it is prompt: `tokens_per_step`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

import mdmkit
from mdmkit import Plan, Sampler
from mdmkit.stage.write import Write
from mdmkit.testing import device_of_tests
from mdmkit_heuristics.bounded import BlockRefinement
from mdmkit_heuristics.edit import Edit
from mdmkit_heuristics.scores import Confidence, LeftToRight
from mdmkit_heuristics.selects import TopK

GOLDEN = Path(__file__).parent / "golden"
CASES = {
    name: json.loads((GOLDEN / name / "traces.json").read_text())["cases"] for name in ("sdar", "llada2", "llada21")
}
MASK = 125
_loaded = {}


def load(name, block):
    if (name, block) not in _loaded:
        options = {"block_length": block} | ({} if name == "sdar" else {"mask_id": MASK})
        _loaded[name, block] = mdmkit.load(str(GOLDEN / name), device=str(device_of_tests()), **options)
    return _loaded[name, block]


def sampler(case, commit=None, cache="none"):
    p = case["params"]
    score = LeftToRight() if case["sampler"] == "sequential" else Confidence()
    select = BlockRefinement(p["threshold"]) if case["sampler"] == "block_refinement" else TopK()
    steps = p.get("steps_per_block", p.get("steps"))
    plan = Plan(length=p["gen_length"], block=p["block_length"], tokens_per_step=p["block_length"] // steps)
    if "editing_threshold" in p:
        commit = Edit(p["editing_threshold"], p["max_post_steps"])
    return Sampler(score, select, commit=commit or Write(), plan=plan, cache=cache)


def decode(name, case, **options):
    return mdmkit.decode(sampler(case, **options), load(name, case["params"]["block_length"]), [case["prompt"]]).tokens[
        0
    ]


def case_id(case):
    p = case["params"]
    return f"{case['sampler']}-{'-'.join(map(str, p.values()))}-{len(case['prompt'])}"


@dataclass(frozen=True)
class Overwrite:
    """What SDAR's code does where fewer positions are open than a step owes.

    Its top-k runs over the whole block, with −∞ at the filled positions, and what it picks of those is replaced by the
    most probable token of now.
    """

    rewrites: ClassVar[bool] = True
    threshold: float = 1.0

    def __call__(self, step, actions, choice):
        canvas = Write()(step, actions, choice)
        place, tokens = torch.zeros_like(step.open), step.belief.argmax
        for b in range(step.rows):
            columns = step.member[b].nonzero()[:, 0]
            sure = step.confidence[b].masked_fill(~step.open[b], -torch.inf)[columns]
            owed = min(step.plan.tokens_per_step, len(columns))
            if int((sure > self.threshold).sum()) < owed:
                # Which of several −∞ are among the largest, each device decides for itself: the data are the CPU's.
                for w in columns[sure.cpu().topk(owed).indices.to(columns.device)].tolist():
                    place[b, w] = not step.open[b, w] and step.window(step.canvas.editable)[b, w]
        return canvas.filled(step.spread(place), step.put(canvas.tokens, tokens))


def overwrites(case):
    """Whether the reference has replaced a filled token: decoding without that gives something else."""
    return decode("sdar", case) != case["output"]


def test_all_cases_are_here():
    assert {name: len(cases) for name, cases in CASES.items()} == {"sdar": 72, "llada2": 18, "llada21": 36}
    slips = [case for case in CASES["sdar"] if overwrites(case)]
    assert {name: sum(case["sampler"] == name for case in slips) for name in ("sequential", "confidence")} == {
        "sequential": 0,
        "confidence": 8,
    }
    assert len(slips) == 24


# The cases in which the mask's probability moves another's over the editing threshold, or under it.
EDITED_BY_THE_MASK = {
    f"block_refinement-{length}-8-8-{threshold}-0.1-4-{prompt}"
    for length, threshold, prompt in ((24, 0.15, 5), (16, 0.95, 8), (24, 0.95, 8), (24, 0.95, 13))
}
# The one case in which the mask's own probability, 0 here, decides whether a position is above the threshold.
BY_THE_MASK = "block_refinement-24-8-4-0.1-8"


@pytest.mark.parametrize("case", CASES["sdar"], ids=case_id)
def test_sdar(case):
    threshold = case["params"]["threshold"]
    # Where nothing is overwritten, the plain decoder: see test_all_cases_are_here.
    commit = None if case["sampler"] == "sequential" else Overwrite(1.0 if threshold is None else threshold)
    assert (decode("sdar", case, commit=commit) == case["output"]) == (case_id(case) != BY_THE_MASK)


@pytest.mark.parametrize("cache", ["none", "block"])
def test_llada2(cache):
    for case in CASES["llada2"]:
        assert decode("llada2", case, cache=cache) == case["output"]


@torch.inference_mode()
def edited(backbone, case, with_mask):
    """LLaDA2.1's decoder, position by position: fill and edit in one step; edit a full block until nothing changes."""
    p, start = case["params"], len(case["prompt"])
    size = p["block_length"]
    end = -(-(start + p["gen_length"]) // size) * size
    tokens = torch.tensor([[*case["prompt"], *[MASK] * (end - start)]], device=backbone.device)
    for low in range(start // size * size, end, size):
        block, full = range(low, low + size), 0
        while full <= p["max_post_steps"]:
            masked = [t for t in block if tokens[0, t] == MASK]
            full += not masked
            if full > p["max_post_steps"]:
                break
            positions = torch.arange(end, device=backbone.device)[None]
            hidden = backbone.forward(tokens, torch.ones_like(tokens).bool(), None, positions=positions).hidden
            logits = backbone.project(hidden)[0]
            if not with_mask:
                logits[:, MASK] = -torch.inf
            sure, best = logits.softmax(-1).max(-1)
            fill = [t for t in masked if sure[t] > p["threshold"]]
            fill = fill or sorted(masked, key=lambda t: -sure[t])[:1]
            edit = [
                t
                for t in block
                if t >= start and t not in masked and sure[t] > p["editing_threshold"] and best[t] != tokens[0, t]
            ]
            if not fill and not edit:
                break
            for t in (*fill, *edit):
                tokens[0, t] = best[t]
    return tokens[0, start : start + p["gen_length"]].tolist()


@pytest.mark.parametrize("case", CASES["llada21"], ids=case_id)
def test_llada21(case):
    """The reference leaves the mask among the tokens, which decides in four cases: the rule is checked both ways."""
    backbone = load("llada21", case["params"]["block_length"])
    assert edited(backbone, case, with_mask=True) == case["output"]
    ours = decode("llada21", case)
    assert ours == edited(backbone, case, with_mask=False)
    assert (ours == case["output"]) == (case_id(case) not in EDITED_BY_THE_MASK)


def test_what_does_not_fit_in_whole_blocks_is_told_what_would():
    backbone = load("sdar", 100)  # 256 positions, two whole blocks
    with pytest.raises(mdmkit.MdmkitError, match=r"needs 300 positions .* or append at most 197 masks"):
        backbone.encode([mdmkit.Prompt(ids=(5, 6, 7))], Plan(length=200))
    assert backbone.encode([mdmkit.Prompt(ids=(5, 6, 7))], Plan(length=197))[0].tokens.shape[1] == 200
    with pytest.raises(mdmkit.MdmkitError, match=r"Shorten the prompt by 11 tokens at least"):
        backbone.encode([mdmkit.Prompt(ids=(5,) * 210)], Plan(length=1))
    assert backbone.encode([mdmkit.Prompt(ids=(5,) * 199)], Plan(length=1))[0].tokens.shape[1] == 200
    with pytest.raises(mdmkit.MdmkitError, match=r"Shorten the prompt by 4 tokens\."):
        backbone.encode([mdmkit.Prompt(ids=(5,) * 259 + (MASK,))], Plan())
