"""Answers that are JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mdmkit import Constraint, MdmkitError, shown
from mdmkit_constrain.apart import TooSlow, of_pattern
from mdmkit_constrain.preparing import check_depth, for_model
from mdmkit_constrain.schemas.members import check_size
from mdmkit_constrain.schemas.values import pattern_of

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Backbone


@dataclass(frozen=True)
class JsonSchema(Constraint):
    """The whole answer is a value that fits a JSON schema.

    Args:
        schema: the schema, or its JSON as a text; `{type: object}` is any object.
        depth: how often a schema may stand in itself, and how many levels a value has of which it says nothing.
        mode: `exact`: beliefs become those under belief × rule; `mask`: only the support changes.
    """

    schema: dict[str, Any] | str = field(default_factory=lambda: {"type": "object"})
    depth: int = 2
    mode: Literal["exact", "mask"] = "exact"

    whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_depth(self.depth)
        check_size(len(self.pattern))
        try:
            of_pattern(self.pattern)
        except TooSlow:
            raise MdmkitError(
                f"constraint.schema is too large: as a regular expression it has {len(self.pattern):,} characters, and "
                "takes too long to read. Say what values stand where it says nothing, or set constraint.depth lower."
            ) from None

    @cached_property
    def pattern(self) -> str:
        """The schema as a regular expression."""
        return pattern_of(_read(self.schema), self.depth)

    def prepare(self, backbone: Backbone, never: Tensor) -> Constraint:
        return for_model(of_pattern(self.pattern), backbone, never, "the JSON schema", self.mode)


def _read(schema: Mapping[str, Any] | str) -> Any:
    if not isinstance(schema, str):
        return schema
    try:
        return json.loads(schema)
    except ValueError as error:
        raise MdmkitError(f"constraint.schema is {shown(schema)}, which is no JSON: {error}.") from None
