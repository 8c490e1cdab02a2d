"""Presets keep the laws of presets, and the command those of commands."""

from __future__ import annotations

import pytest

from mdmkit.testing import CommandContract, PresetContract
from mdmkit_heuristics.plugin import mdmkit_command, mdmkit_sampler

# Its table belongs to a tokenizer, and the toy has another.
PRESETS = {component.name: component.target for component in mdmkit_sampler() if component.name != "pc"}
# Token ids of the toy, and less room than the preset has, for a short test.
OF_TOY = {
    "adablock": {"select": {"delimiters": [3, 4]}},
    "daedal": {"commit": {"end": 1}, "plan": {"room": 6}},
}


@pytest.mark.parametrize("name", PRESETS)
class TestPresets(PresetContract):
    @pytest.fixture(autouse=True)
    def _preset(self, name):
        self.component, self.changes = PRESETS[name], OF_TOY.get(name, {})

    def make(self):
        layer = super().make()
        return layer | {key: {**layer[key], **values} for key, values in self.changes.items()}


class TestCorpus(CommandContract):
    (component,) = mdmkit_command()
