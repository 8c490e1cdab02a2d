"""Backbones with LLaDA's trunk that draw: `mmada` and `lumina_dimoo`."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mdmkit import MdmkitError, Output, Prompt, shown, unknown
from mdmkit_image.codec import VQCodec
from mdmkit_image.grid import GridBackbone, grid_of, take, whole
from mdmkit_image.layout import check_ids, dtype_of, fetch, is_hub_id, quiet, said
from mdmkit_image.magvit import Magvit, MagvitCodec
from mdmkit_image.parts import load_part
from mdmkit_image.trunk import Trunk
from mdmkit_image.trunk_config import read_trunk_config

MASK_ID = 126336


class LLaDAImage(GridBackbone):
    """A text model that writes an image's codes after a text; their ids begin at an offset in its vocabulary.

    The canvas holds only the codes, 0 to K − 1, and K is its mask. `forward` puts them into the sequence. Of the head,
    only the rows of the codes are used.

    Args:
        offset: the id of code 0.
        model_mask: the mask's id in the sequence.
    """

    options: tuple[str, ...] = ("width", "height", "vq", "image_offset", "mask_id", "revision")
    side: int
    samples = ("a photo of a red apple on a wooden table",)

    def __init__(
        self,
        trunk: Trunk,
        codec: Any,
        tokenizer: Any,
        offset: int,
        model_mask: int,
        *,
        width: int | None = None,
        height: int | None = None,
    ):
        super().__init__(codec, grid_of(width, height, self.side, codec.factor), codec.codes, codec.codes + 1)
        if offset + codec.codes > trunk.size:
            raise MdmkitError(
                f"codes would have the ids {offset} to {offset + codec.codes - 1}, and the model has {trunk.size} ids. "
                "Name the id of code 0 with --model-option image_offset=N."
            )
        if model_mask >= trunk.size:
            raise MdmkitError(
                f"the mask would have the id {model_mask}, and the model has {trunk.size} ids. Name the mask's id with "
                "--model-option mask_id=N."
            )
        self.trunk, self.tokenizer, self.offset, self.model_mask = trunk, tokenizer, offset, model_mask
        self.device, self.weights = trunk.device, trunk.weights

    @classmethod
    def load(cls, ref: str, *, device: str = "cpu", dtype: str = "auto", **options: Any) -> LLaDAImage:
        """Load a checkpoint in LLaDA's format, a directory or a hub id, with its tokenizer.

        Args:
            ref: the directory or `organisation/name`.
            device: a torch device.
            dtype: of the trunk; `"auto"` is float32 on the CPU, bfloat16 elsewhere.
            options: `width` and `height` in pixels; `vq`, a directory or hub id of the image tokenizer, if it is not
                the usual one; `image_offset`, the id of code 0; `mask_id`; `revision` of a hub model.

        Raises:
            MdmkitError: something is missing, or does not fit.
        """
        for name in options:
            if name not in cls.options:
                raise MdmkitError(unknown("model option", name, cls.options))
        for name, low in {"image_offset": 0, "mask_id": 0, "width": 1, "height": 1}.items():
            if name in options:  # before weights are loaded
                whole(name, options[name], low)
        folder = _folder(ref, options.pop("revision", None))
        if not (folder / "config.json").is_file():
            raise MdmkitError(
                f"model {ref!r}: {folder} holds no config.json, so it is not a checkpoint in LLaDA's format."
            )
        config = read_trunk_config(folder)  # before anything else is loaded
        vq = cls.vq_folder(folder, options.pop("vq", None))
        codec = cls.codec_of(vq, device)
        if config.get("codebook_size") not in (None, codec.codes):
            raise MdmkitError(
                f"{folder}: config.json says codebook_size={shown(config['codebook_size'])}, and the image tokenizer "
                f"in {vq} has {codec.codes} codes: they do not belong to the same model. Name its own one with "
                "--model-option vq=DIRECTORY, or correct config.json."
            )
        from transformers import AutoTokenizer

        try:
            with quiet():
                tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        except Exception as error:  # the loaders raise many unrelated types
            raise MdmkitError(f"model {ref!r}: its tokenizer cannot be loaded: {said(error)}") from error
        trunk = Trunk.load(folder, device, dtype_of(dtype, device))
        check_ids(ref, tokenizer, trunk.size, "text model")
        usual = MASK_ID if config.get("mask_token_id") is None else config["mask_token_id"]
        mask = options.pop("mask_id", usual)
        offset = options.pop("image_offset", cls.first_code(tokenizer))
        backbone = cls(trunk, codec, tokenizer, offset, mask, **options)
        backbone.check_special()
        backbone.loaded_from = tuple(dict.fromkeys((folder, vq)))
        return backbone

    @classmethod
    @abstractmethod
    def vq_folder(cls, folder: Path, vq: str | None) -> Path:
        """The directory of the image tokenizer: that of the option `vq`, or the usual one of a checkpoint."""

    @classmethod
    @abstractmethod
    def codec_of(cls, folder: Path, device: str) -> Any:
        """Load the image tokenizer from its directory."""

    @classmethod
    @abstractmethod
    def first_code(cls, tokenizer: Any) -> int:
        """The id of code 0 if no option sets it."""

    @abstractmethod
    def before(self, text: str | None) -> list[int]:
        """The ids before the image, for a text or for none."""

    @abstractmethod
    def framed(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """The image's part of the sequence, int64 [M, S], from cell ids [M, cells]; and the cells' places in it."""

    def tensors(self) -> dict[str, Tensor]:
        return self.trunk.tensors() | super().tensors()

    def check_special(self) -> None:
        """Look up every special token of a sequence: `special` refuses those that the model does not have."""
        self.before(None)
        self.framed(torch.zeros(1, self.cells, dtype=torch.long))

    def special(self, name: str, usual: int) -> int:
        """The id of a special token; the usual id if the tokenizer does not have this text.

        Raises:
            MdmkitError: the model does not have the usual id.
        """
        known = self.tokenizer.convert_tokens_to_ids(name)
        if known is not None and known != self.tokenizer.unk_token_id:
            return int(known)
        if usual >= self.trunk.size:
            raise MdmkitError(
                f"the tokenizer lacks the special token {name}. Its usual id is {usual}, and the model has only "
                f"{self.trunk.size} ids. Copy the tokenizer's files again from the model that the weights are from."
            )
        return usual

    def condition(self, prompts: Sequence[Prompt]) -> tuple[Tensor, ...]:
        told = [self.before(p.text) if p.ids is None else self.before(None) for p in prompts]
        told += [self.before(None)] * len(prompts)
        width = max((len(ids) for ids in told), default=0)
        ids = torch.tensor([[0] * (width - len(row)) + row for row in told], device=self.device)
        valid = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in told], device=self.device)
        return ids, valid

    def select(self, conditioning: Any, rows: Tensor) -> tuple[Tensor, ...]:
        return take(conditioning, rows)

    def join(self, parts: Sequence[Any]) -> tuple[Tensor, ...]:
        """Join prompts of different lengths, each padded on the left to the longest."""
        width = max(ids.shape[1] for ids, _ in parts)
        wide = [[F.pad(each, (width - each.shape[1], 0)) for each in part] for part in parts]
        return tuple(torch.cat(each) for each in zip(*wide, strict=True))

    def forward(
        self, tokens: Tensor, valid: Tensor, conditioning: Any, *, positions: Tensor, cache: Any = None, **more: Any
    ) -> Output:
        before, told = (each[: len(tokens)] for each in conditioning)
        cells = torch.where(tokens == self.mask_id, self.model_mask, tokens + self.offset)
        image, places = self.framed(cells)
        ids = torch.cat((before, image), 1)
        hidden = self.trunk(ids, torch.cat((told, torch.ones_like(image, dtype=torch.bool)), 1))
        return Output(hidden[:, before.shape[1] + places])

    def project(self, hidden: Tensor) -> Tensor:
        return F.pad(F.linear(hidden, self.trunk.head[self.offset : self.offset + self.codec.codes]), (0, 1))


class Mmada(LLaDAImage):
    """MMaDA (arXiv:2505.15809): `<|t2i|>`, then text and image, each between its own begin and end token."""

    side = 512
    # Ids that its code reserves; the tokenizer has no text for them.
    BEGIN_IMAGE, END_IMAGE, TO_IMAGE = 126084, 126085, 126088

    @classmethod
    def vq_folder(cls, folder: Path, vq: str | None) -> Path:
        return _folder(vq or "showlab/magvitv2", None)

    @classmethod
    def codec_of(cls, folder: Path, device: str) -> MagvitCodec:
        return MagvitCodec(Magvit.load(folder, device))

    @classmethod
    def first_code(cls, tokenizer: Any) -> int:
        return len(tokenizer)

    def before(self, text: str | None) -> list[int]:
        ids = self.tokenizer(text or "", add_special_tokens=False).input_ids
        begin = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        if self.tokenizer.eos_token_id is None:
            raise MdmkitError(
                "the tokenizer names no eos_token, and a text of MMaDA ends with it. Copy tokenizer_config.json again."
            )
        return [self.special("<|t2i|>", self.TO_IMAGE), *begin, *ids, self.tokenizer.eos_token_id]

    def framed(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        begin, end = self.special("<|soi|>", self.BEGIN_IMAGE), self.special("<|eoi|>", self.END_IMAGE)
        return F.pad(F.pad(cells, (1, 0), value=begin), (0, 1), value=end), torch.arange(1, cells.shape[1] + 1)


class LuminaDimoo(LLaDAImage):
    """Lumina-DiMOO (arXiv:2510.06308): two messages, then the answer; each row of the image has an end token."""

    side = 1024
    options = (*LLaDAImage.options, "system")
    SYSTEM = "Generate an image according to the text prompt."
    NEW_LINE, BEGIN_IMAGE, END_IMAGE, BEGIN_ANSWER, END_ANSWER, FIRST_CODE = (
        126084,
        126349,
        126350,
        126354,
        126355,
        126356,
    )

    def __init__(self, *parts: Any, system: str = SYSTEM, **options: Any):
        super().__init__(*parts, **options)
        self.system = system

    @classmethod
    def vq_folder(cls, folder: Path, vq: str | None) -> Path:
        return _folder(vq, None) if vq else folder

    @classmethod
    def codec_of(cls, folder: Path, device: str) -> VQCodec:
        if not (folder / "vqvae").is_dir():
            raise MdmkitError(f"{folder} lacks vqvae/, Lumina-DiMOO's image tokenizer. Name a directory with vq=….")
        return VQCodec(load_part(folder, "vqvae", "diffusers", "VQModel", device))

    @classmethod
    def first_code(cls, tokenizer: Any) -> int:
        return cls.FIRST_CODE

    def before(self, text: str | None) -> list[int]:
        user = "<uncondition>" if text is None else text
        ids = self.tokenizer(f"<system>{self.system}</system><user>{user}</user>").input_ids
        return [*ids, self.special("<answer>", self.BEGIN_ANSWER)]

    def framed(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        rows, columns = self.grid
        lines = F.pad(cells.view(-1, rows, columns), (0, 1), value=self.special("<end-of-line>", self.NEW_LINE))
        begin, end = self.special("<IMAGE>", self.BEGIN_IMAGE), self.special("</IMAGE>", self.END_IMAGE)
        image = F.pad(F.pad(lines.flatten(1), (1, 0), value=begin), (0, 1), value=end)
        image = F.pad(image, (0, 1), value=self.special("</answer>", self.END_ANSWER))
        cell = torch.arange(cells.shape[1])
        return image, 1 + cell + cell // columns


def _folder(ref: str, revision: str | None) -> Path:
    path = Path(os.path.expanduser(ref))
    if path.is_dir():
        return path
    if not is_hub_id(ref):
        raise MdmkitError(f"there is no directory {ref!r}, and it does not have the form of a hub id.")
    return fetch(ref, revision)
