"""A model computes no padding, and says what it says with padding."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

import mdmkit
from mdmkit_text import packing
from mdmkit_text.alternatives import FEWEST_KEYS
from mdmkit_text.backbone import TextBackbone
from mdmkit_text.packing import Packing, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GOLDEN = Path(__file__).parents[3] / "tests" / "golden"
FULL, BLOCK = ("llada", "dream", "lladamoe", "puzzles"), ("sdar", "llada2", "llada21")
CACHES = [(n, c) for n in FULL for c in ("none", "prefix", "dual")] + [(n, c) for n in BLOCK for c in ("none", "block")]
LENGTHS = (3, 14, 6, 9, 12)
PRESETS: dict[str, dict[str, Any]] = {
    "threshold": {"select": {"threshold": 0.05}},
    "info_gain": {},
    "wino": {},
    "p2": {},
}
# A model with shifted logits has no shadow columns, which `wino` reads.
CASES = [(n, c, preset) for n, c in CACHES for preset in PRESETS if (n, preset) != ("dream", "wino")]


@functools.cache
def golden(name: str) -> Any:
    if name == "puzzles":  # of mdmkit's own class
        return mdmkit.load("zoo:puzzles", device="cpu")
    return TextBackbone.load(str(GOLDEN / name), mask_id=125, **({"block_length": 4} if name in BLOCK else {}))


@pytest.fixture
def padding() -> Iterator[Callable[[Any, bool], None]]:
    """Lets a model compute its padding."""
    changed = []

    def set_(backbone: Any, computed: bool) -> None:
        changed.append(backbone)
        backbone.network.packs = not computed

    yield set_
    for backbone in changed:
        backbone.network.packs = True


@pytest.fixture
def sharing() -> Iterator[Callable[[Any], None]]:
    """Lets alternatives read the frozen columns of their row together, however few."""
    changed = []

    def set_(backbone: Any) -> None:
        changed.append(backbone)
        backbone.network.shares_from = 0

    yield set_
    for backbone in changed:
        backbone.network.shares_from = FEWEST_KEYS


def ragged(tokens: int = 13) -> list[dict[str, Any]]:
    ids = [[5 + (7 * i + 3 * j) % tokens for j in range(3 + 2 * i)] for i in range(len(LENGTHS))]
    return [{"prompt_ids": row, "length": n, "seed": n} for row, n in zip(ids, LENGTHS, strict=True)]


def test_it_packs_and_unpacks() -> None:
    valid = torch.tensor([[True, True, False], [False, False, False], [True, False, True]])
    packing, x = Packing(valid, keys=3, width=1), torch.arange(1, 10).view(3, 3)
    assert packing.pack(x).tolist() == [[1, 2, 7, 9]]
    assert packing.unpack(packing.pack(x)).tolist() == [[1, 2, 0], [0, 0, 0], [7, 0, 9]]
    heads = torch.arange(2 * 4 * 3).view(1, 2, 4, 3)
    apart = packing.apart(heads)
    assert apart.shape == (3, 2, 3, 3)
    assert torch.equal(apart[2, :, 2], heads[0, :, 3]) and not apart[1].any()


def test_rows_of_equal_length_that_follow_one_another_are_a_run() -> None:
    lengths = torch.tensor([3, 3, 9, 3, 0, 3])
    valid = torch.arange(9) < lengths[:, None]
    found = [Run(slice(0, 2), slice(0, 6), 3), Run(slice(2, 3), slice(6, 15), 9)]
    found += [Run(slice(3, 4), slice(15, 18), 3), Run(slice(5, 6), slice(18, 21), 3)]
    assert Packing(valid, keys=9, width=10**6).runs == found
    # 33 columns of padding, and four more runs.
    assert Packing(valid, keys=1, width=4 * packing.RUN // 33).runs is None
    assert Packing(valid, keys=1, width=4 * packing.RUN // 33 + 1).runs is not None
    assert Packing(valid, keys=9, width=10**6, runs=False).runs is None
    columns = torch.arange(21)[None, None, :, None]
    assert [found[0].of(columns).flatten(1).tolist(), found[3].of(columns).flatten().tolist()] == [
        [[0, 1, 2], [3, 4, 5]],
        [18, 19, 20],
    ]


@pytest.mark.parametrize(("name", "cache", "preset"), CASES)
def test_rows_are_those_that_are_computed_with_their_padding(
    name: str,
    cache: str,
    preset: str,
    padding: Callable[[Any, bool], None],
    sharing: Callable[[Any], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backbone, plan = golden(name), {"block": 4, "early_stop": False}
    sharing(backbone)
    sampler = mdmkit.compose(preset, plan=plan, cache=cache, **PRESETS[preset])
    side_by_side, in_runs = 1 << 60, -1
    decoded = []
    for price in (side_by_side, in_runs):
        monkeypatch.setattr(packing, "RUN", price)
        decoded.append(mdmkit.decode(sampler, backbone, ragged()))
    padding(backbone, True)
    padded = mdmkit.decode(sampler, backbone, ragged())
    assert padded.columns["computed"] > padded.columns["needed"]
    for packed in decoded:
        assert packed.columns["computed"] == packed.columns["needed"] == padded.columns["needed"]
        for one, other in zip(packed.rows, padded.rows, strict=True):
            assert (one.tokens, one.order, one.nfe) == (other.tokens, other.order, other.nfe)
            assert one.uncertainty == pytest.approx(other.uncertainty, abs=2e-4)


@pytest.mark.parametrize("cache", ["none", "dual"])
def test_all_rows_of_a_step_share_one_call(cache: str) -> None:
    # Rows at other columns than their neighbours, and such that enter a block while others fill theirs.
    sampler = mdmkit.compose("threshold", plan={"block": 4}, cache=cache, select={"threshold": 0.05})
    alone = [mdmkit.decode(sampler, golden("llada"), [row]).calls for row in ragged()]
    assert mdmkit.decode(sampler, golden("llada"), ragged()).calls <= max(alone)


@pytest.mark.parametrize("name", [*FULL, *BLOCK])
def test_layers_see_no_padding(name: str, padding: Callable[[Any, bool], None]) -> None:
    backbone, seen = golden(name), []
    layer = backbone.network.model.base_model.layers[0]
    hook = layer.register_forward_pre_hook(lambda module, given: seen.append(given[0].shape[:2]))
    canvas, _ = backbone.encode(list(mdmkit.read_prompts(ragged(), 0)), mdmkit.Plan())
    arguments = canvas.tokens, canvas.valid, None
    try:
        with torch.inference_mode():
            packed = backbone.forward(*arguments, positions=canvas.positions, plain=False).hidden
            padding(backbone, True)
            padded = backbone.forward(*arguments, positions=canvas.positions, plain=False).hidden
    finally:
        hook.remove()
    assert seen == [(1, int(canvas.valid.sum())), canvas.tokens.shape]
    worst = (backbone.project(packed) - backbone.project(padded))[canvas.valid].abs().max()
    assert worst <= 1e-5


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "qwen3-moe"])
def test_decoders_with_full_attention_pack(name: str, loaded: Callable[[str], Any]) -> None:
    assert loaded(name).packs


@pytest.mark.parametrize("name", ["gemma2", "bert", "esm", "fnet"])
def test_windowed_layers_and_encoders_do_not(name: str, loaded: Callable[[str], Any]) -> None:
    assert not loaded(name).packs


def test_a_model_that_keeps_its_own_attention_does_not() -> None:
    model = TextBackbone.load(str(GOLDEN / "llada"), mask_id=125).network.model
    model.set_attn_implementation("sdpa")
    assert not mdmkit.wrap(model, mask_id=125).packs


def test_a_model_that_leaves_the_cpu_stops_packing() -> None:
    backbone = TextBackbone.load(str(GOLDEN / "llada"), mask_id=125)
    assert backbone.packs
    backbone.network.model.to("meta")
    backbone.network.to("meta", [5, 6, 7])
    assert not backbone.packs
