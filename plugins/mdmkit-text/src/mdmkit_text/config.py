"""`config.json` in one form: settings that have two spellings, or stand in two files, are brought together here.

transformers 4 wrote `rope_theta`, `rope_scaling` and `partial_rotary_factor`; transformers 5 writes all three into
`rope_parameters`. Families read the first spelling, whichever one the file has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mdmkit import MdmkitError
from mdmkit_text.jsonfile import brief, read_object

if TYPE_CHECKING:
    from pathlib import Path

# The classes of a classifier, which no model has that fills masks. transformers makes a name for each of num_labels.
_OF_CLASSIFIERS = ("num_labels", "id2label", "label2id")
# The largest number in a list, by a word in the field's name: a token id, how often a layer is repeated, or a width.
_MOST = {"token": 10**7, "_ids": 10**7, "repeat": 10**3, "": 10**5}
_TOKENS = tuple(f"{name}_token_id" for name in ("mask", "pad", "bos", "eos", "sep", "cls", "unk"))
_SOURCES = ("rope_parameters", "rope_scaling")
# What transformers 4 writes at the top of a config, and transformers 5 into `rope_parameters`.
AT_TOP = ("rope_theta", "partial_rotary_factor")


def read_config(folder: Path) -> dict[str, Any]:
    """Read a directory's config.json, and bring it to one form.

    Raises:
        MdmkitError: it is no JSON object, or contradicts itself.
    """
    config = {name: value for name, value in read_object(folder / "config.json").items() if name not in _OF_CLASSIFIERS}
    for name, value in config.items():
        if name in _TOKENS:
            _ids("config.json", name, value)
        most = next(most for word, most in _MOST.items() if word in name)
        if isinstance(value, list) and (much := _more_than(most, value)) is not None:
            raise MdmkitError(
                f"config.json gives {much} in {name}: {brief(value)}. No model has so many of anything, and some "
                "classes would not come to an end with it: give the number with which it was trained."
            )
    for name in ("quantization_config", "quantization"):
        if name in config and not config[name]:  # {} is what some tools leave: the weights are as they were trained
            del config[name]
    return one_form(config)


def _more_than(most: int, values: list[Any]) -> int | None:
    """The first number of nested lists that is above `most`."""
    for value in values:
        much = _more_than(most, value) if isinstance(value, list) else value
        if isinstance(much, int) and much > most:
            return much
    return None


def one_form(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config with `rope_theta`, `partial_rotary_factor` and `rope_scaling` at its top.

    A field is absent if the config sets it in neither spelling. `rope_scaling` is None if positions are not scaled.
    Settings for each kind of layer (`{"full_attention": {...}}`) are left as they are.

    Raises:
        MdmkitError: a value of the wrong kind, or two different values for one setting.
    """
    given = {name: config[name] for name in _SOURCES if config.get(name) is not None}
    for name, settings in given.items():
        if not isinstance(settings, dict):
            raise MdmkitError(f"config.json must give {name} as an object or null, and gives {brief(settings)}.")
    if not given or any(by_layer(settings) for settings in given.values()):
        return dict(config)
    changed = config | {"rope_scaling": None}
    scalings = []
    for name, settings in given.items():
        parts = dict(settings)
        for field in AT_TOP:
            _set(changed, field, parts.pop(field, None), f"{name}.{field}")
        kind = parts.pop("type", None)
        kind = parts.pop("rope_type", kind)
        if kind not in (None, "default"):
            parts["rope_type"] = kind
        scalings.append(parts or None)
    if any(each != scalings[0] for each in scalings):
        raise MdmkitError(
            f"config.json contradicts itself: rope_parameters is {brief(config['rope_parameters'])}, and rope_scaling "
            f"is {brief(config['rope_scaling'])}. Both scale the positions: keep the one with which it was trained."
        )
    return changed | {"rope_scaling": scalings[0]}


def by_layer(settings: Any) -> bool:
    """Return True if rope settings are given for each kind of layer, as in Gemma 3 and ModernBERT."""
    return isinstance(settings, dict) and any(isinstance(value, dict) for value in settings.values())


def end_ids(folder: Path, config: dict[str, Any]) -> set[int]:
    """Return the end tokens that config.json and generation_config.json name: `eos_token_id`, a number or a list.

    Raises:
        MdmkitError: a value that is no token id.
    """
    path = folder / "generation_config.json"
    sources = {"config.json": config, path.name: read_object(path) if path.is_file() else {}}
    found: set[int] = set()
    for name, source in sources.items():
        found.update(_ids(name, "eos_token_id", source.get("eos_token_id")))
    return found


def listed(value: Any) -> list[Any]:
    """What a config gives as one token id, as a list of them, or as null."""
    return [*value] if isinstance(value, list | tuple) else [] if value is None else [value]


def _ids(file: str, field: str, value: Any) -> list[int]:
    ids = listed(value)
    if not all(isinstance(i, int) and not isinstance(i, bool) for i in ids):
        raise MdmkitError(f"{file} must give {field} as a token id, a list of them, or null, and gives {brief(value)}.")
    return ids


def _set(config: dict[str, Any], field: str, value: Any, origin: str) -> None:
    if value is None:
        return
    if config.get(field) is not None and config[field] != value:
        raise MdmkitError(
            f"config.json contradicts itself: {field} is {brief(config[field])}, and {origin} is {brief(value)}. Keep "
            "the one with which it was trained."
        )
    config[field] = value
