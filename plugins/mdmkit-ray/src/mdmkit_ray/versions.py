"""Which versions this process would decode with."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

import mdmkit
from mdmkit.cli.commands import default_registry

LIBRARIES = ("torch", "transformers")


def versions() -> dict[str, str]:
    """Return the version of mdmkit, of each distribution that brings parts, and of the libraries that compute."""
    found = {part.distribution: part.version for part in default_registry().parts if ":" not in part.distribution}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name).partition("+")[0]  # the build, as +cu128, may be another one
        except metadata.PackageNotFoundError:
            continue
    return found | {"mdmkit": mdmkit.__version__}


def differences(asked: Mapping[str, str], there: Mapping[str, str]) -> str:
    """Describe what another process has in another version; empty: nothing. What one of them lacks is no difference.

    A part that a sampler or a model needs and that is not there is an error of `mdmkit.decode_unit`.
    """
    return ", ".join(
        f"{name} is {there[name]} there, and {asked[name]} here"
        for name in asked
        if name in there and there[name] != asked[name]
    )
