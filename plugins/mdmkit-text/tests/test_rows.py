"""A row is computed as if it were alone: by architecture, in logits and in decoded tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from mdmkit import Actions, Plan, Prompt, Sampler, ops
from mdmkit.loop.whole import fill_canvas
from mdmkit_text.families.masked_lm import MaskedLM
from mdmkit_text.jsonfile import read_object
from mdmkit_text.network import Network
from mdmkit_text.weights import load_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ENCODERS = ["bert", "roberta", "modernbert", "distilbert", "albert", "electra", "mpnet", "esm", "esm-absolute"]
DECODERS = ["llama", "qwen2", "qwen3", "qwen3-moe", "gemma2", "opt"]
UNPADDED = ["fnet", "mobilebert"]

# Longer than the local attention of modernbert and gemma2 (6), so that some padding sees nothing but padding.
PROMPTS = [
    Prompt(ids=(5, 6, 7), length=4, index=0),
    Prompt(ids=tuple(5 + (7 * i) % 20 for i in range(20)), length=5, index=1),
    Prompt(text="[MASK]b[MASK]d", index=2),
    Prompt(ids=(9,), length=1, index=3),
    Prompt(text="tsrq", length=6, index=4),
]


def logits(backbone: Any, prompts: list[Prompt]) -> tuple[Any, torch.Tensor]:
    canvas, conditioning = backbone.encode(prompts, Plan())
    with torch.inference_mode():
        out = backbone.forward(canvas.tokens, canvas.valid, conditioning, positions=canvas.positions)
        return canvas, backbone.project(out.hidden)


def decode(backbone: Any, prompts: list[Prompt]) -> list[tuple[list[int], float]]:
    def score(step: Any) -> torch.Tensor:
        return step.confidence

    def select(step: Any, scores: torch.Tensor) -> Actions:
        return Actions.single(ops.top(scores, step.open, step.quota), step.tokens)

    canvas, conditioning = backbone.encode(prompts, Plan())
    filled, trace = fill_canvas(Sampler(score, select, plan=Plan(block=4)), backbone, canvas, conditioning)
    rows = [row[keep].tolist() for row, keep in zip(filled.tokens, filled.valid, strict=True)]
    return list(zip(rows, trace.uncertainty.tolist(), strict=True))


@pytest.mark.parametrize("name", [*ENCODERS, *DECODERS])
def test_padding_leaves_the_logits_of_the_models_own_forward(name: str, loaded: Callable[[str], Any]) -> None:
    backbone = loaded(name)
    canvas, together = logits(backbone, PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        alone, solo = logits(backbone, [prompt])
        with torch.inference_mode():
            own = backbone.network.model(alone.tokens).logits  # transformers' own positions, mask and head
        assert (solo - own).abs().max() <= 1e-5
        assert (together[row][canvas.valid[row]] - own[0]).abs().max() <= 1e-5
    assert together.abs().max() > 0.5, "logits this small would pass by being small"


@pytest.mark.parametrize("name", ["roberta", "modernbert", "esm", "llama", "mobilebert"])
def test_alone_together_and_shuffled_decode_to_the_same_tokens(name: str, loaded: Callable[[str], Any]) -> None:
    backbone = loaded(name)
    together = decode(backbone, PROMPTS)
    alone = [decode(backbone, [prompt])[0] for prompt in PROMPTS]
    order = [3, 0, 4, 2, 1]
    shuffled = decode(backbone, [PROMPTS[i] for i in order])
    for row, (tokens, uncertainty) in enumerate(together):
        for other in (alone[row], shuffled[order.index(row)]):
            assert other[0] == tokens
            assert other[1] == pytest.approx(uncertainty, abs=1e-5)
        assert backbone.mask_id not in tokens
    assert len({tuple(tokens) for tokens, _ in together}) == len(PROMPTS)


@pytest.mark.parametrize("name", UNPADDED)
def test_a_model_that_padding_would_change_asks_for_rows_of_one_length(name: str, loaded: Callable[[str], Any]) -> None:
    backbone = loaded(name)
    assert not backbone.pads
    canvas, naive = logits(backbone, PROMPTS)
    honest = [logits(backbone, [prompt])[1][0] for prompt in PROMPTS]
    wrong = [(one - row[own]).abs().max() for one, row, own in zip(honest, naive, canvas.valid, strict=True)]
    assert max(wrong) > 1e-2
    for name in ("bert", "llama"):
        assert loaded(name).pads


@pytest.mark.parametrize(
    ("name", "offset"), [("bert", 0), ("roberta", 1), ("esm-absolute", 1), ("mpnet", 2), ("llama", 0)]
)
def test_positions_start_where_the_models_table_does(name: str, offset: int, loaded: Callable[[str], Any]) -> None:
    network = loaded(name).network
    assert network.offset == offset
    assert network.max_length == 40 - offset


def test_no_position_beyond_the_models_table_is_tried(build: Callable[..., Path]) -> None:
    # On a GPU an index out of range cannot be caught.
    folder = build("bert", pad_token_id=27, max_position_embeddings=20)
    family = MaskedLM()
    model = load_model(folder, *family.native(read_object(folder / "config.json")), family, torch.float32)
    seen: list[int] = []
    asked = "position_ids"
    model.register_forward_pre_hook(
        lambda module, _, given: seen.append(int(given[asked].max())) if asked in given else None, with_kwargs=True
    )
    assert Network(model, [5, 6, 7, 8], 0).offset == 0
    assert max(seen) < 20


@pytest.mark.parametrize(
    "name", ["bert", "roberta", "modernbert", "distilbert", "albert", "esm", "llama", "qwen3", "gemma2"]
)
def test_the_head_runs_apart_from_the_trunk(name: str, loaded: Callable[[str], Any]) -> None:
    backbone = loaded(name)
    canvas, whole = logits(backbone, PROMPTS)
    with torch.inference_mode():
        hidden = backbone.forward(canvas.tokens, canvas.valid, None, positions=canvas.positions).hidden
        one = backbone.project(hidden[2, 3])
    assert backbone.network.split
    assert hidden.shape[-1] == 32
    assert one.shape == (28,)
    assert (one - whole[2, 3]).abs().max() <= 1e-5


def test_a_head_that_cannot_run_apart_makes_the_logits_the_hidden_states(loaded: Callable[[str], Any]) -> None:
    backbone = loaded("opt")
    canvas, whole = logits(backbone, PROMPTS)
    with torch.inference_mode():
        hidden = backbone.forward(canvas.tokens, canvas.valid, None, positions=canvas.positions).hidden
    assert not backbone.network.split
    assert hidden.shape[-1] == 28
    assert torch.equal(hidden, whole)
