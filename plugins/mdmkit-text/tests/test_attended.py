"""The attention that a model offers is that of its own eager attention, whatever a forward leaves out or reads."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

import mdmkit
from mdmkit import MdmkitError, Observer
from mdmkit_text import attended as module
from mdmkit_text.backbone import TextBackbone

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = Path(__file__).parents[3] / "tests" / "golden"
FULL, BLOCK = ("llada", "dream", "lladamoe"), ("sdar", "llada2", "llada21")
CACHES = [(n, c) for n in FULL for c in ("none", "prefix", "dual")] + [(n, c) for n in BLOCK for c in ("none", "block")]
PROMPTS = [{"prompt_ids": [5 + (7 * i + 3 * j) % 60 for j in range(3 + 2 * i)], "length": 6 + i} for i in range(3)]


@functools.cache
def golden(name: str) -> Any:
    return TextBackbone.load(str(GOLDEN / name), mask_id=125, **({"block_length": 4} if name in BLOCK else {}))


def offered(backbone: Any, canvas: Any) -> torch.Tensor:
    given = canvas.tokens, canvas.valid, None
    with torch.inference_mode():
        out = backbone.forward(*given, positions=canvas.positions, extras=("attention",), plain=False)
    return (out.extra or {})["attention"]


def encoded(backbone: Any, prompts: list[dict[str, Any]]) -> Any:
    return backbone.encode(list(mdmkit.read_prompts(prompts, 0)), mdmkit.Plan())[0]


@pytest.mark.parametrize("name", ["llada", "lladamoe"])
@pytest.mark.parametrize("layers", [1, 4])
def test_it_is_the_mean_of_the_last_layers_of_eager_attention(
    name: str, layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LAYERS", layers)
    monkeypatch.setattr(module, "MOST", 1)  # one head at a time
    backbone = golden(name)
    canvas = encoded(backbone, PROMPTS[:1])
    found = offered(backbone, canvas)
    eager = TextBackbone.load(str(GOLDEN / name), mask_id=125).network.model
    eager.set_attn_implementation("eager")
    with torch.inference_mode():
        mask = torch.zeros(1, 1, *[canvas.tokens.shape[1]] * 2)
        out = eager.base_model(input_ids=canvas.tokens, attention_mask=mask, output_attentions=True)
    expected = torch.stack(out.attentions[-layers:]).mean(0).mean(1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [*FULL, *BLOCK])
def test_a_row_among_others_attends_as_it_does_alone(name: str) -> None:
    backbone = golden(name)
    together = offered(backbone, encoded(backbone, PROMPTS))
    for row, prompt in enumerate(PROMPTS):
        alone = offered(backbone, encoded(backbone, [prompt]))[0]
        length = len(alone)
        torch.testing.assert_close(together[row, :length, :length], alone, rtol=1e-4, atol=1e-6)
        assert not together[row, :length, length:].any()


class Sums(Observer):
    """What each step's open positions attend to in all, and the most that goes to columns beyond the row."""

    def __init__(self) -> None:
        self.total: list[float] = []
        self.beyond = 0.0

    def on_step(self, step: Any, *rest: Any) -> None:
        weights = step.extra["attention"]
        self.total += weights.sum(-1)[step.open].tolist()
        outside = ~step.canvas.valid[:, None].expand_as(weights)
        self.beyond = max(self.beyond, float((weights * outside)[step.open].sum()))


@pytest.mark.parametrize(("name", "cache"), CACHES)
def test_a_forward_beside_frozen_columns_attends_to_them_too(name: str, cache: str) -> None:
    backbone, sums = golden(name), Sums()
    easy = {"high": 0.1, "edge": 0.02}
    sampler = mdmkit.compose("dawn", select=easy, plan={"block": 4, "early_stop": False}, cache=cache)
    assert len(mdmkit.decode(sampler, backbone, PROMPTS, observers=[sums]).rows) == len(PROMPTS)
    assert len(sums.total) >= sum(prompt["length"] for prompt in PROMPTS)
    assert min(sums.total) == pytest.approx(1, abs=1e-4) and max(sums.total) == pytest.approx(1, abs=1e-4)
    assert sums.beyond == 0


@pytest.mark.parametrize("name", ["gemma2", "bert", "esm", "fnet"])
def test_windowed_layers_and_encoders_offer_none(name: str, loaded: Callable[[str], Any]) -> None:
    backbone = loaded(name)
    assert not backbone.offers
    with pytest.raises(MdmkitError, match="reads 'attention', and backbone 'TextBackbone' does not offer it"):
        mdmkit.decode(mdmkit.compose("dawn"), backbone, ["ab"])
