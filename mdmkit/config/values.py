"""Check that a configured value fits a field's type. Only types that YAML has; nothing is converted silently.

OmegaConf's own validation needs the class, and so torch. It also turns `true` into 1, and does not know `Literal`.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mdmkit.settings.numbers import own

_SEQUENCES = (list, tuple, set, frozenset, Sequence, Iterable)
_NAMES = {
    **{name: getattr(typing, name) for name in ("Any", "Optional", "Union", "Literal", "ClassVar")},
    **{kind.__name__: kind for kind in (int, float, bool, str, list, tuple, dict, set, frozenset)},
    "Sequence": Sequence,
    "Iterable": Iterable,
    "Mapping": Mapping,
    "typing": typing,
    "__builtins__": {},
}


def hint_of(annotation: str) -> Any:
    """Evaluate the source of an annotation of plain types. Anything else becomes Any, which accepts every value."""
    try:
        hint = eval(annotation, dict(_NAMES))
    except Exception:
        return typing.Any
    return hint_of(hint) if isinstance(hint, str) else hint


def fit(value: Any, hint: Any) -> Any:
    """Return the value in the form of the type: a list as a tuple, a whole number as a float.

    Raises:
        TypeError: it does not fit.
    """
    value, origin, args = own(value), typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _fit_any(value, args)
    if origin is typing.Literal:
        if any(value == choice and type(value) is type(choice) for choice in args):
            return value
        raise TypeError
    if hint in (None, types.NoneType):
        return _require(value, value is None)
    if hint is float:
        return float(
            _require(value, isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))
        )
    if hint is int:
        return _require(value, isinstance(value, int) and not isinstance(value, bool))
    if hint in (bool, str):
        return _require(value, isinstance(value, hint))
    if (origin or hint) in _SEQUENCES:
        return _fit_items(value, origin or hint, args)
    if (origin or hint) in (dict, Mapping):
        _require(value, isinstance(value, Mapping))
        key_hint, item_hint = args or (Any, Any)
        return {_fit_key(key, key_hint): fit(item, item_hint) for key, item in value.items()}
    return value


def _require(value: Any, fits: bool) -> Any:
    if not fits:
        raise TypeError
    return value


def _fit_any(value: Any, hints: tuple[Any, ...]) -> Any:
    for hint in hints:
        if type(value) is hint:
            return fit(value, hint)
    for hint in hints:
        try:
            return fit(value, hint)
        except TypeError:
            continue
    raise TypeError


def _fit_items(value: Any, kind: Any, args: tuple[Any, ...]) -> Any:
    _require(value, isinstance(value, list | tuple | set | frozenset))
    if kind is tuple and args and args[-1] is not ...:
        _require(value, len(value) == len(args))
        return tuple(fit(item, hint) for item, hint in zip(value, args, strict=True))
    items = [fit(item, args[0] if args else Any) for item in value]
    return kind(items) if isinstance(kind, type) and kind in (tuple, set, frozenset) else items


def _fit_key(key: Any, hint: Any) -> Any:
    """JSON and `--set draw.penalty.5=1` write whole numbers as strings."""
    if hint is int and isinstance(key, str) and key.lstrip("-").isdigit():
        return int(key)
    return fit(key, hint)


def describe(hint: Any) -> str:
    """Name a type in words: `a whole number or null`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(arg) for arg in sorted(args, key=lambda arg: arg is types.NoneType))
    if origin is typing.Literal:
        return f"one of {', '.join(map(repr, args))}"
    if (origin or hint) in _SEQUENCES:
        return "a list" if not args else f"a list of {' and '.join(_plural(a) for a in args if a is not ...)}"
    if (origin or hint) in (dict, Mapping):
        return f"a mapping of {_plural(args[0])} to {_plural(args[1])}" if args else "a mapping"
    named = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", types.NoneType: "null"}
    return named.get(hint, getattr(hint, "__name__", str(hint)))


def _plural(hint: Any) -> str:
    return {int: "whole numbers", float: "numbers", bool: "booleans", str: "texts"}.get(hint, describe(hint))


def plain(value: Any) -> Any:
    """Turn a value into one that JSON and YAML can hold. Any other object becomes its repr."""
    value = own(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {key if isinstance(key, int | str) else str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=str)
    return repr(value)
