"""The contract of a preset: it composes, decodes to the end, and declares what `mdmkit samplers` lists."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

import mdmkit.installed.registry as installed
from mdmkit.config.compose import compose
from mdmkit.config.layers import read_yaml
from mdmkit.config.resolution import ABOUT, resolve
from mdmkit.decoding.run import decode
from mdmkit.errors import MdmkitError
from mdmkit.installed.target import package_file
from mdmkit.loop.sampler import Sampler
from mdmkit.model.backbone import Backbone
from mdmkit.testing.contract import Contract
from mdmkit.testing.toy import ToyBackbone

ARXIV = re.compile(r"\d{4}\.\d{5}")
SEEDS = range(3)


class PresetContract(Contract):
    """Set `component` to the preset: a YAML file's path, a mapping, or a target `"my_package:presets/mine.yaml"`.

    The tests decode `length` masks without a cache, whatever the preset's own settings are. If the preset does not work
    with the toy model, define `backbone`, and set `prompts` for it.
    """

    component: ClassVar[Mapping[str, Any] | str | Path | None] = None
    length: ClassVar[int] = 12
    prompts: ClassVar[Sequence[Any]] = ("ab", "c__d_a", "_")

    def make(self) -> dict[str, Any]:
        """Return the preset's keys."""
        assert self.component is not None, f"{type(self).__name__}: set `component`, or define `make`"
        if isinstance(self.component, Mapping):
            return dict(self.component)
        return read_yaml(package_file(str(self.component)) or self.component)

    def backbone(self) -> Backbone:
        """Return the model to decode with."""
        toy = ToyBackbone(max_length=None)
        toy.endings = (1,)  # `draw.end_penalty` needs a token to make less likely
        return toy

    def test_resolves_and_composes(self) -> None:
        layer = self.make()
        assert "sampler" not in layer, "a preset holds its own keys and builds on no other: drop `sampler`"
        try:
            resolve(config=layer, registry=installed.default())
            compose(config=layer)
        except MdmkitError as error:
            pytest.fail(f"the preset cannot be composed: {error}")

    def test_config_resolves_to_itself(self) -> None:
        config = compose(config=self.make()).config
        again = resolve(config=config, registry=installed.default()).config
        assert again == config, "the sampler's config, resolved again, is another"
        assert compose(config=config).config == config, "the sampler's config, composed again, is another"

    def test_decodes_to_the_end(self) -> None:
        backbone = self.backbone()
        for row in decode(self._sampler(), backbone, self.prompts).rows:
            assert backbone.mask_id not in row.tokens, f"masks are left in prompt {row.index}: {row.tokens}"

    def test_same_seed_gives_the_same_tokens(self) -> None:
        for seed in SEEDS:
            first, second = self._tokens(seed), self._tokens(seed)
            assert first == second, f"seed {seed} gives other tokens the second time"

    def test_every_seed_agrees_where_it_says_so(self) -> None:
        if self._about().get("deterministic") is True:
            first, *others = map(self._tokens, SEEDS)
            assert all(other == first for other in others), "it says deterministic: true, and seeds differ"

    def test_says_what_a_step_costs(self) -> None:
        forwards = self._about().get("forwards")
        ends: list[Any] = list(forwards) if isinstance(forwards, list | tuple) else [forwards, forwards]
        right = len(ends) == 2 and all(type(end) is int for end in ends) and 1 <= ends[0] <= ends[1]
        assert right, f"forwards is a whole number or [least, most], from 1 on, not {forwards!r}"

    def test_says_whether_it_draws(self) -> None:
        said = self._about().get("deterministic")
        assert isinstance(said, bool), f"deterministic is true or false, not {said!r}"

    def test_what_it_says_of_itself_is_known(self) -> None:
        strange = set(self._about()) - set(ABOUT)
        assert not strange, f"{sorted(strange)} is nothing that a preset says of itself; known: {', '.join(ABOUT)}"

    def test_arxiv_numbers_have_their_form(self) -> None:
        ids = self._about().get("arxiv", [])
        assert isinstance(ids, list | tuple), f"arxiv is a list of numbers in quotes, not {ids!r}"
        for number in ids:
            right = isinstance(number, str) and ARXIV.fullmatch(number)
            assert right, f'{number!r} is no arXiv number: write it in quotes, as in "2602.18176"'

    def _about(self) -> dict[str, Any]:
        """What the preset declares, at the top level or under `about`."""
        layer = self.make()
        return {key: value for key, value in layer.items() if key in ABOUT} | dict(layer.get("about") or {})

    def _sampler(self) -> Sampler:
        return compose(config=self.make(), plan={"length": self.length}, cache="none")

    def _tokens(self, seed: int) -> list[list[int]]:
        return decode(self._sampler(), self.backbone(), self.prompts, seed=seed).tokens
