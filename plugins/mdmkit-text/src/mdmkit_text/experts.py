"""Compare the numbers with which a router chooses a token's experts: with some, it would mix tokens or fail."""

from __future__ import annotations

from typing import Any

from mdmkit import MdmkitError

# The field that gives a layer's number of experts, by its names in config.json and in transformers' classes.
_COUNT = ("num_experts", "n_routed_experts", "num_local_experts")


def check_experts(config: dict[str, Any], settings: Any) -> None:
    """Check that a router can choose a token's experts, also if it first chooses groups of experts.

    Args:
        config: as `read_config` returns it.
        settings: transformers' config object, whose number of experts is that of the weights.

    Raises:
        MdmkitError: a number is not possible; the error names it, and what is.
    """
    experts, per_token, groups, kept = (
        next((value for name in names if isinstance(value := getattr(settings, name, None), int)), None)
        for names in (_COUNT, ("num_experts_per_tok",), ("n_group",), ("topk_group",))
    )
    if not experts:
        return
    count = f"{next((name for name in _COUNT if name in config), _COUNT[0])} {experts}"
    if groups is not None:
        # The router adds the two highest scores of a group, and cuts the scores of all tokens into rows of one size.
        possible = [n for n in range(1, experts + 1) if experts % n == 0 and (n == 1 or experts // n >= 2)]
        _check(config, "n_group", groups, possible, f"{count}, since groups have one size, of at least 2 experts")
    if groups is not None and kept is not None:
        _check(config, "topk_group", kept, range(1, groups + 1), f"n_group {groups}")
        experts, count = kept * (experts // groups), f"{count}, n_group {groups} and topk_group {kept}"
    if per_token is not None:
        _check(config, "num_experts_per_tok", per_token, range(1, experts + 1), count)


def _check(config: dict[str, Any], field: str, value: int, possible: range | list[int], others: str) -> None:
    if value in possible:
        return
    given = f"gives {field} as {value}" if field in config else f"lacks {field}, whose usual value is {value}"
    listed = ", ".join(map(str, possible)) if isinstance(possible, list) else f"1 to {possible[-1]}"
    raise MdmkitError(f"its config.json {given}, and possible values are {listed} with {others}.")
