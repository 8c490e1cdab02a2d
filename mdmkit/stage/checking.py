"""Check a part when its sampler is composed: its methods, its constants, its parameters, the values of its traits.

A misspelt trait or method raises no error later: the loop uses the default, and the sampler does not do what its author
meant. So every public name of a part's class must be one that the loop reads, or clearly something else.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Iterable
from typing import Any

from mdmkit.errors import FAILURES, MdmkitError, unknown
from mdmkit.stage.protocols import Constraint
from mdmkit.stage.traits import HOMES, LEAST, NEED_REWRITES, known, values

# What the loop calls; kinds that are not listed are called themselves.
NEEDED = {"search": ("move", "best"), "constraint": ("shape", "settle")}
# Methods that a part may leave out.
OPTIONAL = {"search": ("prune", "fits"), "constraint": ("prepare", "refuse", "fits")}
# Base classes of these packages hold constants and methods of their own.
_LIBRARIES = {"abc", "builtins", "torch", "typing"}
# How similar a name must be to count as a misspelt one (difflib's ratio). A part may well have methods, and above all
# parameters, of its own. It has no use for a public constant of its own.
_CONSTANT, _METHOD, _PARAMETER = 0.6, 0.75, 0.85
# Parameters that look like traits, and are words with a meaning of their own.
_WORDS = {"alternate", "rows"}


def check_part(kind: str, part: Any, name: str | None = None) -> None:
    """Refuse a part that the loop would misread.

    Args:
        kind: such as `score`.
        part: an instance.
        name: what errors call it; None: its kind and class.

    Raises:
        MdmkitError: names the part, the method, constant, parameter or trait, and the nearest name.
    """
    if isinstance(part, type):
        raise MdmkitError(f"{kind} is the class {part.__name__}: give an instance of it, {part.__name__}().")
    name = name or f"{kind} {type(part).__name__}"
    _check_bases(kind, part, name)
    _check_methods(kind, part, name)
    _check_constants(kind, part, name)
    _check_values(kind, part, name)


def _written(part: Any) -> list[type]:
    """The classes that make up the part, without mdmkit's base classes and those of libraries."""
    homes = HOMES.values()
    return [c for c in type(part).__mro__ if c not in homes and c.__module__.partition(".")[0] not in _LIBRARIES]


def _near(name: str, names: Iterable[str], cutoff: float) -> str | None:
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=cutoff)
    return found[0] if found else None


def _check_bases(kind: str, part: Any, name: str) -> None:
    """Refuse a trait or method of a mixin that stands after the base class, which hides it."""
    cls, home = type(part), HOMES[kind]
    public = [key for key in vars(home) if key == "__call__" or not key.startswith("_")]
    for hidden in public:
        owners = [owner for owner in cls.__mro__ if hidden in vars(owner)]
        for owner in owners[1:]:
            if owners[0] is home and vars(owner)[hidden] is not vars(home)[hidden]:
                raise MdmkitError(
                    f"{name}: {owner.__name__}.{hidden} has no effect, because {home.__name__} stands before "
                    f"{owner.__name__} in the class and has a {hidden} too. Name {home.__name__} last: class "
                    f"{cls.__name__}({owner.__name__}, {home.__name__})."
                )


def _check_methods(kind: str, part: Any, name: str) -> None:
    """Refuse a part without a method that the loop calls, and a method with nearly the name of one that is absent."""
    needed = NEEDED.get(kind, ("__call__",))
    expected = [method for method in (*needed, *OPTIONAL.get(kind, ("fits",))) if method != "__call__"]
    for owner in _written(part):
        for method, value in vars(owner).items():
            if method.startswith("_") or method in expected or not inspect.isroutine(value):
                continue
            near = _near(method, expected, _METHOD)
            if near and not _defines(kind, part, near):
                raise MdmkitError(
                    f"{name} has the method {method!r}, which the loop does not call. Did you mean {near!r}? If it is "
                    "a method of the part's own, begin its name with an underscore."
                )
    if kind == "constraint" and _defines(kind, part, "prepare"):
        return  # what it returns has a `shape`
    for method in needed:
        # The default of `settle` changes nothing; the other methods of the base classes are to be written.
        if not _defines(kind, part, method) and not (method == "settle" and isinstance(part, Constraint)):
            raise MdmkitError(
                f"{name} has no method {method}: a {kind} needs {' and '.join(needed)}. See the page on the hook "
                f"`{kind}`."
            )


def _defines(kind: str, part: Any, method: str) -> bool:
    """True if the part has a method of its own, not only that of the base class."""
    if not (callable(part) if method == "__call__" else callable(getattr(part, method, None))):
        return False
    inherited = vars(HOMES[kind]).get(method)
    return inherited is None or getattr(type(part), method, None) is not inherited


def _check_constants(kind: str, part: Any, name: str) -> None:
    """Refuse constants that nothing reads, and parameters with nearly the name of a trait."""
    traits, parameters = known(kind), _parameters(part)
    every = f"The traits of a {kind} are {', '.join(sorted(traits))}."
    for owner in _written(part):
        for constant, value in vars(owner).items():
            if constant.startswith("_") or constant in traits or constant in parameters:
                continue
            if callable(value) or hasattr(value, "__get__"):  # methods, properties, classes
                continue
            near = _near(constant, traits, _CONSTANT)
            guess = f" Did you mean {near!r}?" if near else ""
            raise MdmkitError(
                f"{name} has the constant {constant!r}, which nothing reads.{guess} {every} Make it a parameter with a "
                "type, or begin its name with an underscore."
            )
    for parameter in sorted(parameters - _WORDS - set(traits)):
        near = _near(parameter, traits, _PARAMETER)
        if near and not parameter.startswith("_"):
            raise MdmkitError(
                f"{name} has the parameter {parameter!r}. Did you mean the trait {near!r}? {every} If it is a "
                "parameter of its own, give it a name that is less like the trait's."
            )


def _parameters(part: Any) -> set[str]:
    """The names that an instance sets: fields, arguments of `__init__`, attributes."""
    fields = [field.name for field in dataclasses.fields(part)] if dataclasses.is_dataclass(part) else []
    return {*fields, *inspect.signature(type(part).__init__).parameters, *getattr(part, "__dict__", ())}


def _check_values(kind: str, part: Any, name: str) -> None:
    """Refuse a trait of the wrong type, out of its range, or without another trait that it needs."""
    found = {trait: _value(part, trait, default, name) for trait, default in known(kind).items()}
    for trait, default in known(kind).items():
        value, what = found[trait], f"{name}.{trait} is {found[trait]!r}"
        if trait == "reads":
            if not isinstance(value, tuple) or not all(isinstance(extra, str) and extra for extra in value):
                example = (value,) if isinstance(value, str) and value else ("attention",)
                raise MdmkitError(f"{what}: it must be a tuple of names, as in {example!r}.")
        elif type(value) is not type(default):
            raise MdmkitError(f"{what}: it must be of type {type(default).__name__}, like the default {default!r}.")
        elif values(kind, trait) and value not in values(kind, trait):
            raise MdmkitError(f"{name}: {unknown(trait, value, values(kind, trait))}")
        elif trait in LEAST and value < LEAST[trait]:
            raise MdmkitError(f"{what}: it must be at least {LEAST[trait]}.")
    for trait in NEED_REWRITES:
        if found.get(trait) and not found["rewrites"]:
            raise MdmkitError(
                f"{name}.{trait} is {found[trait]!r} and its trait rewrites is False: write rewrites = True, because "
                f"the result of a commit that {trait} is not the action as written."
            )


def _value(part: Any, trait: str, default: Any, name: str) -> Any:
    """The value of a trait. An error in a property must not turn it into the default."""
    try:
        return getattr(part, trait)
    except FAILURES as error:
        if isinstance(error, AttributeError) and not hasattr(type(part), trait):
            return default
        raise MdmkitError(f"{name}.{trait} cannot be read: {type(error).__name__}: {error}.") from error
