"""Where weights go as they are read, how narrow, and what is seen of it; the packages for it need not be installed."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
import transformers
from transformers.utils import logging as loader

from mdmkit import MdmkitError
from mdmkit_text.backbone import TextBackbone
from mdmkit_text.placement import placement
from mdmkit_text.quiet import PATIENCE, quiet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
PACKAGES = ("accelerate", "bitsandbytes", "torchao")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make it seem that these packages are installed, and the others are not."""
    assert transformers.LlamaForCausalLM.__name__  # its module, imported now, would look for what is only pretended

    def set_to(*names: str) -> None:
        for package in PACKAGES:
            monkeypatch.setattr(transformers.utils, f"is_{package}_available", lambda package=package: package in names)

    return set_to


def test_with_accelerate_weights_go_straight_to_a_gpu(installed: Callable[..., None]) -> None:
    installed("accelerate")
    assert placement(GPU, "auto") == {"device_map": {"": GPU}}
    assert placement(CPU, "auto") == {}
    installed()
    assert placement(GPU, "auto") == {}


def test_a_device_map_goes_on_as_it_is_and_needs_accelerate(installed: Callable[..., None]) -> None:
    installed("accelerate")
    for given in ("auto", "sequential", {"model": 0, "lm_head": "cpu"}):
        assert placement(GPU, "auto", device_map=given) == {"device_map": given}
    with pytest.raises(MdmkitError, match=r"unknown device_map 'cuda'.*Known: auto, .*For one device, write --device"):
        placement(GPU, "auto", device_map="cuda")
    installed("torchao")
    with pytest.raises(MdmkitError, match=r"device_map needs accelerate, which is not installed.*mdmkit-text\[large\]"):
        placement(GPU, "auto", device_map="auto")


def test_quantization_names_what_it_needs(installed: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    installed()
    for name, needs in (("int8", "torchao, which is"), ("nf4", "bitsandbytes and accelerate, which are")):
        with pytest.raises(MdmkitError, match=rf"quantization={name} needs {needs} not installed.*pip install"):
            placement(GPU, "auto", quantization=name)
    with pytest.raises(MdmkitError, match=r"unknown quantization '\[4\]'"):
        placement(torch.device("cpu"), None, quantization=[4])
    with pytest.raises(MdmkitError, match=r"unknown quantization 'int4'\. Did you mean 'int8'\? Known: int8, nf4"):
        placement(GPU, "auto", quantization="int4")


def test_quantization_is_transformers_own(installed: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    installed(*PACKAGES)
    half = placement(GPU, torch.float16, quantization="nf4")
    assert half["device_map"] == {"": GPU}
    assert half["quantization_config"].load_in_4bit
    assert half["quantization_config"].bnb_4bit_quant_type == "nf4"
    assert half["quantization_config"].bnb_4bit_compute_dtype == torch.float16
    auto = placement(CPU, "auto", quantization="nf4")
    assert auto["quantization_config"].bnb_4bit_compute_dtype == torch.bfloat16
    assert auto["device_map"] == {"": CPU}, "bitsandbytes narrows weights only as they are placed"

    made = SimpleNamespace(Int8WeightOnlyConfig=lambda: "weights only")
    monkeypatch.setitem(sys.modules, "torchao", SimpleNamespace(quantization=made))
    monkeypatch.setitem(sys.modules, "torchao.quantization", made)
    monkeypatch.setattr(sys.modules["transformers"], "TorchAoConfig", lambda kind: ("torchao", kind))
    assert placement(CPU, "auto", quantization="int8")["quantization_config"] == ("torchao", "weights only")


def test_load_hands_all_of_it_to_from_pretrained(
    installed: Callable[..., None], checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def from_pretrained(folder: Any, **keywords: Any) -> Any:
        seen.update(keywords)
        raise RuntimeError("seen enough")

    installed(*PACKAGES)
    monkeypatch.setattr(transformers.LlamaForCausalLM, "from_pretrained", from_pretrained)
    with pytest.raises(MdmkitError, match="seen enough"):
        TextBackbone.load(str(checkpoint("llama")), dtype="bfloat16", device_map="auto", quantization="nf4")
    assert seen["device_map"] == "auto"
    assert seen["quantization_config"].load_in_4bit
    assert (seen["dtype"], seen["use_safetensors"], seen["trust_remote_code"]) == (torch.bfloat16, True, False)


def test_a_model_that_was_placed_is_not_moved_again(
    installed: Callable[..., None], checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quantised and spread models refuse `to`."""
    native = transformers.LlamaForCausalLM
    real = native.from_pretrained
    installed("accelerate")
    monkeypatch.setattr(native, "from_pretrained", lambda *a, device_map, **k: real(*a, **k))

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("moved")

    monkeypatch.setattr(native, "to", refuse)
    assert TextBackbone.load(str(checkpoint("llama")), device_map="auto").network.split


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "hidden"), [(Terminal(), False), (io.StringIO(), True)])
def test_a_bar_shows_on_a_terminal_only_and_after_a_while(
    stream: io.StringIO, hidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    loader.enable_progress_bar()
    with quiet(progress=True):
        bar = loader.tqdm(range(3), desc="Loading weights")
        assert (bool(bar.disable), list(bar)) == (hidden, [0, 1, 2])
        assert hidden or bar.delay == PATIENCE > 0
    assert stream.getvalue().strip() == ""  # it was quick
    monkeypatch.setattr("mdmkit_text.quiet.PATIENCE", 0)
    with quiet(progress=True):
        list(loader.tqdm(range(3), desc="Loading weights"))
    assert ("Loading weights" in stream.getvalue()) == (not hidden)


def test_without_progress_there_are_no_bars_and_all_is_as_before_afterwards() -> None:
    loader.enable_progress_bar()
    before = loader.set_tqdm_hook(None)
    with quiet():
        assert type(loader.tqdm(range(3))).__name__ == "EmptyTqdm"
    assert loader.is_progress_bar_enabled()
    assert loader.set_tqdm_hook(before) is None


def test_a_head_is_apart_also_where_the_forward_is_an_attribute(loaded: Callable[[str], Any]) -> None:
    """As accelerate leaves a model that it spread over devices."""
    import mdmkit

    model = loaded("llama").network.model
    model.forward = model.forward
    try:
        assert mdmkit.wrap(model, mask_id=4).network.split
    finally:
        del model.forward
