"""The public loops of benchmarks/peers write the tokens that the originals have written, on the golden checkpoints.

Where no original was recorded, they write mdmkit's own tokens.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import mdmkit
from mdmkit_heuristics.scores import Confidence
from mdmkit_info_gain.lookahead import InfoGain

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"


def cases(family: str, **wanted: Any) -> list[Any]:
    """Cases of a golden file, by sampler, source, and the presence of guidance."""
    every = json.loads((GOLDEN / family / "traces.json").read_text())["cases"]
    return [case for case in every if all(case[key] in each for key, each in wanted.items())]


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import peers.bare
    import peers.dllm
    import peers.fast_dllm
    import peers.info_gain
    import peers.llada
    import peers.model
    import peers.sdar

    return peers


def model(peers: Any, family: str, **options: Any) -> Any:
    return peers.model.Model(mdmkit.load(str(GOLDEN / family), device="cpu", **options), time.perf_counter)


def written(tokens: Any, case: dict[str, Any]) -> list[int]:
    """The tokens behind the prompt, as many as were recorded."""
    assert len(tokens) == 1
    return tokens[0, len(case["prompt"]) :].tolist()[: len(case["output"])]


def shape(case: dict[str, Any]) -> dict[str, Any]:
    p = case["params"]
    return {"length": p["gen_length"], "block": p["block_length"], "steps": p.get("steps") or p["gen_length"]}


def test_llada_and_the_loops_without_a_cache_write_what_llada_wrote(peers: Any) -> None:
    found = cases("llada", source=["LLaDA-style generate"], sampler=["confidence"])
    assert len(found) == 8
    llada, one_each = model(peers, "llada"), 0
    for case in found:
        prompt, sizes = torch.tensor([case["prompt"]]), shape(case)
        assert written(peers.llada.generate(llada, prompt, **sizes), case) == case["output"]
        assert written(peers.dllm.sample(llada, prompt, **sizes), case) == case["output"]
        if sizes["steps"] == sizes["length"]:
            one_each += 1
            bare = peers.bare.generate(llada, prompt, length=sizes["length"], block=sizes["block"])
            assert written(bare, case) == case["output"]
    assert one_each > 2


@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
def test_fast_dllm_writes_what_it_wrote_in_as_many_forwards(peers: Any, cache: str) -> None:
    sources = ["Fast-dLLM generate", "Fast-dLLM prefix cache", "Fast-dLLM dual cache"]
    found = [each for each in cases("llada", source=sources) if each["params"]["cache"] == cache]
    assert len(found) == {"none": 32, "prefix": 8, "dual": 8}[cache]
    for case in found:
        llada, prompt = model(peers, "llada"), torch.tensor([case["prompt"]])
        sizes = shape(case) | {"cache": cache, "threshold": case["params"].get("threshold")}
        assert written(peers.fast_dllm.generate(llada, prompt, **sizes), case) == case["output"]
        assert llada.rows == case["nfe"]


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_dllm_writes_what_fast_dllm_wrote_alone_and_in_a_batch(peers: Any, cache: str) -> None:
    found = cases("llada", source=[f"Fast-dLLM {cache} cache"], sampler=["confidence"])
    assert len(found) == 4
    llada = model(peers, "llada")
    for case in found:
        sizes = shape(case) | {"cache": cache}
        other = [token + 1 for token in case["prompt"]]
        both = peers.dllm.sample(llada, torch.tensor([other, case["prompt"]]), **sizes)
        assert written(both[1:], case) == case["output"]
        alone = peers.dllm.sample(llada, torch.tensor([other]), **sizes)
        assert torch.equal(both[:1], alone)


def test_sdar_writes_what_it_wrote_greedily(peers: Any) -> None:
    found = cases("sdar", source=["SDAR generate.py low_confidence_static, greedy tokens"])
    assert len(found) == 18
    for case in found:
        p = case["params"]
        sdar = model(peers, "sdar", block_length=p["block_length"])
        sizes = {"length": p["gen_length"], "block": p["block_length"], "steps": p["steps_per_block"]}
        assert written(peers.sdar.generate(sdar, torch.tensor([case["prompt"]]), **sizes), case) == case["output"]


@dataclass(frozen=True)
class EveryPosition:
    """One alternative per open position."""

    alternatives: int = 1 << 10

    def __call__(self, step: Any, scores: Any) -> Any:
        one_each = torch.eye(step.width, dtype=torch.bool).expand(step.rows, -1, -1)
        return mdmkit.Actions(one_each, step.tokens[:, None].expand(-1, step.width, -1), step.open)


@dataclass(frozen=True)
class Bypassed(EveryPosition):
    """The same, but only the most certain position if it is certain enough."""

    threshold: float = 1.0

    def __call__(self, step: Any, scores: Any) -> Any:
        actions = super().__call__(step, scores)
        sure = step.confidence.masked_fill(~step.open, -1)
        best = torch.nn.functional.one_hot(sure.argmax(1), step.width).bool()
        certain = sure.amax(1) >= self.threshold
        return mdmkit.Actions(actions.place, actions.tokens, torch.where(certain[:, None], best, actions.live))


@pytest.fixture
def every_position(peers: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The loops, where those of Info-Gain's authors propose every open position."""

    def every(logits: Any, x: Any, is_open: Any, *others: Any) -> Any:
        place = is_open[0].nonzero()[:, 0]
        states = x.repeat(len(place), 1)
        states[torch.arange(len(place)), place] = logits.argmax(-1)[0, place]
        return states

    monkeypatch.setattr(peers.info_gain, "propose", every)
    return peers


def test_info_gain_writes_what_its_authors_wrote_with_every_position_a_candidate(every_position: Any) -> None:
    found = cases("llada", sampler=["info_gain"])
    assert len(found) == 4
    llada = model(every_position, "llada")
    for case in found:
        row = every_position.info_gain.sample(llada, torch.tensor([case["prompt"]]), **shape(case))
        assert written(row, case) == case["output"]


@pytest.mark.parametrize("threshold", [None, 0.18])
def test_info_gain_with_two_sided_keys_writes_what_mdmkit_writes(every_position: Any, threshold: float | None) -> None:
    """In one block, so that no mask outside it counts. Forwards are equal in number too, whether it looks or not.

    mdmkit leaves the mask's own probability out, so here the loop sees none.
    """

    class WithoutMask(every_position.model.Model):
        def __call__(self, *given: Any) -> Any:
            logits = super().__call__(*given)
            logits[..., self.mask] = -torch.inf
            return logits

    backbone = mdmkit.load(str(GOLDEN / "llada"), device="cpu")
    select = EveryPosition() if threshold is None else Bypassed(threshold=threshold)
    plan, gain = mdmkit.Plan(length=10, block=10), InfoGain(scope="sequence")
    sampler = mdmkit.Sampler(Confidence(), select, gain, plan=plan, cache="dual")
    looked = set()
    for seed in range(6):
        prompt = torch.randint(0, 120, (1, 7), generator=torch.Generator().manual_seed(seed))
        llada = WithoutMask(backbone, time.perf_counter)
        sizes = {"length": 10, "block": 10, "steps": 10, "cache": "dual", "threshold": threshold}
        row = every_position.info_gain.sample(llada, prompt, **sizes)
        decoded = mdmkit.decode(sampler, backbone, prompt.tolist())
        assert row[0, 7:].tolist() == decoded.tokens[0]
        assert llada.rows == decoded.nfe["rows"]
        looked.add(llada.rows)
    assert len(looked) > 1 or threshold is None


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_info_gain_that_is_always_certain_writes_what_fast_dllm_wrote(peers: Any, cache: str) -> None:
    for case in cases("llada", source=[f"Fast-dLLM {cache} cache"], sampler=["confidence"]):
        llada = model(peers, "llada")
        row = peers.info_gain.sample(llada, torch.tensor([case["prompt"]]), **shape(case), cache=cache, threshold=0.0)
        assert written(row, case) == case["output"]
        assert llada.rows == case["nfe"]


def test_info_gain_under_prefix_looks_first_at_keys_that_are_not_cut(peers: Any) -> None:
    """Forwards of a block of three: all columns, then states of `prefix` behind the whole row, then before the cut."""
    llada, asked = model(peers, "llada"), []
    call = llada.network.forward
    llada.network.forward = lambda **given: asked.append(given) or call(**given)
    torch.manual_seed(0)
    sizes = {"length": 6, "block": 3, "steps": 6, "cache": "prefix", "position_temperature": 1.0}
    peers.info_gain.sample(llada, torch.tensor([[5, 6, 7, 8]]), **sizes)
    first = [(given["position_ids"][0, 0].item(), given["input_ids"].shape[1]) for given in asked]
    assert first == [(0, 10), (10, 6), (4, 6), (0, 10), (10, 3), (7, 3)]


def test_candidates_are_distinct_and_the_greedy_one_is_the_first(peers: Any) -> None:
    torch.manual_seed(1)
    logits, x = torch.randn(1, 8, 16), torch.full((1, 8), 15)
    logits[..., 15] = -torch.inf
    is_open = torch.tensor([[False, False, True, True, True, True, True, False]])
    states = peers.info_gain.propose(logits, x, is_open, 2, 8, 0.5)
    places = [tuple((state != x[0]).nonzero()[:, 0].tolist()) for state in states]
    certain = logits.softmax(-1).amax(-1)[0].masked_fill(~is_open[0], 0)
    assert places[0] == tuple(sorted(certain.topk(2).indices.tolist()))
    assert len({*places}) == len(places) > 2
    assert all({*place} <= {2, 3, 4, 5, 6} and len(place) == 2 for place in places)
