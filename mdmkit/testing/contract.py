"""Contract suites: their tests cannot be removed or replaced, only marked as failing, with a reason."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import pytest


class Contract:
    """Tests that a plugin author inherits in a class named `Test…`.

    If a subclass defines an inherited test again, it must mark it `@pytest.mark.xfail(reason="…")`. Only the mark is
    used: the inherited test still runs, and must fail (`strict`).

    Raises:
        TypeError: when a subclass replaces an inherited test in any other way.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, original in _promised(cls).items():
            given = getattr(cls, name)
            if given is not original and not getattr(given, "_of_contract", False):
                setattr(cls, name, _expected_to_fail(cls.__name__, name, original, given))


def _promised(cls: type) -> dict[str, FunctionType]:
    """The tests that a class inherits from contracts, by name."""
    found: dict[str, FunctionType] = {}
    for owner in reversed(cls.__mro__):
        if owner.__module__.startswith("mdmkit.testing"):
            found |= {name: test for name, test in vars(owner).items() if name.startswith("test_")}
    return found


def _expected_to_fail(owner: str, name: str, original: FunctionType, given: Any) -> FunctionType:
    marks = [mark for mark in getattr(given, "pytestmark", ()) if mark.name == "xfail"]
    reason = next((mark.kwargs.get("reason") for mark in marks), None)
    if not reason:
        raise TypeError(
            f"{owner}.{name} replaces a test of the contract. What a contract promises cannot be redefined; where the "
            f'promise is known not to hold, mark it: @pytest.mark.xfail(reason="…") def {name}(self): …'
        )
    test = FunctionType(original.__code__, original.__globals__, name, original.__defaults__, original.__closure__)
    test.__dict__.update(original.__dict__, _of_contract=True)
    test.__kwdefaults__, test.__doc__ = original.__kwdefaults__, original.__doc__
    return pytest.mark.xfail(reason=reason, strict=True)(test)
