"""On a GPU: no stage waits for the device, and the same seed gives the same tokens as on the CPU.

`make test-second` runs the first two on a device that is not the CPU, and is found on every machine.
"""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mdmkit
from mdmkit.testing import ToyBackbone, device_of_tests
from mdmkit.watch.cost import measure
from mdmkit_heuristics import plugin as heuristics
from mdmkit_info_gain import plugin as info_gain

DEVICE = device_of_tests()
pytestmark = pytest.mark.gpu
cuda = pytest.mark.skipif(DEVICE.type != "cuda", reason="needs a CUDA device: MDMKIT_TEST_DEVICE=cuda")
PROMPTS = [
    {"prompt": "ab", "length": 9, "seed": 1},
    {"prompt": "a__b___c", "seed": 2},
    {"prompt": "abc", "length": 4, "seed": 3},
]
# Every sampler of these, but for pc, whose corpus table belongs to a tokenizer.
PRESETS = sorted({part.name for plugin in (heuristics, info_gain) for part in plugin.mdmkit_sampler()} - {"pc"})


@contextmanager
def no_wait():
    """Fail where the host waits for the device."""
    if DEVICE.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
    else:
        import second_device

        before = second_device.waits()
        yield
        assert second_device.waits() == before, "a stage has waited for the device"


class Unsynced:
    """A stage that may not wait for the device."""

    def __init__(self, stage):
        self.stage = stage

    def __getattr__(self, name):
        return getattr(self.stage, name)  # its traits, and what the loop asks it beside

    def __call__(self, *inputs):
        with no_wait():
            return self.stage(*inputs)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_stages_do_not_wait_and_tokens_equal_the_cpu(name, temperature):
    # Without what some presets say of one model alone: the toy has no cache and no end token.
    draw = {"temperature": temperature, "end_penalty": 0.0}
    own = {
        "adablock": {"select": {"delimiters": [3, 4]}},
        "daedal": {"commit": {"end": 1}, "plan": {"room": 5}},
    }
    given = {"draw": draw, "plan": {"block": 4}, "cache": "none"} | own.get(name, {})
    sampler = mdmkit.compose(name, **given)
    parts = {part: getattr(sampler, part) for part in ("score", "select", "lookahead", "commit")}
    watched = replace(sampler, **{part: Unsynced(stage) for part, stage in parts.items() if stage is not None})
    on_gpu = mdmkit.decode(watched, ToyBackbone(dtype=torch.float64, device=DEVICE), PROMPTS)
    on_cpu = mdmkit.decode(sampler, ToyBackbone(dtype=torch.float64, device="cpu"), PROMPTS)
    assert on_gpu.tokens == on_cpu.tokens
    assert [row.order for row in on_gpu.rows] == [row.order for row in on_cpu.rows]
    assert on_gpu.nfe == on_cpu.nfe


@pytest.mark.skipif(DEVICE.type != "second", reason="counts waits: MDMKIT_TEST_DEVICE=second")
@pytest.mark.parametrize(("name", "each"), [("confidence", 1), ("threshold", 1), ("klass", 1), ("info_gain", 2)])
@pytest.mark.parametrize(
    ("model", "cache"), [("llada", "none"), ("llada", "prefix"), ("llada", "dual"), ("dream", "none")]
)
def test_a_step_waits_once_and_before_a_look_once_more(model, cache, name, each):
    import second_device

    backbone = mdmkit.load(str(Path(__file__).parent / "golden" / model), device=str(DEVICE))
    sampler = mdmkit.compose(name, cache=cache, plan={"block": 32, "tokens_per_step": 1, "early_stop": False})
    waits = []
    for length in (8, 24):  # in one block
        prompts = [{"prompt_ids": [5 + 3 * j % 60 for j in range(1 + i)], "length": length} for i in range(4)]
        before = second_device.waits()
        decoded = mdmkit.decode(sampler, backbone, prompts, seed=1)
        waits.append((second_device.waits() - before, decoded.nfe["calls"]))
    (few, calls), (more, more_calls) = waits
    assert more_calls - calls > 8
    assert more - few == each * (more_calls - calls)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_decodes(dtype):
    decoded = mdmkit.decode(mdmkit.compose("info_gain"), ToyBackbone(dtype=dtype, device=DEVICE), PROMPTS)
    assert all(ToyBackbone().mask_id not in row.tokens for row in decoded.rows)


@cuda
@pytest.mark.parametrize("name", ["confidence", "info_gain", "beam"])
@pytest.mark.parametrize(
    ("model", "cache"),
    [("llada", "none"), ("llada", "prefix"), ("llada", "dual"), ("dream", "dual"), ("sdar", "none"), ("sdar", "block")],
)
def test_a_decode_by_cuda_graphs_is_the_decode(model, cache, name):
    options = {"block_length": 4} if model == "sdar" else {}
    sampler = mdmkit.compose(name, cache=cache, plan={"block": 4, "early_stop": False})
    prompts = [{"prompt_ids": [5 + 3 * j % 60 for j in range(9 + i)], "length": 12 + 7 * i} for i in range(3)]
    decoded = []
    for graphs in (False, True):
        path = str(Path(__file__).parent / "golden" / model)
        backbone = mdmkit.load(path, device="cuda", dtype="float32", graphs=graphs, **options)
        decoded.append([mdmkit.decode(sampler, backbone, prompts, seed=seed).tokens for seed in (1, 1)])
    assert backbone.network.graphs.on and backbone.network.graphs.replays > 0
    assert decoded[0] == decoded[1]


@cuda
def test_the_parts_of_a_cost_are_within_its_time():
    sampler, backbone = mdmkit.compose("info_gain"), ToyBackbone(device="cuda")
    for _ in range(2):  # the first chooses kernels
        cost = measure(sampler, backbone, mdmkit.read_prompts([{"prompt": "ab", "length": 9}] * 4, 0))
    assert cost.tokens == 36 and cost.trunk > 0 and cost.head > 0 and cost.trunk + cost.head < cost.seconds
    assert 0 < cost.first_text <= cost.seconds
