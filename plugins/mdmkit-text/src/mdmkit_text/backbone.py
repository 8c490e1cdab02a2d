"""The backbone `text`: fill masks with transformers' own model classes."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from mdmkit import (
    LONGEST_ROW,
    Backbone,
    Canvas,
    Finding,
    MdmkitError,
    MdmkitWarning,
    Output,
    Prompt,
    Store,
    lay_out,
    unknown,
)
from mdmkit_text import compiling, peers, reference, tensor_parallel, wrapped
from mdmkit_text.about import about
from mdmkit_text.ahead import reading_ahead
from mdmkit_text.alternatives import install
from mdmkit_text.attended import Attended
from mdmkit_text.building import prepare
from mdmkit_text.config import end_ids, listed, read_config
from mdmkit_text.encoder import Encoder
from mdmkit_text.ends import check_ends, read_ends
from mdmkit_text.families import family_of, split_family
from mdmkit_text.families.family import BLOCK_CACHES
from mdmkit_text.families.plain import Plain
from mdmkit_text.foreign import config_of, name_of
from mdmkit_text.graphs import CudaRecorder, Graphs
from mdmkit_text.headers import read_shapes
from mdmkit_text.inspection import inspect_config, inspect_numbers
from mdmkit_text.manifest import Manifest, read_manifest
from mdmkit_text.network import Network
from mdmkit_text.placement import placement
from mdmkit_text.quiet import quiet
from mdmkit_text.texts import texts_of
from mdmkit_text.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mdmkit import Plan, Shadow, View
    from mdmkit_text.families.family import Family

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_OPTIONS = ("mask_id", "ends", "block_length", "revision", "device_map", "quantization", "compile", "graphs", "tp")
# A model that is divided over processes is neither spread in another way, nor compiled or recorded.
_WHOLE = ("device_map", "quantization", "compile", "graphs")


class TextBackbone(Backbone):
    """A masked language model, or a decoder without the causal mask, from a directory or a hub id.

    Weights are safetensors only, and code that comes with a checkpoint is never run. Texts go through the checkpoint's
    tokenizer: a text that holds its mask token is an infill. A directory may also hold `mdmkit.json`, see
    `mdmkit_text.manifest`.
    """

    mask_id: int
    asks_plain = True
    _of_config: Sequence[Finding] = ()
    _tensors: int = 0

    def __init__(
        self,
        model: Any,
        tokens: Tokens,
        family: Family,
        mask_id: int,
        manifest: Manifest | None = None,
        block: int | None = None,
        ref: str = "",
    ):
        manifest = manifest or Manifest()
        self.encoder = Encoder(tokens, mask_id, ref)
        self.tokens, self.family, self.mask_id = tokens, family, mask_id
        self.block, self.lead = block, family.lead
        self.attention = "full" if block is None else "block"
        self.length, self.samples = manifest.length, manifest.samples
        pad_id = tokens.special.get("pad")
        # A model may count its masks by id (ESM does), so padding must have another id.
        self.pad_id = pad_id if pad_id is not None and pad_id != mask_id else int(mask_id == 0)
        self.network = Network(model, self._trial_ids(model.config.vocab_size), self.pad_id, block)
        self.pads = self.network.padded
        offered = family.caches if block is None else BLOCK_CACHES
        self.caches = offered if self.network.freezes else frozenset({"none"})
        self.cache = "block" if "block" in self.caches else "none"
        # In a shifted model a shadow column would predict the position to its right.
        self.shadows = self.network.freezes and not self.lead
        self.vocab, self.device = self.network.vocab, model.device
        self.weights = sum(p.numel() for p in model.parameters())
        for name, token in (("mask_id", mask_id), *(("mdmkit.json: forbidden id", i) for i in manifest.forbidden)):
            if not 0 <= token < self.vocab:
                raise MdmkitError(
                    f"{name} {token} is outside the model's vocabulary of {self.vocab} ids (0 to {self.vocab - 1})."
                )
        self.forbidden = sorted({*self._never(self.vocab), *manifest.forbidden})
        ends = self.tokens.ends if tokens.writes_end else ()
        first = tokens.special.get("eos")  # the model's own end comes before further ones
        self.ends = sorted(
            (end for end in ends if 0 <= end < self.vocab and end not in self.forbidden),
            key=lambda end: (end != first, end),
        )
        pads = [] if pad_id is None or pad_id in self.forbidden else [pad_id]
        self.endings = sorted({*self.ends, *pads})

    @property
    def offers(self) -> dict[str, Literal["row", "column", "key"]]:  # type: ignore[override]
        whole = self.network.attends and self.network.peers is None  # each process has some of the heads
        return {"attention": "key"} if whole else {}

    @property
    def packs(self) -> bool:  # type: ignore[override]
        return self.network.packs

    def _never(self, vocab: int) -> set[int]:
        return {*self.tokens.never(vocab), self.mask_id}

    def _trial_ids(self, vocab: int) -> list[int]:
        """A few ordinary ids to try the model with."""
        never = self._never(vocab)
        return [i for i in range(vocab) if i not in never][:16] or [0]

    @classmethod
    def accepts(cls, ref: str) -> bool:
        forced, rest = split_family(ref)
        return forced is not None or reference.accepts(rest)

    @classmethod
    def load(cls, ref: str, *, device: str = "cpu", dtype: str = "auto", **options: Any) -> TextBackbone:
        """Load a model directory or hub id.

        Args:
            ref: a directory with config.json, or `organisation/name`, which is downloaded once; `family:` before either
                sets the family (`llada:./checkpoint`), whatever config.json names.
            device: a torch device.
            dtype: `"auto"` is that of the checkpoint on a GPU, float32 on the CPU.
            options: `mask_id`, if the checkpoint does not name it; `ends`, ids that end an answer, instead of those
                that the checkpoint names; `block_length`, another length of the attention's blocks; `revision` of a hub
                model; `device_map`, to spread the model over devices; `quantization` of its weights (see
                `mdmkit_text.placement`); `compile`: True compiles the model's layers (see `mdmkit_text.compiling`);
                `graphs`: True runs a model on a GPU by CUDA graphs (see `mdmkit_text.graphs`); `tp`: the number of
                processes, started by torchrun, that share the model (see `mdmkit_text.tensor_parallel`). Only the first
                of them returns; the others compute with it, and end with it.

        Raises:
            MdmkitError: the reference, the checkpoint or an option is wrong.
        """
        for name in options:
            if name not in _OPTIONS:
                raise MdmkitError(unknown("model option", name, _OPTIONS))
        target = torch.device(device)
        precision = _dtype(dtype, target)
        compiles = compiling.check(options.get("compile"), (options.get("device_map"), options.get("quantization")))
        graphs = _graphs(options.get("graphs"), target, options.get("device_map"))
        count = tensor_parallel.processes(options.get("tp"), target, {name: options.get(name) for name in _WHOLE})
        if count > 1:
            target = tensor_parallel.join(target)
        forced, ref = split_family(ref)
        folder = reference.locate(ref, options.get("revision"))
        with reading_ahead(folder):
            loaded = cls._read(folder, ref, forced, target, precision, options)
        if graphs and not loaded.network.maskless:
            raise MdmkitError(
                f"graphs=true, and {name_of(loaded.network.model)} needs its attention mask in every forward. Only "
                "models whose columns can be frozen run by graphs: leave it out."
            )
        if compiles:
            compiling.compile_layers(loaded.network, loaded._trial_ids(loaded.vocab))
        loaded.network.graphs = Graphs(CudaRecorder(loaded.device)) if graphs else None
        if count > 1:
            peers.lead_or_follow(loaded.network, loaded.device)
        return loaded

    @classmethod
    def _read(
        cls,
        folder: Path,
        ref: str,
        forced: type[Family] | None,
        target: torch.device,
        precision: Any,
        options: dict[str, Any],
    ) -> TextBackbone:
        """Load the model in a directory; the arguments are those of `load`, after they are read."""
        manifest = read_manifest(folder)
        spread, count = (options.get("device_map"), options.get("quantization")), options.get("tp") or 1
        plain = manifest.plain and forced is None and spread == (None, None)
        placed = {} if plain or count > 1 else placement(target, precision, *spread)
        with about(f"model {ref!r}"):
            config = read_config(folder)
            family = family_of(config, Plain if plain else forced)
            shapes = read_shapes(folder)
            settings, load = prepare(folder, config, family, shapes)
            if count > 1:
                tensor_parallel.check_divisible(count, family, settings)
                placed = tensor_parallel.keywords(count, settings, family)
            block = _block_length(options.get("block_length"), family, config, settings, ref)
            ends = end_ids(folder, config)
        tokens = Tokens.read(folder, settings, family, ends)
        tokens.replace_ends(read_ends(options.get("ends")), f"model {ref!r}", family)
        written = config.get("mask_token_id")
        mask_id = _mask_id(ref, options.get("mask_id"), tokens, family, settings.vocab_size, written)
        check_ends(read_ends(options.get("ends")) or (), mask_id, settings.vocab_size)
        model = load(precision, placed)
        with quiet():
            model = model if "device_map" in placed or count > 1 else model.to(target)
            if family.caches != {"none"} and not isinstance(family, Plain):
                install(model)
            loaded = cls(model, tokens, family, mask_id, manifest, block, ref)
        loaded.loaded_from = reference.files_of(folder)
        loaded._of_config, loaded._tensors = inspect_config(config, family, settings, ends), len(shapes)
        return loaded

    @classmethod
    def wraps(cls, model: Any) -> bool:
        """Return True if an object may map ids to logits: anything callable that is not a class."""
        return callable(model) and not isinstance(model, type)

    @classmethod
    def wrap(cls, model: Any, tokenizer: Any = None, **options: Any) -> TextBackbone:
        """Make a backbone from a loaded model. It shares the weights and runs the model's own code.

        Args:
            model: a model of one of transformers' classes, or any callable with ids int64 [M, L] as its first argument
                that returns logits [M, L, V], alone or as `.logits`. `attention_mask` and `position_ids` are passed on
                if its signature names them.
            tokenizer: a transformers tokenizer; None: ids only.
            options: `mask_id`, if neither tokenizer nor config names it; `shift`: True if logits predict the position
                to the right, as in Dream; `ends`: ids that end an answer, instead of the tokenizer's; `family`: the
                name of the model's family, if the config's model_type does not name it; `block_length`: as for `load`.

        Raises:
            MdmkitError: an unknown option, no mask id, a model in training mode, or one that cannot fill masks.
        """
        given = wrapped.read_options(options)
        if getattr(model, "training", False):
            raise MdmkitError(
                f"{name_of(model)} is in training mode, in which its logits may differ each time: call its eval()."
            )
        family = wrapped.family_for(model, given["family"], given["shift"])
        tokens = wrapped.tokens_for(model, tokenizer, family, given["ends"])
        native, config = wrapped.is_native(model), config_of(model)
        with about(name_of(model)):
            block = _block_length(given["block_length"], family, config, getattr(model, "config", None))
        if block is not None and not native:
            raise MdmkitError(
                f"{name_of(model)} is of family {family.name}, whose attention ends with the block, and mdmkit does "
                "not know how to set blocks in its own code: load the checkpoint with mdmkit.load, in a class of "
                "transformers."
            )

        def make(network: Any) -> TextBackbone:
            vocab = network.config.vocab_size
            mask_id = _mask_id(name_of(model), given["mask_id"], tokens, family, vocab)
            check_ends(given["ends"] or (), mask_id, vocab)
            return cls(network, tokens, family, mask_id, block=block)

        with quiet():
            return make(model) if native else wrapped.first_that_pads(model, make)

    def to(self, device: str | torch.device) -> TextBackbone:
        """Move the model's weights; returns self."""
        if self.network.peers is not None:
            raise MdmkitError(f"{name_of(self.network.model)} is divided over processes, and each stays on its device.")
        self.network.to(device, self._trial_ids(self.vocab))
        self.device = self.network.model.device
        if self.network.graphs is not None:
            graphs = self.device.type == "cuda"
            self.network.graphs = Graphs(CudaRecorder(self.device)) if graphs else None
        return self

    def encode(self, prompts: Sequence[Prompt], plan: Plan) -> tuple[Canvas, None]:
        pieces = [self.encoder.encode(prompt) for prompt in prompts]
        canvas = lay_out(
            # The encoder has found the masks of a text. In ids, the mask's id is a mask.
            [prompt.read() if prompt.ids is not None else replace(prompt.read(), infill=False) for prompt in prompts],
            [before for before, _ in pieces],
            [after for _, after in pieces],
            mask_id=self.mask_id,
            pad_id=self.pad_id,
            vocab=self.vocab,
            plan_length=plan.length,
            default_length=self.length,
            max_length=self.network.max_length,
            block=self.block,
        )
        return canvas, None

    def forward(
        self,
        tokens: Tensor,
        valid: Tensor,
        conditioning: Any,
        *,
        positions: Tensor,
        cache: View | None = None,
        **more: Any,
    ) -> Output:
        shadow: Shadow | None = more.get("shadow")
        asked = "attention" in more.get("extras", ())
        attended = Attended(self.network.model.config.num_hidden_layers) if asked else None
        hidden = self.network.forward(tokens, valid, positions, cache, shadow, more.get("plain"), attended)
        length, extra = tokens.shape[1], {}
        if shadow is not None:
            extra["shadow"] = hidden[:, length:]
        if attended is not None:
            keys = attended.weights.shape[2] - (0 if shadow is None else shadow.tokens.shape[1])
            extra["attention"] = self.family.align(attended.weights[:, :length, :keys], positions)
        return Output(self.family.align(hidden[:, :length], positions), extra or None)

    def project(self, hidden: Tensor) -> Tensor:
        return self.network.project(hidden)

    def decode(self, canvas: Canvas) -> list[str]:
        """The text of each row's generated tokens, up to its end token; for an infill, the text of the whole row."""
        texts = []
        shown = canvas.shown
        rows = zip(canvas.tokens.tolist(), shown.tolist(), canvas.infill.tolist(), strict=True)
        for row, keep, infill in rows:
            ids = [token for token, kept in zip(row, keep, strict=True) if kept]
            if not infill and self.tokens.writes_end:
                ends = [i for i, token in enumerate(ids) if token in self.tokens.ends]
                ids = ids[: ends[0]] if ends else ids
            texts.append(self.tokens.decode(ids))
        return texts

    @property
    def drops_space(self) -> bool:  # type: ignore[override]
        return self._texts[1]

    def texts(self) -> Sequence[bytes | None]:
        return self._texts[0]

    @cached_property
    def _texts(self) -> tuple[list[bytes | None], bool]:
        return texts_of(self.tokens.tokenizer, self.vocab)

    def render(self, token: int) -> str:
        return self.tokens.render(token)

    def new_store(self) -> Store:
        peers = self.network.peers
        return Store(columns=2) if peers is None else peers.new_store()

    def release(self) -> None:
        if self.network.graphs is not None:
            self.network.graphs.release()

    def inspect(self) -> Sequence[Finding]:
        native, block = type(self.network.model).__name__, self.block
        return [
            *self._of_config,
            Finding(
                "weights", "ok", f"{self._tensors} tensors, all named and sized as family {self.family.name} needs"
            ),
            inspect_numbers(self.network.model),
            Finding("tokens", "ok", f"mask {self.mask_id}, ends {self.ends}, {self.vocab} logits"),
            Finding("attention", "ok", f"{native}, {'every position' if block is None else f'blocks of {block}'}"),
        ]


def _dtype(name: str, device: torch.device) -> Any:
    if name == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    if name not in _DTYPES:
        raise MdmkitError(unknown("dtype", name, ("auto", *_DTYPES)))
    return _DTYPES[name]


def _graphs(given: Any, device: torch.device, device_map: Any) -> bool:
    """True if the user asks for CUDA graphs."""
    if given is not None and not isinstance(given, bool):
        raise MdmkitError(f"graphs={given!r}: it must be true or false.")
    if given and (device.type != "cuda" or device_map is not None):
        raise MdmkitError(
            f"graphs=true, and the model is {'spread over devices' if device.type == 'cuda' else f'on {device.type}'}: "
            "CUDA graphs need a whole model on one NVIDIA GPU. Leave graphs out."
        )
    return bool(given)


def _block_length(given: Any, family: Family, config: dict[str, Any], settings: Any, ref: str = "") -> int | None:
    """The length of the attention's blocks: the given one, else that of config.json; no more than a row can have."""
    block = family.block(config, ref) if given is None else _given_block(given, family)
    longest = getattr(settings, "max_position_embeddings", None)
    limit = min(longest, LONGEST_ROW) if isinstance(longest, int) else LONGEST_ROW
    if block is not None and block > limit:
        source = "its config.json" if given is None else "block_length"
        raise MdmkitError(
            f"{source} gives attention by blocks of {block} positions, and a row of this model has at most {limit}. "
            f"Give the length with which it was trained, 1 to {limit}: --model-option block_length=N."
        )
    return block


def _given_block(given: Any, family: Family) -> int:
    if not family.blocks:
        raise MdmkitError(
            f"block_length={given!r}, but in a model of family {family.name} every position attends to "
            "every other. The blocks that are decoded one after the other are plan.block."
        )
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise MdmkitError(f"block_length={given!r}: it must be a whole number of at least 1.")
    return given


def _mask_id(ref: str, given: Any, tokens: Tokens, family: Family, vocab: int, written: Any = None) -> int:
    """The mask's id: the given one, else that of the tokenizer, of config.json (`written`), or of the family."""
    if given is None:
        usual = family.mask_id if family.mask_id is not None and family.mask_id < vocab else None
        given = tokens.special.get("mask", usual)
        first = next(iter(listed(written)), given)
        if first != given:
            warnings.warn(
                f"model {ref!r}: its config.json has mask_token_id={first}, and the mask of its tokenizer is "
                f"{given}. The tokenizer's is used. Set mask_id if the model was trained with another.",
                MdmkitWarning,
                stacklevel=2,
            )
    if given is None:
        raise MdmkitError(
            f"model {ref!r} has no known mask token: neither its tokenizer nor its config.json names one. Give the "
            "token id that it was trained with: --model-option mask_id=N, or mask_id=N in load(…) or wrap(…)."
        )
    try:
        return int(str(given))
    except ValueError as error:
        raise MdmkitError(f"mask_id={given!r} is not a token id: give a whole number.") from error
