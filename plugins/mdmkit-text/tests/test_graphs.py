"""Recorded forwards: what a CUDA graph replays is what the model computes, with every other tensor of a call gone."""

from __future__ import annotations

import functools
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import mdmkit
from mdmkit import MdmkitError, MdmkitWarning
from mdmkit_text import graphs as module
from mdmkit_text.backbone import TextBackbone
from mdmkit_text.graphs import Graphs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GOLDEN = Path(__file__).parents[3] / "tests" / "golden"
FULL, BLOCK = ("llada", "dream", "lladamoe"), ("sdar", "llada2", "llada21")
SAMPLERS = ("confidence", "info_gain", "beam", "remdm")
PROMPTS = [{"prompt_ids": [5 + (7 * i + 3 * j) % 60 for j in range(9 + 2 * i)], "length": 6 + 5 * i} for i in range(3)]


@functools.cache
def golden(name: str) -> Any:
    return TextBackbone.load(str(GOLDEN / name), mask_id=125, **({"block_length": 4} if name in BLOCK else {}))


def again(call: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
    """Stand in for a CUDA graph: run the recorded call again, in the memory of its first result."""
    result = call().clone()

    def run() -> None:
        result.copy_(call())

    return result, run


class Poisoned(Graphs):
    """Spoils the tensors of a call after it, so that a recording that reads one of them gives other values."""

    def __call__(self, key: Any, forward: Any, inputs: Any) -> Tensor:
        given = {name: x.clone() for name, x in inputs.items()}
        result = super().__call__(key, forward, given)
        for x in given.values():
            x.fill_(1 << 40) if x.dtype == torch.int64 else x.logical_not_()
        return result


@pytest.fixture
def recorded(monkeypatch: Any) -> Iterator[Callable[[str], Any]]:
    used = []
    monkeypatch.setattr(module, "COMES", 1)

    def load(name: str) -> Any:
        backbone = golden(name)
        backbone.network.graphs = Poisoned(again)
        used.append(backbone)
        return backbone

    yield load
    for backbone in used:
        backbone.network.graphs = None


def caches(name: str) -> tuple[str, ...]:
    return ("none", "block") if name in BLOCK else ("none", "prefix", "dual")


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("name", "cache"), [(name, cache) for name in (*FULL, *BLOCK) for cache in caches(name)])
def test_a_decode_of_recorded_forwards_is_the_decode(name: str, cache: str, sampler: str, recorded: Any) -> None:
    block = 4 if name in BLOCK else 8
    composed = mdmkit.compose(sampler, cache=cache, plan={"block": block, "early_stop": False})
    expected = mdmkit.decode(composed, golden(name), PROMPTS, seed=1)
    backbone = recorded(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error", MdmkitWarning)
        got = mdmkit.decode(composed, backbone, PROMPTS, seed=1)
    assert got.tokens == expected.tokens
    assert [row.uncertainty for row in got.rows] == pytest.approx([row.uncertainty for row in expected.rows], abs=2e-4)
    assert backbone.network.graphs.on and backbone.network.graphs.replays > 0


@pytest.mark.parametrize(("name", "cache"), [(n, c) for n in (*FULL, *BLOCK) for c in caches(n) if c != "none"])
def test_alternatives_that_read_one_row_together_are_recorded_too(
    name: str, cache: str, recorded: Any, monkeypatch: Any
) -> None:
    block = 4 if name in BLOCK else 8
    composed = mdmkit.compose(
        "info_gain", cache=cache, plan={"block": block, "early_stop": False}, select={"bypass": None}
    )
    monkeypatch.setattr(golden(name).network, "shares_from", 0)
    for prompts in (PROMPTS, PROMPTS[1:2]):
        expected = mdmkit.decode(composed, golden(name), prompts, seed=1)
        with warnings.catch_warnings():
            warnings.simplefilter("error", MdmkitWarning)
            got = mdmkit.decode(composed, recorded(name), prompts, seed=1)
        assert got.tokens == expected.tokens
        totals = [row.uncertainty for row in expected.rows]
        assert [row.uncertainty for row in got.rows] == pytest.approx(totals, abs=2e-4)
        assert golden(name).network.graphs.on and golden(name).network.graphs.replays > 0
        golden(name).network.graphs = None


def test_guidance_and_rows_that_grow_narrow_and_join_are_recorded_too(recorded: Any) -> None:
    composed = mdmkit.compose(
        "confidence", cache="dual", plan={"block": 4, "early_stop": False}, guidance={"scale": 1.5}
    )
    many = [PROMPTS[i % 3] | {"seed": i} for i in range(7)]
    expected = mdmkit.decode(composed, golden("llada"), many, batch=2)
    backbone = recorded("llada")
    assert mdmkit.decode(composed, backbone, many, batch=2).tokens == expected.tokens
    assert backbone.network.graphs.replays > 0


def test_a_recording_that_differs_or_fails_is_dropped_with_a_note(recorded: Any) -> None:
    composed = mdmkit.compose("confidence", cache="dual", plan={"block": 4, "early_stop": False})
    expected = mdmkit.decode(composed, golden("llada"), PROMPTS)

    def wrong(call: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        result = call() + 1
        return result, lambda: result.copy_(call() + 1)  # type: ignore[func-returns-value]

    def fails(call: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        raise RuntimeError("operation not permitted when stream is capturing")

    def empty(call: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        return call().clone(), lambda: None

    for record, why in ((wrong, "gives other values"), (empty, "gives other values"), (fails, "not permitted")):
        backbone = recorded("llada")
        backbone.network.graphs = Graphs(record)
        with pytest.warns(MdmkitWarning, match=why):
            assert mdmkit.decode(composed, backbone, PROMPTS).tokens == expected.tokens
        assert not backbone.network.graphs.on


def test_recordings_are_bounded_and_made_of_shapes_that_come_again(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "KEPT", 2)
    made = []

    def record(call: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        made.append(1)
        return again(call)

    graphs = Graphs(record)

    def run(size: int, times: int) -> None:
        for turn in range(times):
            given = {"x": torch.arange(float(size)) + turn}
            assert torch.equal(graphs(size, lambda given: given["x"] * 2, given), 2 * given["x"])

    for size in (1, 2, 3):
        run(size, module.COMES + 2)
    assert len(made) == 3 and graphs.replays == 3 * 2
    run(1, module.COMES)  # it was dropped, and is recorded again only if it comes often
    assert len(made) == 3
    run(1, 2 * module.COMES + 1)
    assert len(made) == 4 and graphs.replays == 3 * 2 + 1


def test_out_of_memory_frees_the_recordings_and_keeps_graphs_on() -> None:
    room = [True]

    def record(call: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        if not room[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return again(call)

    graphs, given = Graphs(record), {"x": torch.ones(2)}
    for key, has_room in (("a", True), ("b", False), ("a", True)):
        room[0] = has_room
        for _ in range(module.COMES + 1):
            assert torch.equal(graphs(key, lambda given: given["x"] * 2, given), 2 * given["x"])
    assert graphs.on and graphs.replays == 1 + module.COMES  # "a" was recorded again at once


def test_a_model_gives_its_recordings_back_when_memory_was_too_small_elsewhere(recorded: Any) -> None:
    composed = mdmkit.compose("confidence", cache="none", plan={"block": 8, "early_stop": False})
    backbone = recorded("llada")
    mdmkit.decode(composed, backbone, [PROMPTS[0]])
    assert len(backbone.network.graphs._known) > 0
    backbone.release()
    assert len(backbone.network.graphs._known) == 0 and backbone.network.graphs.on
    mdmkit.load(str(GOLDEN / "llada"), device="cpu").release()  # nothing is recorded


def test_the_store_is_widened_before_a_forward_is_recorded(recorded: Any) -> None:
    """A recording writes into the store that it was made with."""
    composed = mdmkit.compose("confidence", cache="dual", plan={"block": 8, "early_stop": False})
    long_after_short = [PROMPTS[0], PROMPTS[1] | {"length": 40}, PROMPTS[0] | {"length": 60}]
    expected = mdmkit.decode(composed, golden("llada"), long_after_short, batch=1)
    backbone = recorded("llada")
    assert mdmkit.decode(composed, backbone, long_after_short, batch=1).tokens == expected.tokens


def test_engines_in_two_threads_share_a_model(recorded: Any) -> None:
    backbone = recorded("llada")
    composed = mdmkit.compose("confidence", cache="none", plan={"block": 8, "early_stop": False})
    prompts = [{"prompt_ids": [5 + i] * 8, "length": 24} for i in range(4)]
    expected = [mdmkit.decode(composed, golden("llada"), [prompt]).tokens for prompt in prompts]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert [d.tokens for d in pool.map(lambda p: mdmkit.decode(composed, backbone, [p]), prompts)] == expected


@pytest.mark.parametrize("name", ["llada", "dream", "sdar"])  # torch's grouped products know no fp32 without values
def test_a_recorded_forward_never_waits_for_its_device(name: str) -> None:
    """What a graph records may not read a tensor on the host."""
    network = golden(name).network
    seen = []

    class Keep(Graphs):
        def __call__(self, key: Any, forward: Any, inputs: Any) -> Tensor:
            seen.append((forward, dict(inputs)))
            return forward(inputs)

    network.graphs = Keep(again)
    try:
        for cache in caches(name):
            composed = mdmkit.compose("info_gain", cache=cache, plan={"block": 4, "early_stop": False})
            mdmkit.decode(composed, golden(name), PROMPTS[:2])
    finally:
        network.graphs = None
    shapes = {tuple(inputs["tokens"].shape) for _, inputs in seen}
    assert len(shapes) > 1
    for forward, inputs in seen[:: max(1, len(seen) // 6)]:
        mode = FakeTensorMode(allow_non_fake_inputs=True)
        fake = {key: mode.from_tensor(x) for key, x in inputs.items()}
        with mode, torch.no_grad():  # to read a value of a tensor without values is an error
            assert forward(fake).shape[:2] == inputs["tokens"].shape


def test_graphs_is_an_option_of_a_model_on_a_gpu() -> None:
    assert golden("llada").network.graphs is None
    with pytest.raises(MdmkitError, match="graphs='yes': it must be true or false"):
        mdmkit.load("zoo:puzzles", device="cpu", graphs="yes")
    with pytest.raises(MdmkitError, match="on cpu: CUDA graphs need a whole model on one NVIDIA GPU"):
        mdmkit.load("zoo:puzzles", device="cpu", graphs=True)
    assert mdmkit.load("zoo:puzzles", device="cpu", graphs=False).network.graphs is None
