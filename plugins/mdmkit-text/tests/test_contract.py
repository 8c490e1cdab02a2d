"""The contract of every backbone, kept by one model of each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mdmkit.testing import BackboneContract

if TYPE_CHECKING:
    from collections.abc import Callable


class TestContract(BackboneContract):
    prompts = ("abc", "a[MASK]b[MASK][MASK]cdefg", "", {"prompt_ids": [5, 6], "length": 3})

    @pytest.fixture(params=["bert", "roberta", "esm", "modernbert", "llama", "mobilebert"])
    def backbone(self, request: pytest.FixtureRequest, loaded: Callable[[str], Any]) -> Any:
        return loaded(request.param)
