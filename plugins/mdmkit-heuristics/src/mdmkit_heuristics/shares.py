"""Settings that are shares or probabilities."""

from __future__ import annotations

from mdmkit import MdmkitError


def check_shares(part: str, settings: object, *names: str) -> None:
    """Refuse settings of a part, such as `select dawn`, that are not from 0 to 1."""
    for name in names:
        value = getattr(settings, name)
        if not 0 <= value <= 1:
            raise MdmkitError(f"{part}: {name}={value}: it must be from 0 to 1.")
