"""Which classes can keep columns frozen, found out by trying."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "qwen3-moe", "opt"])
def test_decoders_with_full_attention_offer_the_caches(name: str, loaded: Callable[[str], Any]) -> None:
    assert loaded(name).caches == {"none", "prefix", "dual"}
    assert loaded(name).cache == "none"


@pytest.mark.parametrize("name", ["gemma2", "bert", "esm", "fnet"])
def test_windowed_layers_and_encoders_offer_none(name: str, loaded: Callable[[str], Any]) -> None:
    assert loaded(name).caches == {"none"}
