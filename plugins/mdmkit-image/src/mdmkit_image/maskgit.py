"""The backbone `maskgit`: class to image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mdmkit import MdmkitError, Prompt, unknown
from mdmkit_image.layout import INDEX, index_of, said
from mdmkit_image.uvit import UVitBackbone

_EMBEDDING = Path("class_embedding") / "model.safetensors"
# Classes whose numbers are listed where none of the names fits.
_SHOWN = 20


class MaskGit(UVitBackbone):
    """A class-conditional model (arXiv:2202.04200) in aMUSEd's layout, with a table of classes in place of the encoder.

    `class_embedding/model.safetensors` holds `weight` [K + 1, E]: a row for each of the K classes, and a last row for
    no class. `id2label` in model_index.json names the classes, as in diffusers' class-conditional pipelines. The UVit
    attends to the row of the class, and is also modulated by it.

    Args:
        classes: float [K + 1, E].
        names: of the K classes.
    """

    parts = ("class_embedding",)

    def __init__(self, transformer: Any, vq: Any, classes: Tensor, names: Sequence[str], **options: Any):
        super().__init__(transformer, vq, **options)
        self.classes, self.names = classes, tuple(names)
        self.samples = self.names[:10]
        self.weights += classes.numel()
        self._number = {name.casefold(): i for i, name in enumerate(self.names)}

    @classmethod
    def accepts(cls, ref: str) -> bool:
        """Accept directories with a UVit, class names and no text encoder."""
        index = index_of(ref) or {}
        return index.get("transformer") == ["diffusers", "UVit2DModel"] and "id2label" in index

    @classmethod
    def read(cls, folder: Path, device: str, dtype: torch.dtype) -> dict[str, Any]:
        names = (index_of(str(folder)) or {}).get("id2label")
        try:
            classes = load_file(folder / _EMBEDDING)["weight"]
        except Exception as error:  # safetensors raises its own error types
            raise MdmkitError(f"model {str(folder)!r}: {_EMBEDDING} cannot be read: {said(error)}") from error
        count = len(classes) - 1
        if not isinstance(names, dict) or sorted(names) != sorted(map(str, range(count))):
            raise MdmkitError(
                f"model {str(folder)!r}: {_EMBEDDING} has {count} classes (and a last row for none), so id2label in "
                f"{INDEX} must name 0 to {count - 1}."
            )
        return {"classes": classes.to(device, dtype), "names": [str(names[str(i)]) for i in range(count)]}

    def tensors(self) -> dict[str, Tensor]:
        return super().tensors() | {"class_embedding.weight": self.classes}

    def tell(self, prompts: Sequence[Prompt | None]) -> tuple[Tensor, Tensor]:
        none = len(self.names)
        numbers = [none if p is None or p.text is None else self.number(p) for p in prompts]
        told = self.classes[torch.tensor(numbers, dtype=torch.long, device=self.classes.device)]
        return told[:, None], told

    def number(self, prompt: Prompt) -> int:
        """The class that a prompt names, by its name or its number.

        Raises:
            MdmkitError: it names no class.
        """
        text = (prompt.text or "").strip()
        found = self._number.get(text.casefold())
        if found is None and text.isdecimal() and int(text) < len(self.names):
            found = int(text)
        if found is not None:
            return found
        names = self.names if len(self.names) <= _SHOWN else [f"0 to {len(self.names) - 1}", *self.names[:_SHOWN], "…"]
        raise MdmkitError(
            f"prompt {prompt.index}: {unknown('class', text, names)} This model draws classes, not texts."
        )

    def save(self, folder: Path | str) -> None:
        """Write the model's directory: index, transformer, VQ model, class embeddings."""
        super().save(folder)
        folder = Path(folder)
        (folder / _EMBEDDING).parent.mkdir(exist_ok=True)
        save_file({"weight": self.classes.float().cpu().contiguous()}, folder / _EMBEDDING)
        index = {
            "_class_name": "MaskGitPipeline",
            "id2label": {str(i): name for i, name in enumerate(self.names)},
            "transformer": ["diffusers", "UVit2DModel"],
            "vqvae": ["diffusers", "VQModel"],
        }
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
