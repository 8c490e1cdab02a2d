"""The layers of a configuration, each as a plain dict: a preset, a file or mapping, a `--set`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from mdmkit.errors import MdmkitError, shown
from mdmkit.installed.target import package_file
from mdmkit.whole_file import read_whole

if TYPE_CHECKING:
    from mdmkit.installed.part import Part


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping. Interpolations are not resolved.

    Raises:
        MdmkitError: the file is missing, not YAML, or not a mapping.
    """
    try:
        text = read_whole(Path(path)).decode()
    except UnicodeDecodeError as error:
        raise MdmkitError(f"config file {str(path)!r} cannot be read: it is not UTF-8 text.") from error
    except (OSError, ValueError) as error:  # a name may hold a NUL
        reason = getattr(error, "strerror", None) or error
        raise MdmkitError(f"config file {str(path)!r} cannot be read: {reason}.") from error
    try:
        found: Any = OmegaConf.create(text) if text.strip() else {}
        found = OmegaConf.to_container(found, resolve=False) if OmegaConf.is_config(found) else found
    except Exception as error:
        raise MdmkitError(f"config file {str(path)!r} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise MdmkitError(f"config file {str(path)!r} must be a mapping, such as score: margin.")
    return found


def config_layer(config: Mapping[str, Any] | str | Path | None) -> tuple[str, dict[str, Any]]:
    """Read the argument `config`; return it, and its name for errors."""
    if config is None:
        return "config", {}
    if isinstance(config, str | Path):
        return str(config), read_yaml(config)
    if not isinstance(config, Mapping):
        raise MdmkitError(f"config must be a mapping or the path of a YAML file, not {shown(config)}.")
    if OmegaConf.is_config(config):
        config = OmegaConf.to_container(config, resolve=False)  # type: ignore[assignment]
    return "config", dict(config)


def preset_name(asked: str | None, named: Any, where: str) -> str | None:
    """Return the name of the preset: the argument, or the one that the config names."""
    if named is not None and not isinstance(named, str):
        raise MdmkitError(f"{where}: sampler must be the name of a sampler, not {shown(named)}.")
    if asked is not None and named is not None and asked != named:
        raise MdmkitError(f"sampler {asked!r} was asked for, but {where} says sampler: {named}. Remove one of the two.")
    return asked if asked is not None else named


def preset_layer(part: Part) -> dict[str, Any]:
    """Read a preset's YAML without importing its package."""
    if isinstance(part.target, Mapping):
        return dict(part.target)
    path = package_file(part.target) if isinstance(part.target, str) else None
    if path is None:
        raise MdmkitError(
            f"{part}: its preset is {part.target!r}, which is not a file. "
            "A preset is 'package:path/to/file.yaml', or a mapping."
        )
    return read_yaml(path)


def override_layer(tree: Mapping[str, Any], override: str) -> dict[str, Any]:
    """Turn `key=value`, `stage.parameter=value` or `stage.parameter.item=value` into a layer."""
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise MdmkitError(f"--set {shown(override)} is not of the form KEY=VALUE, such as plan.length=64.")
    try:
        value = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]), resolve=False)["value"]  # type: ignore[index, call-overload]
    except Exception as error:
        raise MdmkitError(f"--set {shown(override)}: the value is not YAML: {' '.join(str(error).split())}") from error
    if len(keys) == 3 and isinstance(tree.get(keys[0]), Mapping):
        held = tree[keys[0]].get(keys[1])
        value = {**(held if isinstance(held, Mapping) else {}), keys[2]: value}
    else:
        for key in reversed(keys[2:]):
            value = {key: value}
    return {keys[0]: {keys[1]: value} if len(keys) > 1 else value}
