"""Compare the sizes in config.json with the shapes of the tensors, before a model of these sizes is built.

A wrong size would cost all memory, or hours, before transformers found that the weights do not fit.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from mdmkit import MdmkitError
from mdmkit_text.lacking import check_none_lacking
from mdmkit_text.skeleton import skeleton

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from mdmkit_text.families.family import Family

# The fields that give a number of layers, by their names in all families.
_COUNTS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers", "encoder_layers", "decoder_layers")
_LISTED = 4
_EXPERT = re.compile(r"^(.*\.mlp\.experts)\.(\d+)\.(gate_proj|up_proj|down_proj)\.weight$")


def check_layers(config: dict[str, Any], family: Family, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check that a config.json asks for no more layers than the tensors have.

    Not even transformers' config object may be made before: it lists every layer.

    Raises:
        MdmkitError: there are more.
    """
    # A class that shares weights has more layers than numbers in its names, and yet no more than tensors.
    count, what = len(shapes), "tensors"
    if family.honoured is not None:
        count, what = layer_count(shapes), "layers"
    for field in _COUNTS:
        asked = config.get(field)
        if isinstance(asked, int) and asked > count:
            raise MdmkitError(
                f"its config.json asks for {asked} layers ({field}), and the weights have {count} {what}. They do not "
                "belong together, or the value in config.json is wrong."
            )


def check_sizes(native: Any, config: Any, family: Family, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check that a model of this config has the tensors' shapes, and no tensors more. Only its skeleton is built.

    Args:
        native, config: transformers' model class and its config object.
        family: the names of the weights.
        shapes: the name and shape of every tensor of the checkpoint.

    Raises:
        MdmkitError: a size does not fit, or the model holds more than the files.
    """
    model = skeleton(native, config, len(shapes))
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    wanted = own | fused(own)
    held = stacked(renamed(shapes, family, own, native.base_model_prefix))
    wrong = [
        f"{name} has {list(have)}, and config.json asks for {list(wanted[name])}"
        for name, have in held.items()
        if name in wanted and wanted[name] != have
    ]
    if wrong:
        more = f"; and {len(wrong) - _LISTED} more" if len(wrong) > _LISTED else ""
        raise MdmkitError(
            f"the sizes in its config.json are not those of its weights: {'; '.join(wrong[:_LISTED])}{more}. They do "
            "not belong together, or a value in config.json is wrong."
        )
    check_none_lacking(model, config, shapes, held.keys())


def renamed(
    shapes: Mapping[str, tuple[int, ...]], family: Family, own: Container[str], prefix: str
) -> dict[str, tuple[int, ...]]:
    """The same shapes under the names of transformers' class, as far as single names change.

    `own` are the class's names, and `prefix` is that of its trunk: a checkpoint may lack it, or be alone in having it.
    """

    def native(name: str) -> str:
        for pattern, replacement in (family.key_mapping or {}).items():
            name, count = re.subn(pattern, replacement, name)
            if count:
                break
        others = (f"{prefix}.{name}", name.removeprefix(f"{prefix}."))
        return next((each for each in (name, *others) if each in own), name)

    return {native(name): shape for name, shape in shapes.items()}


def layer_count(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """The number of layers: how many different numbers come first in the tensors' names, after one prefix."""
    numbers: dict[str, set[str]] = defaultdict(set)
    for name in shapes:
        match = re.match(r"(.*?)\.(\d+)\.", name)
        if match:
            numbers[match[1]].add(match[2])
    return max((len(each) for each in numbers.values()), default=0)


def stacked(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Add the shapes that result when transformers stacks a layer's experts, and splits fused queries and keys.

    Experts [F, D] become `gate_up_proj` [E, 2F, D] and `down_proj` [E, D, F].
    """
    found = dict(shapes)
    experts: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    for name, shape in shapes.items():
        match = _EXPERT.match(name)
        if match and len(shape) == 2:
            experts[match[1]] |= {match[3]: shape, match[2]: shape}
    for prefix, each in experts.items():
        count = sum(key.isdigit() for key in each)
        if "gate_proj" in each:
            found[f"{prefix}.gate_up_proj"] = (count, 2 * each["gate_proj"][0], each["gate_proj"][1])
        if "down_proj" in each:
            found[f"{prefix}.down_proj"] = (count, *each["down_proj"])
    return found


def fused(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The shapes of fused queries, keys and values [(H + 2·K)·D, hidden], where a checkpoint holds them in one."""
    found: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        if name.endswith(".q_proj.weight"):
            stem = name.removesuffix("q_proj.weight")
            rows = sum(shapes[f"{stem}{each}_proj.weight"][0] for each in "qkv")
            found[f"{stem}query_key_value.weight"] = (rows, *shape[1:])
    return found
