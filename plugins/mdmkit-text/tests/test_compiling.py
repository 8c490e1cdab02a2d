"""Compiled layers: the same tokens, and errors that say what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from checkpoints import GOLDEN
from torch import nn

import mdmkit
from mdmkit import MdmkitError, MdmkitWarning

if TYPE_CHECKING:
    from collections.abc import Callable

CHECKPOINT = str(GOLDEN / "llada")
PROMPTS = [{"prompt_ids": [7, 8, 9], "length": 12}, {"prompt_ids": [9, 7, 5, 6, 8], "length": 9}]


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace the compiler by a function from a layer's own forward to another one."""

    def set_to(change: Callable[[Any], Any]) -> None:
        def compile(layer: nn.Module, **options: Any) -> None:
            assert options == {"dynamic": True}
            layer.forward = change(layer.forward)

        monkeypatch.setattr(nn.Module, "compile", compile)

    return set_to


def decoded(backbone: Any, preset: str, cache: str) -> tuple[list[list[int]], list[float]]:
    sampler = mdmkit.compose(preset, cache=cache, plan={"block": 4})
    rows = mdmkit.decode(sampler, backbone, PROMPTS, seed=1).rows
    return [row.tokens for row in rows], [row.trace["uncertainty"] for row in rows]


def test_all_layers_are_compiled_and_a_note_says_how_long_it_took(compiler: Callable[..., None]) -> None:
    made = []
    compiler(lambda forward: made.append(forward) or forward)
    with pytest.warns(MdmkitWarning, match=r"the (\d+) layers of LlamaForCausalLM are compiled \(\d+ s\)"):
        backbone = mdmkit.load(CHECKPOINT, device="cpu", compile=True)
    assert len(made) == backbone.network.model.config.num_hidden_layers


def test_compiled_layers_compute_padding_also_after_a_move(compiler: Callable[..., None]) -> None:
    compiler(lambda forward: forward)
    with pytest.warns(MdmkitWarning, match="are compiled"):
        backbone = mdmkit.load(CHECKPOINT, device="cpu", compile=True)
    assert not backbone.packs
    assert not backbone.to("cpu").packs


def test_layers_are_not_compiled_unless_it_is_asked_for(compiler: Callable[..., None]) -> None:
    compiler(lambda forward: pytest.fail("compiled"))
    for options in ({}, {"compile": False}):
        mdmkit.load(CHECKPOINT, device="cpu", **options)


def test_without_a_compiler_the_error_says_what_to_install(compiler: Callable[..., None]) -> None:
    def fails(forward: Any) -> Any:
        def call(*args: Any, **keywords: Any) -> Any:
            raise RuntimeError("No working C++ compiler found")

        return call

    compiler(fails)
    with pytest.raises(
        MdmkitError, match=r"compile=true.*No working C\+\+ compiler found.*gcc or clang.*leave compile"
    ):
        mdmkit.load(CHECKPOINT, device="cpu", compile=True)


def test_layers_that_compute_something_else_are_refused(compiler: Callable[..., None]) -> None:
    compiler(lambda forward: lambda *args, **keywords: forward(*args, **keywords) * 1.1)
    with pytest.raises(MdmkitError, match="the compiled LlamaForCausalLM computes something else"):
        mdmkit.load(CHECKPOINT, device="cpu", compile=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"compile": "yes"}, "compile='yes': it must be true or false"),
        ({"compile": True, "device_map": "auto"}, "compile=true, and device_map or quantization"),
        ({"compile": True, "quantization": "int8"}, "compile=true, and device_map or quantization"),
    ],
)
def test_options_that_cannot_be_honoured_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(MdmkitError, match=said):
        mdmkit.load(CHECKPOINT, device="cpu", **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llada", "sdar"])
@pytest.mark.filterwarnings("ignore::mdmkit.errors.MdmkitWarning")
def test_compiled_layers_write_the_same_tokens(name: str) -> None:
    plain = mdmkit.load(str(GOLDEN / name), device="cpu")
    compiled = mdmkit.load(str(GOLDEN / name), device="cpu", compile=True)
    for preset in ("confidence", "info_gain"):
        for cache in sorted(plain.caches):
            (tokens, sums), (others, theirs) = (decoded(each, preset, cache) for each in (plain, compiled))
            assert tokens == others
            assert torch.allclose(torch.tensor(sums), torch.tensor(theirs), atol=2e-4)


# -- the head --------------------------------------------------------------------------------------------------------


def test_a_head_that_is_one_layer_is_called_without_its_class() -> None:
    network = mdmkit.load(CHECKPOINT, device="cpu").network
    assert network.last is network.model.get_output_embeddings()
    hidden = torch.randn(2, 3, network.model.config.hidden_size)
    with torch.inference_mode():
        direct, network.last = network.project(hidden), None
        assert torch.equal(direct, network.project(hidden))


@pytest.mark.parametrize("shape", [(1, 1), (2,), (1, 3), (3, 1), (2, 2), (1, 5)])
def test_on_a_cpu_a_head_makes_logits_of_one_column_or_of_four(shape: tuple[int, ...]) -> None:
    network = mdmkit.load(CHECKPOINT, device="cpu").network
    seen: list[int] = []
    head = network.last
    assert head is not None
    head.register_forward_hook(lambda _, given, __: seen.append(given[0].numel() // given[0].shape[-1]))
    hidden = torch.randn(*shape, network.model.config.hidden_size)
    with torch.inference_mode():
        logits = network.project(hidden)
        assert torch.allclose(logits, hidden @ head.weight.T, atol=1e-5)
    count = hidden[..., 0].numel()
    assert seen == [4 if count in (2, 3) else count]


def test_a_head_that_does_more_keeps_its_class() -> None:
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    config = BertConfig(vocab_size=40, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2)
    network = mdmkit.wrap(BertForMaskedLM(config).eval(), mask_id=39).network
    assert isinstance(network.model.get_output_embeddings(), nn.Linear)
    assert network.split and network.last is None
