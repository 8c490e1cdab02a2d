"""Every preset keeps the laws of presets."""

from __future__ import annotations

import pytest

from mdmkit.testing import PresetContract
from mdmkit_search.plugin import mdmkit_sampler

PRESETS = {component.name: component.target for component in mdmkit_sampler()}


@pytest.mark.parametrize("name", PRESETS)
class TestPresets(PresetContract):
    @pytest.fixture(autouse=True)
    def _preset(self, name):
        self.component = PRESETS[name]
