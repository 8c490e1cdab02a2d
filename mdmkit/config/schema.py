"""The parameters of a part: its dataclass' fields, read from the source without importing it.

A stage's module imports torch; listing and showing must not. Fields and defaults that the source does not show
(inherited fields, computed defaults) are unknown here, and are checked when the sampler is composed.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import typing
from dataclasses import dataclass
from typing import Any

from mdmkit.config.values import describe, fit, hint_of, plain
from mdmkit.errors import FAILURES, MdmkitError, shown, told, unknown
from mdmkit.installed.target import source_file

if typing.TYPE_CHECKING:
    from collections.abc import Mapping

REQUIRED = object()  # the field has no default
UNKNOWN = object()  # it has a default, but only the loaded class knows it
# Base classes without fields; a part may inherit from the class of its kind.
FIELDLESS = ("Score", "Select", "Lookahead", "Commit", "Search", "Stop", "Constraint")
_EMPTY: dict[str, Any] = {"dict": {}, "list": [], "tuple": (), "set": set()}


@dataclass(frozen=True)
class Field:
    """One parameter: its type, and its default, REQUIRED or UNKNOWN."""

    name: str
    hint: Any
    default: Any = REQUIRED


@dataclass(frozen=True)
class Schema:
    """All parameters of one part."""

    fields: tuple[Field, ...]

    def complete(self, given: Mapping[str, Any], label: str, key: str) -> dict[str, Any]:
        """Check given parameters and add the defaults that are known.

        Args:
            label: the part as the errors name it: `select 'branch'`.
            key: the config key that holds the parameters: `select`.

        Raises:
            MdmkitError: an unknown or missing parameter, or a value of the wrong type.
        """
        names = [field.name for field in self.fields]
        for name in given:
            if name not in names:
                raise MdmkitError(unknown(f"{label} parameter", str(name), names, known_as="Parameters"))
        out = {}
        for field in self.fields:
            if field.name in given:
                out[field.name] = _fitted(given[field.name], field, f"{key}.{field.name}")
            elif field.default is REQUIRED:
                raise MdmkitError(
                    f"{label} needs a value for {field.name!r} ({describe(field.hint)}): set {key}.{field.name}."
                )
            elif field.default is not UNKNOWN:
                out[field.name] = field.default
        return out


def _fitted(value: Any, field: Field, key: str) -> Any:
    try:
        return fit(value, field.hint)
    except TypeError:
        raise MdmkitError(f"{key} must be {describe(field.hint)}, not {_shown(value)}.") from None


def _shown(value: Any) -> str:
    said = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return said[value]
    return f"the text {shown(value)}" if isinstance(value, str) else shown(plain(value))


def read(target: Any) -> Schema | None:
    """The schema of a target, read from the source of `"module:Attr"` or from the class; None if it is unknown."""
    if not isinstance(target, str):
        return of_class(target) if isinstance(target, type) and dataclasses.is_dataclass(target) else None
    module, _, name = target.partition(":")
    path = source_file(module)
    if path is None:
        return None
    try:
        found = _class(path.read_text(encoding="utf-8"), name)
    except (OSError, SyntaxError, ValueError):
        return None
    # A subclass may inherit fields that are not in this source. The classes of `mdmkit.stage.protocols` have none.
    inherits = found is not None and any(_name(base) not in FIELDLESS for base in found.bases)
    if found is None or inherits or not any(_is_dataclass(d) for d in found.decorator_list):
        return None
    return Schema(tuple(field for node in found.body if (field := _field(node)) is not None))


@functools.lru_cache(maxsize=256)
def _class(source: str, name: str) -> ast.ClassDef | None:
    """The definition of a class; kept, since parsing a module is most of what it takes to compose a sampler."""
    return next((n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == name), None)


def of_class(cls: type) -> Schema:
    """The schema of a dataclass that is already imported."""
    try:
        hints = typing.get_type_hints(cls)
    except Exception:  # an annotation that only a type checker can evaluate
        hints = {field.name: hint_of(field.type) for field in dataclasses.fields(cls) if isinstance(field.type, str)}
    fields = []
    for field in dataclasses.fields(cls):
        if field.init:
            default = REQUIRED if field.default is dataclasses.MISSING else field.default
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            fields.append(Field(field.name, hints.get(field.name, Any), default))
    return Schema(tuple(fields))


def build(cls: type, given: Mapping[str, Any], label: str, key: str) -> Any:
    """Make an instance from configured parameters.

    Raises:
        MdmkitError: a parameter is unknown, missing, of the wrong type, or refused by the class itself.
    """
    values = of_class(cls).complete(given, label, key)
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise MdmkitError(f"{label}: {' '.join(str(error).split())}") from error
    except MdmkitError:
        raise
    except FAILURES as error:
        raise MdmkitError(f"{label} cannot be made: {told(error)}.") from error


def parameters(instance: Any) -> dict[str, Any]:
    """An instance's parameters in plain values."""
    return {field.name: plain(getattr(instance, field.name)) for field in dataclasses.fields(instance) if field.init}


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _is_dataclass(decorator: ast.expr) -> bool:
    made = decorator.func if isinstance(decorator, ast.Call) else decorator
    return (made.attr if isinstance(made, ast.Attribute) else getattr(made, "id", "")) == "dataclass"


def _field(node: ast.stmt) -> Field | None:
    """A statement of a class body as a field; None if it is not a field."""
    if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
        return None
    annotation = ast.unparse(node.annotation)
    if "ClassVar" in annotation or annotation.endswith("KW_ONLY"):
        return None
    default: Any = REQUIRED if node.value is None else _literal(node.value)
    if (
        isinstance(node.value, ast.Call)
        and getattr(node.value.func, "id", getattr(node.value.func, "attr", "")) == "field"
    ):
        said = {keyword.arg: keyword.value for keyword in node.value.keywords}
        if isinstance(said.get("init"), ast.Constant) and said["init"].value is False:  # type: ignore[attr-defined]
            return None
        default = REQUIRED
        if "default" in said:
            default = _literal(said["default"])
        elif "default_factory" in said:
            default = _EMPTY.get(getattr(said["default_factory"], "id", ""), UNKNOWN)
    return Field(node.target.id, hint_of(annotation), default)


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError):
        return UNKNOWN
