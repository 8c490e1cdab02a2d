"""How another process makes the same sampler and model, and decodes a unit with them."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from mdmkit.config.compose import compose
from mdmkit.config.schema import parameters
from mdmkit.decoding.encodings import Encodings
from mdmkit.decoding.unit import Outcome, Unit, UnitDecoder
from mdmkit.errors import MdmkitError, MdmkitWarning
from mdmkit.installed.registry import default
from mdmkit.model.loading import load

if TYPE_CHECKING:
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone

OR_HERE = "or decode in this process (engine 'here')."


@dataclass(frozen=True)
class Recipe:
    """How to make a decode's sampler and model: plain values, for JSON or pickle.

    Attributes:
        sampler: the sampler's whole configuration.
        model: the reference for `mdmkit.load`. A relative path is relative to the working directory.
        options: options of the backbone.
        device: replace it if the other process has another device.
        dtype: as `mdmkit.load` was given it.
        plugins: absolute paths of the plugin files that were added.
        threads: torch's number of threads; on a CPU another number changes the last bits of floats.
    """

    sampler: Mapping[str, Any]
    model: str
    options: Mapping[str, Any]
    device: str
    dtype: str
    plugins: Sequence[str]
    threads: int


def recipe_of(sampler: Sampler, backbone: Backbone) -> Recipe:
    """Return how a sampler and a model were made.

    Raises:
        MdmkitError: another process cannot make them: a part of the sampler is in no plugin, the sampler was changed
            after it was composed, `mdmkit.load` did not load the model, several processes share it, or its options
            are no plain values.
    """
    source = backbone.source
    if source is None:
        raise MdmkitError(
            f"another process loads a model by its reference, and this {type(backbone).__name__} has none. Load it "
            f"with mdmkit.load, {OR_HERE}"
        )
    if source.options.get("tp") not in (None, 1):
        raise MdmkitError(
            f"the processes of torchrun share model {source.ref}, and another process cannot join them. Leave tp out, "
            f"{OR_HERE}"
        )
    _check_sampler(sampler)
    recipe = Recipe(
        sampler=sampler.config,
        model=source.ref,
        options=dict(source.options),
        device=source.device,
        dtype=source.dtype,
        plugins=tuple(map(str, default().files)),
        threads=torch.get_num_threads(),
    )
    try:
        json.dumps(dataclasses.asdict(recipe))
    except TypeError as error:
        raise MdmkitError(
            f"another process needs the options of model {source.ref} as plain values ({error}). Give plain values, "
            f"{OR_HERE}"
        ) from None
    return recipe


def decode_unit(recipe: Recipe, unit: Unit) -> Outcome:
    """Decode one unit in this process. The sampler and the model are made by the first call, and kept for later ones.
    A recipe with another sampler, but of the same model, does not load the model again.

    Notes (`MdmkitWarning`) are not repeated: the asking process has loaded the model and encoded the prompts too.

    Raises:
        MdmkitError: they cannot be made, a part has another version here, or memory is too small. If a row fails, its
            error is among the errors of the outcome.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MdmkitWarning)
        sampler = _sampler_of(recipe)
        return UnitDecoder(sampler, Encodings(_model_of(recipe), sampler.plan))(unit)


# What was made last, by its recipe as JSON.
_sampler: dict[str, Sampler] = {}
_model: dict[str, Backbone] = {}


def _sampler_of(recipe: Recipe) -> Sampler:
    key = _key(recipe)
    if key not in _sampler:
        _sampler.clear()
        torch.set_num_threads(recipe.threads)
        registry = default()
        for file in recipe.plugins:
            if file not in map(str, registry.files):
                registry.add_file(file)
        sampler = compose(config=recipe.sampler)
        _check_same(recipe.sampler, sampler.config)
        _sampler[key] = sampler
    return _sampler[key]


def _model_of(recipe: Recipe) -> Backbone:
    key = _key(dataclasses.replace(recipe, sampler={}))
    if key not in _model:
        _model.clear()  # first, so that two models are never in memory together
        _model[key] = load(recipe.model, recipe.device, recipe.dtype, **recipe.options)
    return _model[key]


def _key(recipe: Recipe) -> str:
    return json.dumps(dataclasses.asdict(recipe), sort_keys=True)


def _check_same(asked: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    asked, here = (json.loads(json.dumps(each)) for each in (asked, config))
    for key in {**asked, **here}:
        if asked.get(key) != here.get(key):
            raise MdmkitError(
                f"this process would decode with another sampler: {key} is {here.get(key)} here, and {asked.get(key)} "
                "is needed. Install the same versions of the same plugins everywhere."
            )


def _check_sampler(sampler: Sampler) -> None:
    known = sampler.config.get("parts", {})
    unnamed = [kind for kind in sampler.stages() if not _in_plugin(known.get(kind))]
    if unnamed:
        named = ", ".join(f"{kind} {type(getattr(sampler, kind)).__name__}" for kind in unnamed)
        raise MdmkitError(
            f"another process finds parts by their names, and no plugin has {named}. Register it, {OR_HERE}"
        )
    if _facts(compose(config=sampler.config)) != _facts(sampler):
        raise MdmkitError(
            "another process makes a sampler from its configuration, and this sampler was changed after it was "
            "composed. Compose it with the change."
        )


def _in_plugin(part: Mapping[str, str] | None) -> bool:
    return part is not None and not part["distribution"].startswith("python:")


def _facts(sampler: Sampler) -> Any:
    stages = {kind: (type(part), parameters(part)) for kind, part in sampler.stages().items()}
    settings = (sampler.plan, sampler.draw, sampler.guidance, sampler.cache, sampler.refresh_every, sampler.seed)
    return stages, settings
