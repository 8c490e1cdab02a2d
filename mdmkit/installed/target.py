"""Resolve a target string: find its file without importing it, or import it."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdmkit.errors import FAILURES, MdmkitError, told

if TYPE_CHECKING:
    from collections.abc import Iterable


def places(module: str) -> list[Path]:
    """The folders of a module's top package; nothing is executed. Empty if the package is not on disk."""
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(folder) for folder in spec.submodule_search_locations]
    return [Path(spec.origin)] if spec.origin and spec.origin.endswith(".py") else []


def source_file(module: str) -> Path | None:
    """The .py file of a dotted module name, or None."""
    rest = module.split(".")[1:]
    for place in places(module):
        for path in (place.joinpath(*rest).with_suffix(".py") if rest else place, place.joinpath(*rest, "__init__.py")):
            if path.suffix == ".py" and path.is_file():
                return path
    return None


def package_file(target: str) -> Path | None:
    """The file that `"package:path/inside/it"` names, or None."""
    package, _, inside = target.partition(":")
    for place in places(package):
        folder = place if place.is_dir() else place.parent
        path = folder.joinpath(*package.split(".")[1:], inside)
        if path.is_file():
            return path
    return None


def fetch(target: str, what: str, distribution: str) -> Any:
    """Import `"package.module:Attr"`.

    Args:
        what: the part and its origin, for the error: `score 'margin' of mdmkit-heuristics 0.1.0`.
        distribution: the distribution whose requirements may name the missing package.

    Raises:
        MdmkitError: the import fails. The error names what is missing, and the pip line that installs it.
    """
    module, _, attr = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for name in attr.split("."):
            found = getattr(found, name)
    except MdmkitError:
        raise
    except ModuleNotFoundError as error:
        raise MdmkitError(f"{what} cannot be imported: {_missing(error.name or '', module, distribution)}") from error
    except AttributeError as error:
        if module in sys.modules:
            raise MdmkitError(
                f"{what} cannot be imported: {module} has no {attr!r}. {_reinstall(distribution)}"
            ) from error
        raise MdmkitError(f"{what} cannot be imported: AttributeError: {error}.") from error
    except FAILURES as error:
        raise MdmkitError(f"{what} cannot be imported: {told(error)}") from error
    return found


def _missing(name: str, module: str, distribution: str) -> str:
    """Name what a failed import lacks, and how to install it."""
    if name.partition(".")[0] == module.partition(".")[0]:
        return f"it has no module {name!r}. {_reinstall(distribution)}"
    top = name.partition(".")[0]
    return f"the package {top!r} is missing. Install it: {_pip_line(top, distribution)}"


def _reinstall(distribution: str) -> str:
    if distribution.startswith("file:"):
        return f"Correct the target in {distribution.removeprefix('file:')}."
    return f"Its installation is damaged or out of date: pip install --force-reinstall --no-deps {distribution}"


def _pip_line(module: str, distribution: str) -> str:
    """The pip command for a missing module: the requirement or extra of the distribution, if it declares one."""
    for requirement in _requirements(distribution):
        named, _, marker = requirement.partition(";")
        name = re.match(r"[A-Za-z0-9._-]+", named.strip())
        if name and _same_name(name.group(), module):
            extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
            return f"pip install '{distribution}[{extra.group(1)}]'" if extra else f"pip install '{named.strip()}'"
    return f"pip install {module}"


def _requirements(distribution: str) -> Iterable[str]:
    try:
        return metadata.requires(distribution) or ()
    except (metadata.PackageNotFoundError, ValueError):
        return ()


def _same_name(distribution: str, module: str) -> bool:
    return normal(distribution) == normal(module)


def normal(distribution: str) -> str:
    """A distribution's name in the form in which package indexes compare names."""
    return re.sub(r"[-_.]+", "-", distribution).lower()
