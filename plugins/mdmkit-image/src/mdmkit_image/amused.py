"""The backbone `amused`: text to image."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mdmkit import MdmkitError, MdmkitWarning, Prompt
from mdmkit_image.layout import check_ids, index_of, quiet, said
from mdmkit_image.numbers import named
from mdmkit_image.parts import load_part
from mdmkit_image.uvit import UVitBackbone

# Letters of a text's cut end that a note shows.
SHOWN = 200


class Amused(UVitBackbone):
    """aMUSEd (arXiv:2401.01808): a UVit, conditioned on a text by a CLIP text encoder.

    Args:
        negative: text that guidance moves away from.
    """

    parts = ("text_encoder", "tokenizer")
    options = (*UVitBackbone.options, "negative")
    samples = ("a photo of a red apple on a wooden table", "a lighthouse in a storm, oil painting")

    def __init__(
        self, transformer: Any, vq: Any, text_encoder: Any, tokenizer: Any, *, negative: str = "", **options: Any
    ):
        super().__init__(transformer, vq, **options)
        if not isinstance(negative, str):
            raise MdmkitError(f"model option negative={negative!r}: it must be a text: what the image should not show.")
        self.text_encoder, self.tokenizer, self.negative = text_encoder, tokenizer, negative

    @classmethod
    def accepts(cls, ref: str) -> bool:
        """Accept directories with a UVit and a text encoder, and hub ids of aMUSEd's organisation."""
        index = index_of(ref)
        if index is None:
            return ref.startswith("amused/")
        return index.get("transformer") == ["diffusers", "UVit2DModel"] and "text_encoder" in index

    @classmethod
    def read(cls, folder: Path, device: str, dtype: torch.dtype) -> dict[str, Any]:
        encoder = load_part(folder, "text_encoder", "transformers", "CLIPTextModelWithProjection", device, dtype)
        from transformers import AutoTokenizer

        try:
            with quiet():
                tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
        except Exception as error:  # the loaders raise many unrelated types
            raise MdmkitError(f"model {str(folder)!r}: its tokenizer cannot be loaded: {said(error)}") from error
        check_ids(str(folder), tokenizer, encoder.config.vocab_size, "text encoder")
        return {"text_encoder": encoder, "tokenizer": tokenizer}

    def tensors(self) -> dict[str, Tensor]:
        return super().tensors() | named("text_encoder", self.text_encoder)

    @torch.inference_mode()
    def tell(self, prompts: Sequence[Prompt | None]) -> tuple[Tensor, Tensor]:
        """The encoder's last but one hidden states, and its projection. A text beyond its window is cut, and noted."""
        texts = [self.negative if prompt is None else prompt.text or "" for prompt in prompts]
        length = min(self.tokenizer.model_max_length, self.text_encoder.config.max_position_embeddings)
        named = {f"prompt {prompt.index}": prompt.text or "" for prompt in prompts if prompt is not None}
        for name, text in {**named, "the model option negative": self.negative}.items():
            self._note_cut(name, text, length)
        ids = self.tokenizer(
            texts, return_tensors="pt", padding="max_length", truncation=True, max_length=length
        ).input_ids
        out = self.text_encoder(ids.to(self.device), return_dict=True, output_hidden_states=True)
        return out.hidden_states[-2], out.text_embeds

    def _note_cut(self, name: str, text: str, length: int) -> None:
        """Warn if a text has more tokens than the encoder reads."""
        tokens = self.tokenizer(text, verbose=False).input_ids
        if len(tokens) <= length:
            return
        end = self.tokenizer.decode(tokens[length - 1 :], skip_special_tokens=True).strip()
        shown = end if len(end) <= SHOWN else f"{end[:SHOWN]}…"
        warnings.warn(
            f"{name} has {len(tokens)} tokens, and the text encoder reads {length}. Its end has no effect: {shown!r}.",
            MdmkitWarning,
            stacklevel=2,
        )

    def save(self, folder: Path | str) -> None:
        """Write the model's four parts as diffusers does, each in its folder."""
        super().save(folder)
        self.text_encoder.save_pretrained(Path(folder) / "text_encoder")
        self.tokenizer.save_pretrained(Path(folder) / "tokenizer")
