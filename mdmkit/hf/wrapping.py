"""Wrap a model that is already loaded, and call `generate` on it, as with transformers.

model = mdmkit.wrap(model, tokenizer)
ids = model.generate(input_ids, attention_mask=mask, sampler="info_gain", max_new_tokens=64)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mdmkit.config.compose import compose
from mdmkit.config.resolution import DEFAULT_SAMPLER
from mdmkit.decoding.run import Decoded, decode
from mdmkit.errors import MdmkitError
from mdmkit.hf.keywords import drawing, refuse_foreign
from mdmkit.installed.registry import Registry, default
from mdmkit.loop.sampler import Sampler
from mdmkit.model.backbone import Backbone, unwrapped
from mdmkit.model.loading import ask_backbones

if TYPE_CHECKING:
    from mdmkit.loop.observe import Observer


class Wrapped:
    """A backbone with the method `generate` of transformers. All other attributes are those of the backbone.

    Attributes:
        backbone: the backbone itself. `mdmkit.decode` accepts both.
    """

    def __init__(self, backbone: Backbone):
        self.backbone = backbone

    def generate(self, input_ids: Tensor, attention_mask: Tensor | None = None, **options: Any) -> Tensor | Generated:
        """Decode with the conventions of transformers: see `mdmkit.generate`."""
        return generate(self.backbone, input_ids, attention_mask, **options)

    def __getattr__(self, name: str) -> Any:
        if name == "backbone":  # the attribute is missing while a copy is made
            raise AttributeError(name)
        return getattr(self.backbone, name)


def wrap(model: Any, tokenizer: Any = None, *, registry: Registry | None = None, **options: Any) -> Wrapped:
    """Make a backbone from a model that is already loaded, with a `generate` like that of transformers.

    Code that belongs to the model is run: the caller has already run it. Each installed backbone is asked, in order of
    name, if it wraps such an object.

    Args:
        model: an object that an installed backbone wraps: with mdmkit-text a transformers model, or any callable that
            maps ids to logits. A backbone that `mdmkit.load` made needs no wrapping.
        tokenizer: for prompts as text, and for special ids; None: prompts are ids only.
        registry: the registry of backbones; None: the installed ones.
        options: options of the backbone, such as `mask_id`.

    Raises:
        MdmkitError: no installed backbone wraps it, or it cannot fill masks.
    """
    if isinstance(model, str):
        raise MdmkitError(
            f"wrap takes a model that is loaded already; {model!r} is a reference: mdmkit.load({model!r})."
        )
    if isinstance(model, Backbone):
        if options or tokenizer is not None:
            raise MdmkitError(
                f"{type(model).__name__} is a backbone already, with its own tokenizer and options: write "
                "mdmkit.wrap(model) only."
            )
        return Wrapped(model)
    registry = registry or default()
    part, asked = ask_backbones(lambda cls: bool(getattr(cls, "wraps", None)) and cls.wraps(model), registry)
    if part is None:
        raise MdmkitError(f"no backbone wraps a {type(model).__name__}. {asked} mdmkit-text wraps callables.")
    return Wrapped(registry.load(part).wrap(model, tokenizer, **options))


@dataclass(frozen=True)
class Generated:
    """The result of `generate` with `return_dict_in_generate=True`.

    Attributes:
        sequences: int64 [B, L + new]; the prompt, then the generated tokens.
        decoded: the rows with their uncertainty, order, trace and NFE. Their tokens are not cut after the end token.
    """

    sequences: Tensor
    decoded: Decoded


def generate(
    model: Backbone | Wrapped,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    *,
    sampler: str | Sampler | None = None,
    max_new_tokens: int | None = None,
    seed: int | None = None,
    do_sample: bool | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    eos_token_id: int | Sequence[int] | Tensor | None = None,
    pad_token_id: int | None = None,
    return_dict_in_generate: bool = False,
    observers: Iterable[Observer] = (),
    **nodes: Any,
) -> Tensor | Generated:
    """Decode with the conventions of transformers' `generate`.

    Masks in `input_ids` are filled. Rows of a batch do not influence each other.

    Args:
        model: a wrapped or loaded model.
        input_ids: integers [B, L], padded on either side.
        attention_mask: [B, L], 0 on padding; None: every token counts.
        sampler: a preset's name, or a composed sampler; None: info_gain, unless `nodes` name a score or select.
        max_new_tokens: masks to append to each row; 0: none, only masks in the prompt are filled; None: none to a row
            that holds masks, and to any other row as many as the plan or the model says.
        seed: row b is seeded by (seed, b); None: the sampler's seed.
        do_sample: True draws tokens, at temperature 1 if none is given; False takes the most probable.
        temperature: as `draw.temperature`: above 0 tokens are drawn, also without `do_sample`.
        top_p: as `draw.top_p`; 1 keeps all tokens.
        top_k: as `draw.top_k`; 0 keeps all tokens.
        eos_token_id: ids that end an answer; None: the model's own. Tokens after one are replaced by padding.
        pad_token_id: the id that is put there, and before shorter rows.
        return_dict_in_generate: return a `Generated`.
        observers: they watch the decode.
        nodes: as for `compose`: plan, score, select, lookahead, commit, draw, guidance, cache.

    Returns:
        int64 [B, L + new] on the device of `input_ids`; every prompt ends at column L. If nothing is appended, [B, L]
        as given, with its masks filled.

    Raises:
        MdmkitError: the input has other shapes, a keyword has another name here, or the decode fails.
    """
    refuse_foreign(nodes)
    backbone: Backbone = unwrapped(model)
    draw = drawing(do_sample, temperature, top_p, top_k)
    if draw:
        nodes["draw"] = {**_mapping(nodes.get("draw")), **draw}
    composed = _sampler(sampler, nodes)
    if max_new_tokens is not None and (type(max_new_tokens) is not int or max_new_tokens < 0):
        raise MdmkitError(f"max_new_tokens={max_new_tokens!r}: it is how many masks to append, 0 or more.")
    kept = _kept(input_ids, attention_mask)
    asked = {} if max_new_tokens is None else {"length": max_new_tokens}
    prompts = [{"prompt_ids": ids[keep].tolist(), **asked} for ids, keep in zip(input_ids, kept, strict=True)]
    ends = _ends(backbone, eos_token_id)
    pad = backbone.pad_id if pad_token_id is None else pad_token_id
    if not isinstance(pad, int):
        raise MdmkitError(f"pad_token_id={pad!r}: it is one token id.")
    decoded = decode(composed, backbone, prompts, seed=seed, observers=observers)
    wholes = [
        row.tokens if backbone.mask_id in prompt["prompt_ids"] else [*prompt["prompt_ids"], *row.tokens]
        for row, prompt in zip(decoded.rows, prompts, strict=True)
    ]
    sequences = _sequences(input_ids, kept, wholes, max_new_tokens or 0, ends, pad)
    return Generated(sequences, decoded) if return_dict_in_generate else sequences


def _sequences(ids: Tensor, kept: Tensor, wholes: list[list[int]], new: int, ends: set[int], pad: int) -> Tensor:
    """Put whole rows into one tensor: int64 [B, L + new], or wider if the model's own length is larger."""
    given = kept.sum(1).tolist()
    new = max([new, *(len(whole) - size for whole, size in zip(wholes, given, strict=True))])
    if not new:
        filled = ids.long().clone()
        for out, whole, keep in zip(filled, wholes, kept, strict=True):
            out[keep] = out.new_tensor(whole)
        return filled
    laid = ids.new_full((len(ids), ids.shape[1] + new), pad, dtype=torch.int64)
    for out, whole, size in zip(laid, wholes, given, strict=True):
        row, start = [*whole[:size], *_cut(whole[size:], ends, pad)], ids.shape[1] - size
        out[start : start + len(row)] = out.new_tensor(row)
    return laid


def _mapping(draw: Any) -> dict[str, Any]:
    if draw is not None and not isinstance(draw, dict):
        raise MdmkitError(
            "do_sample, temperature, top_p and top_k are keys of draw: if you give them, draw must be a mapping."
        )
    return draw or {}


def _sampler(sampler: str | Sampler | None, nodes: dict[str, Any]) -> Sampler:
    if not isinstance(sampler, Sampler):
        parts = nodes.keys() & {"score", "select"}
        return compose(sampler if sampler is not None or parts else DEFAULT_SAMPLER, **nodes)
    if nodes:
        raise MdmkitError(
            f"the sampler is composed already, and {', '.join(sorted(nodes))} would change it: give a preset's "
            "name, sampler='…', or compose the sampler with them."
        )
    return sampler


def _kept(input_ids: Any, attention_mask: Any) -> Tensor:
    """bool [B, L]: the columns that are not padding; one run of columns in every row."""
    if not isinstance(input_ids, Tensor) or input_ids.dim() != 2 or input_ids.is_floating_point():
        what = f"a tensor {list(input_ids.shape)}" if isinstance(input_ids, Tensor) else f"a {type(input_ids).__name__}"
        raise MdmkitError(
            f"input_ids must be a tensor of integers [batch, length], not {what}; for texts and lists of ids there is "
            "mdmkit.decode(sampler, model, prompts)."
        )
    if attention_mask is None:
        return torch.ones_like(input_ids, dtype=torch.bool)
    if not isinstance(attention_mask, Tensor) or attention_mask.shape != input_ids.shape:
        shape = list(attention_mask.shape) if isinstance(attention_mask, Tensor) else type(attention_mask).__name__
        raise MdmkitError(f"attention_mask must have the shape of input_ids, {list(input_ids.shape)}, not {shape}.")
    kept = (attention_mask != 0).to(input_ids.device)
    edges = kept.long().diff(dim=1, prepend=kept.new_zeros(len(kept), 1, dtype=torch.long))
    holes = ((edges == 1).sum(1) > 1).nonzero()[:, 0].tolist()
    if holes:
        raise MdmkitError(
            f"attention_mask has holes in row {holes[0]}: padding may stand before a prompt or after it, not inside."
        )
    return kept


def _ends(backbone: Backbone, given: int | Sequence[int] | Tensor | None) -> set[int]:
    if given is None:
        return {*backbone.ends}
    listed = given.tolist() if isinstance(given, Tensor) else given
    listed = listed if isinstance(listed, Sequence | set) and not isinstance(listed, str) else [listed]
    if not all(type(end) is int for end in listed):
        raise MdmkitError(f"eos_token_id={given!r}: it is a token id or a list of them.")
    ends = {*listed}
    if strange := [end for end in sorted(ends) if not 0 <= end < backbone.vocab]:
        raise MdmkitError(
            f"eos_token_id {strange[0]} is outside the model's vocabulary of {backbone.vocab} ids (0 to "
            f"{backbone.vocab - 1}), so it would end nothing. With eos_token_id=[] no token ends an answer."
        )
    never = sorted(ends & {*backbone.forbidden, backbone.mask_id})
    if never:
        raise MdmkitError(
            f"eos_token_id {never[0]} can never be chosen by this model, so it would end nothing: its ends are "
            f"{', '.join(map(str, sorted(backbone.ends))) or 'none'}; wrap(…, ends=[{never[0]}]) makes it one."
        )
    return ends


def _cut(tokens: list[int], ends: set[int], pad: int) -> list[int]:
    """Replace the tokens after the first end token by padding."""
    stop = next((i + 1 for i, token in enumerate(tokens) if token in ends), len(tokens))
    return [*tokens[:stop], *[pad] * (len(tokens) - stop)]
