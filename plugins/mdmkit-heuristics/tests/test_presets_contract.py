"""Presets keep the laws of presets, and the command those of commands."""

from __future__ import annotations

import pytest

from mdmkit.testing import CommandContract, PresetContract
from mdmkit_heuristics.plugin import mdmkit_command, mdmkit_sampler

# Its table belongs to a tokenizer, and the toy has another.
PRESETS = {component.name: component.target for component in mdmkit_sampler() if component.name != "pc"}


@pytest.mark.parametrize("name", PRESETS)
class TestPresets(PresetContract):
    @pytest.fixture(autouse=True)
    def _preset(self, name):
        self.component = PRESETS[name]


class TestCorpus(CommandContract):
    (component,) = mdmkit_command()
