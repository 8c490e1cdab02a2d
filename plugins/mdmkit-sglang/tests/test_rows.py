"""Rows inside SGLang are those of `mdmkit.decode`; they join and leave at different rounds."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sglang_rounds import BLOCK, END, Request, Scheduler, configured

import mdmkit

pytestmark = pytest.mark.sglang
# Prompts whose ends lie inside a block, at its end, and in a later one; lengths that are and are not whole blocks.
PROMPTS = [([7, 8, 9], 13), (list(range(20, 28)), 16), (list(range(30, 51)), 24), ([11], 7)]
SAMPLERS: dict[str, dict[str, Any]] = {
    "confidence": {"sampler": "confidence"},
    "confidence, drawn": {"sampler": "confidence", "set": {"draw.temperature": 0.8, "select.temperature": 0.5}},
    "threshold": {"sampler": "threshold", "set": {"select.threshold": 0.05}},
    "info_gain": {"sampler": "info_gain", "set": {"select.candidates": 3}},
    "info_gain, drawn": {"sampler": "info_gain", "set": {"select.candidates": 3, "draw.temperature": 0.7}},
    "info_gain_plus": {"sampler": "info_gain_plus", "set": {"select.candidates": 3}},
    "info_gain_plus, drawn": {"sampler": "info_gain_plus", "set": {"select.candidates": 3, "draw.temperature": 0.7}},
    "parts, smaller blocks": {"score": "margin", "select": "top_k", "plan": {"block": 4, "tokens_per_step": 2}},
    "a commit that rewrites": {"sampler": "edit", "set": {"select.threshold": 0.02, "commit.threshold": 0.02}},
    "a memory that lasts from block to block": {"sampler": "saber"},
}
CASES = [*(("sdar", name) for name in SAMPLERS), *(("llada2", name) for name in ("threshold", "info_gain, drawn"))]


def scheduler(sglang: Any, backbone: Any, given: dict[str, Any], **more: Any) -> Scheduler:
    return Scheduler(sglang.get_algorithm(configured(given, **more)), backbone)


def decoded(given: dict[str, Any], backbone: Any, ids: list[int], length: int, seed: int, ends: bool) -> list[int]:
    """The row of `mdmkit.decode`, cut where SGLang cuts: after the first end token, and at the length."""
    layer = {key: value for key, value in given.items() if key != "set"}
    overrides = [f"{key}={value}" for key, value in given.get("set", {}).items()]
    sampler = mdmkit.compose(config=layer, overrides=[*overrides, f"plan.length={length}", f"plan.early_stop={ends}"])
    tokens = mdmkit.decode(sampler, backbone, [ids], seed=seed).rows[0].tokens[:length]
    return tokens[: tokens.index(END) + 1] if ends and END in tokens else tokens


@pytest.mark.parametrize(("family", "name"), CASES)
def test_rows_are_those_of_decode_whenever_they_join(sglang, backbones, family, name):
    backbone, given = backbones(family), SAMPLERS[name]
    server = scheduler(sglang, backbone, given)
    requests = [Request(str(i), ids, n, seed=i, ignore_eos=i % 2 == 0) for i, (ids, n) in enumerate(PROMPTS)]
    for request in requests:
        assert server.add(request) is None
        for _ in range(3):
            server.round()
    server.drain()
    for i, (request, (ids, length)) in enumerate(zip(requests, PROMPTS, strict=True)):
        assert request.output_ids == decoded(given, backbone, ids, length, i, i % 2 == 1), i


def test_sglangs_own_low_confidence_is_threshold(sglang, backbones):
    backbone = backbones("sdar")
    low = scheduler(sglang, backbone, {"threshold": 0.05}, name="LowConfidence")
    ours = scheduler(sglang, backbone, {"sampler": "threshold", "set": {"select.threshold": 0.05}})
    rows = []
    for server in (low, ours):
        requests = [Request(str(i), ids, n) for i, (ids, n) in enumerate(PROMPTS)]
        for request in requests:
            server.add(request)
            server.round()
        server.drain()
        rows.append([request.output_ids for request in requests])
    assert rows[0] == rows[1]
    assert low.rounds == ours.rounds


def test_without_first_done_first_out_the_rows_are_the_same(sglang, backbones):
    backbone, given = backbones("sdar"), SAMPLERS["info_gain, drawn"]
    server = scheduler(sglang, backbone, given, fdfo=False)
    requests = [Request(str(n), [7 + n] * n, 2 * BLOCK - n, seed=n, ignore_eos=True) for n in (1, 5)]
    for request in requests:
        server.add(request)
    for _ in range(2):
        _, tokens, _, _, _ = server.algorithm.run(server, server.batch(requests))
        for request, new in zip(requests, tokens, strict=True):
            request.output_ids += new.tolist()
            request.context += [*request.origin_input_ids, *request.output_ids][-BLOCK:]
    for request, n in zip(requests, (1, 5), strict=True):
        assert request.output_ids == decoded(given, backbone, [7 + n] * n, 2 * BLOCK - n, n, False)


def test_alternatives_are_rounds_of_the_request(sglang, backbones):
    """Greedy: a round for each token, and one to store the block. With 4 alternatives: the same, and 4 for a choice."""
    rounds = {}
    four = {"sampler": "info_gain", "set": {"select.candidates": 4}}
    for name, given in {"one": {"sampler": "confidence"}, "four": four}.items():
        server = scheduler(sglang, backbones("sdar"), given)
        server.add(Request("a", [5] * BLOCK, BLOCK, ignore_eos=True))
        server.drain()
        rounds[name] = server.rounds - 1  # the prompt's block
    assert rounds["one"] == BLOCK + 1
    # Every step but the last chooses among the alternatives that differ.
    assert 2 * BLOCK < rounds["four"] <= 1 + 4 * (BLOCK - 1) + 1 + 1


def test_a_retracted_request_goes_on_where_it_was(sglang, backbones):
    """SGLang has released its keys, and stores its finished blocks again; the block at work begins with masks."""
    backbone, given = backbones("llada2"), SAMPLERS["info_gain, drawn"]
    server = scheduler(sglang, backbone, given)
    request = Request("a", [5, 6, 7], 21, seed=3, ignore_eos=True)
    server.add(request)
    while len(request.output_ids) < BLOCK:
        server.round()
    for _ in range(5):
        server.round()
    request.context, request.incomplete, request.dllm_algo_state = [], [], None
    server.drain()
    assert request.output_ids == decoded(given, backbone, [5, 6, 7], 21, 3, False)


def test_without_a_seed_rows_depend_on_the_order_of_arrival(sglang, backbones):
    backbone, given = backbones("sdar"), SAMPLERS["confidence, drawn"] | {"seed": 5}
    server = scheduler(sglang, backbone, given)
    requests = [Request(str(i), [5, 6], 14, ignore_eos=True) for i in range(3)]
    for request in requests:
        server.add(request)
    server.drain()
    layer = {key: value for key, value in given.items() if key != "set"}
    overrides = [f"{key}={value}" for key, value in given["set"].items()]
    sampler = mdmkit.compose(config=layer, overrides=[*overrides, "plan.length=14", "plan.early_stop=false"])
    rows = mdmkit.decode(sampler, backbone, [[5, 6]] * 3, seed=5).rows
    assert [request.output_ids for request in requests] == [row.tokens for row in rows]


def test_the_masks_id_in_a_prompt_is_an_ordinary_token(sglang, backbones):
    server = scheduler(sglang, backbones("sdar"), {"sampler": "confidence"})
    request = Request("a", [5, 125, 6], 5, ignore_eos=True)
    server.add(request)
    server.drain()
    prompt = mdmkit.Prompt(ids=(5, 125, 6), infill=False)
    sampler = mdmkit.compose("confidence", plan={"length": 5, "early_stop": False})
    assert request.output_ids == mdmkit.decode(sampler, backbones("sdar"), [prompt]).rows[0].tokens


def test_an_aborted_request_leaves_no_state(sglang, backbones):
    server = scheduler(sglang, backbones("sdar"), SAMPLERS["info_gain"])
    request = Request("a", [5], 23, ignore_eos=True)
    server.add(request)
    for _ in range(4):
        server.round()
    assert server.algorithm.served.rows == 1
    gc.disable()
    try:
        server.requests, server.running = [], []
        del request
        assert server.algorithm.served.rows == 0
        assert not server.algorithm.served._known and not server.algorithm.served._seeds
        assert not torch.is_inference_mode_enabled()
    finally:
        gc.enable()


def test_a_request_that_ends_in_the_middle_is_dropped_at_the_next_block(sglang, backbones):
    """Of a stop text, which only SGLang knows, while SGLang still holds the request."""
    server = scheduler(sglang, backbones("sdar"), {"sampler": "confidence"})
    kept, other = Request("a", [5], 23, ignore_eos=True), Request("b", [6], 7, ignore_eos=True)
    server.add(kept)
    server.round()
    kept.reason, server.requests = "stop text", []
    server.add(other)
    server.drain()
    assert server.algorithm.served.rows == 1  # b's, which has ended in the last round


def test_a_fault_of_one_row_is_that_requests_error(sglang, backbones):
    server = scheduler(sglang, backbones("sdar"), {"sampler": "confidence"})
    good, bad = (Request(rid, [5, 6], 14, ignore_eos=True) for rid in "ab")
    server.add(good)
    server.add(bad)
    forward = server.forward

    def broken(batch: Any, **more: Any) -> Any:
        out = forward(batch, **more)
        if server.rounds > 3 and "b" in batch.rids:
            out.logits_output.full_logits[batch.rids.index("b") * BLOCK :] = torch.nan
        return out

    server.forward = broken  # type: ignore[method-assign]
    server.drain()
    assert "NaN" in bad.reason.message and bad.reason.status_code == 500
    assert good.output_ids == decoded({"sampler": "confidence"}, backbones("sdar"), [5, 6], 14, 0, False)


def test_a_request_that_sglang_refused_itself_takes_its_round(sglang, backbones):
    server = scheduler(sglang, backbones("sdar"), {"sampler": "confidence"})
    request = Request("a", [0], 5)
    request.to_finish = SimpleNamespace(message="too long")
    server.requests.append(request)
    server.round()
    assert request.reason.message == "too long"
