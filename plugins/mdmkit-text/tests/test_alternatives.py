"""Alternatives of a row that read its frozen columns together say what alternatives with copies of them say."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

import mdmkit
from mdmkit import Shadow
from mdmkit.loop.calls import Call
from mdmkit.model.cache import CACHES, Reach, View
from mdmkit_text import alternatives as module
from mdmkit_text.backbone import TextBackbone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GOLDEN = Path(__file__).parents[3] / "tests" / "golden"
FULL, BLOCK = ("llada", "dream", "lladamoe", "puzzles"), ("sdar", "llada2", "llada21")
CASES = [*((n, c) for n in FULL for c in ("prefix", "dual")), *((n, "block") for n in BLOCK)]
BOUND = 1e-5


@functools.cache
def golden(name: str) -> Any:
    if name == "puzzles":
        return mdmkit.load("zoo:puzzles", device="cpu")
    return TextBackbone.load(str(GOLDEN / name), mask_id=125, **({"block_length": 4} if name in BLOCK else {}))


@pytest.fixture
def shared() -> Iterator[Any]:
    """A model whose alternatives share from the first key on."""
    used = []

    def load(name: str) -> Any:
        used.append(golden(name))
        used[-1].network.shares_from = 0
        return used[-1]

    yield load
    for backbone in used:
        backbone.network.shares_from = module.FEWEST_KEYS


class Forwards:
    """Forwards of a model over one store, some states of each row."""

    def __init__(self, backbone: Any, rows: int):
        self.backbone, self.rows, self.store = backbone, rows, dict[Any, Any]()

    @torch.inference_mode()
    def __call__(
        self, states: Tensor, slots: list[int], reaches: list[Reach], shadow: Shadow | None = None
    ) -> tuple[Tensor, Tensor]:
        """Hidden states of what each state computes, with its shadows; and which of them have a meaning."""
        call = Call.over(reaches, states.shape[1], states.device)
        view = View(
            store=self.store,
            slots=torch.tensor(slots),
            size=self.rows,
            width=states.shape[1],
            start=call.start,
            live=call.inside,
            seen=call.seen,
            readable=call.readable,
            keep=call.keep,
            span=call.span if call.full else None,
            reads=call.reads,
            keeps=call.keeps,
            starts=call.starts if call.plain else None,
            numbers=tuple(slots),
        )
        tokens, valid = call.take(states), call.inside
        hidden = self.backbone.network.forward(tokens, valid, call.columns, view, shadow)
        return hidden, valid if shadow is None else torch.cat((valid, shadow.live), 1)


def both(
    backbone: Any, cache: str, lengths: list[int], blocks: list[tuple[int, int]], counts: list[int], shadows: Any
) -> tuple[list[Tensor], Tensor]:
    """Hidden states of so many alternatives of each row: with copies, and together; and which of them have a meaning.

    A row with no alternatives enters its block, and is stored.
    """
    kind, draw = CACHES[cache](backbone.lead), torch.Generator().manual_seed(0)
    vocab = min(backbone.vocab, 60)
    rows = torch.randint(5, vocab, (len(lengths), max(lengths)), generator=draw)
    first = [kind.enter(*block, length, 0) for block, length in zip(blocks, lengths, strict=True)]
    slots, reaches = [], []
    for row, (count, block, length) in enumerate(zip(counts, blocks, lengths, strict=True)):
        slots += [row] * max(1, count)
        reaches += [kind.step(*block, length)] * count or [first[row]]
    states = rows[slots]
    states[:, ::3] = torch.randint(5, vocab, states[:, ::3].shape, generator=draw)
    shadow, out = None, []
    if shadows is not None:
        spans = torch.tensor([blocks[slot] for slot in slots])
        positions = spans[:, :1] + torch.arange(4)
        live = positions < torch.tensor(lengths)[slots][:, None]
        shadow = Shadow(torch.full_like(positions, backbone.mask_id), positions, live, shadows)
    for fewest in (None, 0):
        forward = Forwards(backbone, len(rows))
        backbone.network.shares_from = None
        forward(rows, [*range(len(rows))], first)
        backbone.network.shares_from = fewest
        hidden, valid = forward(states, slots, reaches, shadow)
        out.append(hidden)
        # What was stored on the way is the same.
        out += [torch.stack(pair)[:, :, :, :-1] for pair in forward.store.values()]
    return out, valid


def expect_equal(out: list[Tensor], valid: Tensor) -> None:
    half = len(out) // 2
    copied, together = out[0][valid], out[half][valid]
    assert copied.isfinite().all()
    torch.testing.assert_close(together, copied, rtol=0, atol=BOUND)
    for ours, theirs in zip(out[half + 1 :], out[1:half], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=BOUND)


@pytest.mark.parametrize(("name", "cache"), CASES)
@pytest.mark.parametrize("shadows", [None, False, True])
@pytest.mark.parametrize(
    ("lengths", "blocks", "counts"),
    [
        ([16], [(8, 12)], [5]),
        ([16], [(12, 16)], [3]),
        ([16, 16], [(8, 12), (8, 12)], [3, 2]),
        ([16, 16], [(12, 16), (8, 12)], [3, 2]),
        ([16, 16], [(0, 4), (8, 12)], [3, 2]),
        ([16, 16, 16], [(4, 8), (8, 12), (8, 12)], [2, 1, 4]),
        ([21, 9, 16], [(12, 16), (4, 8), (8, 12)], [3, 2, 1]),
        ([17, 21, 9], [(16, 17), (12, 16), (4, 8)], [2, 3, 2]),
        ([16, 18, 9], [(4, 8), (8, 12), (4, 8)], [3, 0, 2]),
    ],
)
def test_hidden_states_are_those_beside_copies(
    name: str, cache: str, shadows: Any, lengths: Any, blocks: Any, counts: Any, shared: Any
) -> None:
    expect_equal(*both(shared(name), cache, lengths, blocks, counts, shadows))


@pytest.mark.parametrize("name", ["sdar", "llada2"])
def test_a_window_of_several_attention_blocks_keeps_its_mask(name: str, shared: Any) -> None:
    expect_equal(*both(shared(name), "block", [16, 16], [(4, 12), (4, 12)], [3, 2], None))


@pytest.mark.parametrize(("name", "cache"), [("llada", "dual"), ("sdar", "block"), ("puzzles", "dual")])
def test_one_read_of_the_row_and_no_copy(name: str, cache: str, shared: Any, monkeypatch: Any) -> None:
    backbone = shared(name)
    read: list[tuple[int, ...]] = []
    attend = module._attend

    def reading(query: Tensor, key: Tensor, value: Tensor, *more: Any) -> tuple[Tensor, Tensor]:
        read.append((key.data_ptr(), value.data_ptr(), *query.shape[:3], key.shape[2]))
        return attend(query, key, value, *more)

    monkeypatch.setattr(module, "_attend", reading)
    monkeypatch.setattr(torch.Tensor, "index_select", None)
    kind, forward = CACHES[cache](0), Forwards(backbone, 1)
    states = torch.randint(5, 20, (5, 16), generator=torch.Generator().manual_seed(0))
    forward(states[:1], [0], [kind.enter(8, 12, 16, 0)])
    forward(states, [0] * 5, [kind.step(8, 12, 16)] * 5)
    config = backbone.network.model.config
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    frozen = 8 if cache == "block" else 16
    assert len(read) == 2 * len(forward.store)
    for own, row, (keys, values) in zip(read[::2], read[1::2], forward.store.values(), strict=True):
        assert own[2:] == (5, groups, 4 * heads // groups, 4)
        assert row == (keys.data_ptr(), values.data_ptr(), 1, groups, 5 * 4 * heads // groups, frozen)


@pytest.mark.parametrize(("name", "cache"), CASES)
def test_a_lookahead_fills_the_same_tokens(name: str, cache: str, shared: Any) -> None:
    rows = [
        {"prompt_ids": [5 + (7 * i + 3 * j) % 15 for j in range(9 + 2 * i)], "length": 12 + 5 * i} for i in range(3)
    ]
    sampler = mdmkit.compose("info_gain", cache=cache, plan={"block": 4, "early_stop": False}, select={"bypass": None})
    backbone = shared(name)
    backbone.network.shares_from = None
    copied = mdmkit.decode(sampler, backbone, rows, seed=3)
    backbone.network.shares_from = 0
    together = mdmkit.decode(sampler, backbone, rows, seed=3)
    assert together.tokens == copied.tokens and together.nfe == copied.nfe
    expected = [row.uncertainty for row in copied.rows]
    assert [row.uncertainty for row in together.rows] == pytest.approx(expected, abs=2e-4)


def test_few_keys_are_copied_and_many_are_not(monkeypatch: Any) -> None:
    backbone = golden("llada")
    assert backbone.network.shares_from == module.FEWEST_KEYS == 256
    calls = []
    monkeypatch.setattr(module.Alternatives, "__call__", lambda *given: calls.append(given))
    kind = CACHES["dual"](0)
    for length in (255, 256):
        forward = Forwards(backbone, 1)
        states = torch.full((2, length), 7)
        forward(states[:1], [0], [kind.enter(8, 12, length, 0)])
        if length == 255:
            forward(states, [0, 0], [kind.step(8, 12, length)] * 2)
            assert not calls
        else:
            with pytest.raises(AttributeError):
                forward(states, [0, 0], [kind.step(8, 12, length)] * 2)
            assert len(calls) == 1


def test_a_model_whose_attention_cannot_do_it_gets_copies(monkeypatch: Any) -> None:
    from mdmkit_text.network import Network

    network = golden("llada").network
    assert Network(network.model, range(5, 20), network.pad_id).shares_from == module.FEWEST_KEYS
    monkeypatch.setattr(module, "_attend", lambda query, key, value, *more: (query, query[..., 0]))  # a wrong result
    assert Network(network.model, range(5, 20), network.pad_id).shares_from is None
    monkeypatch.setattr(module, "_attend", None)  # an error
    assert Network(network.model, range(5, 20), network.pad_id).shares_from is None


def test_a_model_that_somebody_else_loaded_keeps_its_attention(checkpoint: Callable[[str], Path]) -> None:
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(checkpoint("llama")).eval()
    network = TextBackbone.wrap(model, mask_id=4).network
    assert model.config._attn_implementation == "sdpa"
    assert network.freezes and network.shares_from is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_of_a_gpu_gets_aligned_masks_and_gives_these_shapes(dtype: torch.dtype) -> None:
    """On the device `meta`, where kernels know shapes only."""
    query, key = (torch.empty(1, 8, rows, 64, device="meta", dtype=dtype) for rows in (130, 77))
    bias = module._bias(torch.ones(1, 1, 1, 77, dtype=torch.bool, device="meta"), dtype)
    assert bias.shape == (1, 1, 1, 77) and bias.stride()[-2] * dtype.itemsize % 16 == 0
    for added in (None, bias):
        mixed, total = module._attend(query, key, key, added, None)
        assert mixed.shape == query.shape and mixed.dtype == dtype
        assert total.shape == (1, 8, 130) and total.dtype == torch.float32
