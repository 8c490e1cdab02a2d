"""The sampler of a request: the server's own, or another one that the request names."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mdmkit
from mdmkit import MdmkitError, shown, trait
from mdmkit.cli.commands import config_layer
from mdmkit_serve.refusal import wrong

if TYPE_CHECKING:
    from mdmkit import Sampler

# Settings that stay if a request names another sampler; settings of stages belong to the stages of the old one.
KEPT = ("plan", "draw", "guidance", "cache")
# Keys that a request has a field for.
FIELDS = {"plan.length": "max_tokens", "seed": "seed", "sampler": "sampler"}
# Dots in a key of mdmkit.set.
DEEPEST = 20
# The constraint that reads the rule of each prompt.
BY_PROMPT = "by_prompt"
COMPOSED = 256  # samplers that are kept, because composing one takes some milliseconds
# The most states that a row's step may look at: alternatives times particles. More would only fill the memory.
STATES = 64


@dataclass(frozen=True)
class Chosen:
    """A sampler. Requests whose samplers have the same `key` share a running batch."""

    sampler: Sampler
    key: str

    @property
    def name(self) -> str:
        return self.sampler.name


class Samplers:
    """Compose the samplers of requests from the server's own recipe and what a request changes.

    Args:
        preset, config, overrides: the server's sampler, as the command line names it.
        length: masks that are appended if a request does not say how many.
    """

    def __init__(self, preset: str | None, config: Path | None, overrides: tuple[str, ...], length: int):
        self.preset, self.layer, self.overrides = preset, config_layer(config)[1], overrides
        self.length = length
        self._known: OrderedDict[str, Chosen] = OrderedDict()
        self._lock = threading.Lock()  # requests with a rule are read in threads of their own
        self.own = self.choose()

    def choose(
        self,
        name: str | None = None,
        changes: Mapping[str, Any] | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        ruled: bool = False,
    ) -> Chosen:
        """Return the sampler of a request; equal requests get the same one.

        Args:
            ruled: True if each prompt has a rule of its own, in place of the sampler's constraint.

        Raises:
            Refusal: it cannot be composed, or a change is not a request's to make.
        """
        drawn = {"draw.temperature": temperature, "draw.top_p": None if top_p == 1 else top_p}
        nodes = _nodes({**(changes or {}), **{key: value for key, value in drawn.items() if value is not None}})
        if top_p == 1:
            nodes.setdefault("draw", {})["top_p"] = None
        if ruled:
            if "constraint" in nodes:
                raise wrong("mdmkit.set has a constraint, and the request asks for a rule: give one.", "mdmkit")
            nodes["constraint"] = BY_PROMPT
        known = json.dumps([name, nodes], sort_keys=True)
        with self._lock:
            found = self._known.pop(known, None)
        if found is None:  # without the lock, since a rule may take seconds
            try:
                sampler = self._compose(name, nodes)
            except MdmkitError as error:
                raise wrong(str(error).replace("compose: ", ""), "mdmkit", "invalid_sampler") from error
            found = Chosen(sampler, _key(sampler))
        with self._lock:
            self._known[known] = found
            if len(self._known) > COMPOSED:
                self._known.popitem(last=False)
        return found

    def _compose(self, name: str | None, nodes: dict[str, Any]) -> Sampler:
        own = self.preset or self.layer.get("sampler")
        if name is None or name == own:
            preset, layer, overrides = self.preset, self.layer, self.overrides
        else:
            preset = name
            layer = {key: value for key, value in self.layer.items() if key in KEPT}
            overrides = tuple(pair for pair in self.overrides if pair.partition("=")[0].partition(".")[0] in KEPT)
        sampler = mdmkit.compose(preset, config=dict(layer), overrides=overrides, **nodes)
        states = trait("select", sampler.select, "alternatives") * trait("search", sampler.search, "particles")
        if nodes and states > STATES:
            raise MdmkitError(
                f"a step of this sampler looks at {states} states of a row, and a request may ask for {STATES}."
            )
        return replace(sampler, plan=replace(sampler.plan, length=self.length))


def _nodes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Turn {"select.candidates": 4} into {"select": {"candidates": 4}}."""
    nodes: dict[str, Any] = {}
    for key, value in changes.items():
        if key in FIELDS or (key == "plan" and isinstance(value, Mapping) and "length" in value):
            name = key if key in FIELDS else "plan.length"
            raise wrong(f"mdmkit.set: {name} is the field {FIELDS[name]!r} of a request.", "mdmkit", "invalid_sampler")
        if key.count(".") > DEEPEST:
            raise wrong(f"mdmkit.set: {shown(key)} has more than {DEEPEST} dots.", "mdmkit", "invalid_sampler")
        _check_no_file(key, value)
        first, _, rest = key.partition(".")
        if not rest:
            held = nodes.get(first)
            if isinstance(value, Mapping):
                value = {**(held if isinstance(held, dict) else {}), **value}
            nodes[first] = value
            continue
        node = nodes.setdefault(first, {})
        if isinstance(node, str):
            node = nodes[first] = {"name": node}
        *path, last = rest.split(".")
        for part in path:
            node = node.setdefault(part, {}) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise wrong(f"mdmkit.set: {shown(key)} stands below a value that is no object.", "mdmkit")
        node[last] = value
    return nodes


def _check_no_file(key: str, value: Any) -> None:
    """Refuse paths: a request must not make the server read its files."""
    texts = [value] if isinstance(value, str) else []
    if isinstance(value, Mapping):
        for name, each in value.items():
            _check_no_file(f"{key}.{name}", each)
    elif isinstance(value, list):
        for each in value:
            _check_no_file(key, each)
    for text in texts:
        if "/" in text or "\\" in text or text.startswith(("~", ".")):
            raise wrong(
                f"mdmkit.set: {key}={shown(text)} looks like a path, and a request may not name files of the server.",
                "mdmkit",
                "invalid_sampler",
            )


def _key(sampler: Sampler) -> str:
    """What two samplers have in common if their rows may share a batch: all but names and the seed."""
    left_out = ("about", "parts", "sampler", "seed")
    config = {key: value for key, value in sampler.config.items() if key not in left_out}
    return json.dumps(config, sort_keys=True, default=str)
