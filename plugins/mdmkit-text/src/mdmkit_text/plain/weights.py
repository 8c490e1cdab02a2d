"""Read the weights of a plain decoder, and refuse any that do not fit exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from mdmkit import MdmkitError
from mdmkit_text.headers import files_of_weights
from mdmkit_text.plain.decoder import PlainDecoder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mdmkit_text.plain.decoder import Settings


def load_plain(folder: Path, config: Settings, shapes: Mapping[str, tuple[int, ...]], dtype: Any) -> PlainDecoder:
    """Load the model on the CPU, for evaluation only.

    Args:
        folder: holds the weights.
        config: the sizes.
        shapes: the name and shape of every tensor in `folder`, as `read_shapes` returns them.
        dtype: a torch dtype, or `"auto"` for that of the weights.

    Raises:
        MdmkitError: weights are missing, unexpected or of another shape.
    """
    from safetensors.torch import load_file

    with torch.device("meta"):
        model = PlainDecoder(config)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if config.tie_word_embeddings:
        del wanted["lm_head.weight"]  # the embedding
    faults = [
        f"{name} is {_shape(shapes.get(name))}, should be {_shape(wanted.get(name))}"
        for name in sorted({*wanted, *shapes})
        if wanted.get(name) != shapes.get(name)
    ]
    if faults:
        more = f"; and {len(faults) - 4} more" if len(faults) > 4 else ""
        raise MdmkitError(
            f"{folder}: the weights are not those that its config.json asks for: {'; '.join(faults[:4])}{more}. They "
            "do not belong together, or a value in config.json is wrong."
        )
    weights = {name: tensor for file in files_of_weights(folder) for name, tensor in load_file(folder / file).items()}
    cast = {name: tensor if dtype == "auto" else tensor.to(dtype) for name, tensor in weights.items()}
    model.load_state_dict(cast, strict=False, assign=True)  # the names are checked above
    if config.tie_word_embeddings:
        model.lm_head.weight = model.model.embed_tokens.weight
    return model.eval().requires_grad_(False)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else str([*shape])
