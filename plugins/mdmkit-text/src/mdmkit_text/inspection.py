"""What mdmkit reads in a checkpoint's config.json, what it may ignore, and what it does not know; odd weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mdmkit import Finding
from mdmkit_text.families.family import SHARED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mdmkit_text.families.family import Family

# Fields that matter for training, or for code of the checkpoint, and never for the logits of a decode.
HARMLESS = frozenset(
    {
        *("transformers_version", "auto_map", "attn_implementation", "_name_or_path", "_from_model_config"),
        *("use_cache", "use_return_dict", "return_dict", "output_attentions", "output_hidden_states"),
        *("initializer_range", "init_device", "init_fn", "init_std", "init_cutoff_factor", "precision"),
        *("attention_dropout", "embedding_dropout", "residual_dropout", "output_dropout", "hidden_dropout_prob"),
        *("attention_probs_dropout_prob", "pretraining_tp", "gradient_checkpointing"),
        *("router_aux_loss_coef", "output_router_logits", "router_dtype", "fuse_cross_entropy", "flash_attention"),
        *("train_max_sequence_length", "debug", "ep_size", "micro_forward", "skip_checkpoint", "use_deepep"),
    }
)
# Without effect in a family that covers only one value of the setting to which they belong.
SWITCHED_OFF = frozenset(
    {
        *("sliding_window", "max_window_layers", "alibi_bias_max", "attention_layer_norm_with_affine"),
        *("dense_intermediate_size", "rope_full_precision"),
    }
)


def inspect_config(config: dict[str, Any], family: Family, settings: Any, ends: Iterable[int] = ()) -> list[Finding]:
    """Sort the fields of a config: honoured, covered, harmless and unknown. End tokens that do not exist are a note.

    Args:
        config: as `read_config` returns it.
        family: the checkpoint's family.
        settings: transformers' config object, which knows the fields that its class reads.
        ends: the end tokens that config.json and generation_config.json name.
    """
    covered = {name for name in family.covered(config) if name in config}
    read, idle = family.honoured, HARMLESS | SWITCHED_OFF
    if read is None:
        read, idle = frozenset(_read_by_class(settings)), HARMLESS
    harmless = idle.intersection(config) - covered
    honoured = read.intersection(config) - covered - harmless
    unknown = {*config} - covered - honoured - harmless
    lines = [
        Finding("config: honoured", "ok", _names(honoured)),
        Finding("config: covered", "ok", _names(covered)),
        Finding("config: without effect", "ok", _names(harmless)),
    ]
    if unknown:
        lines.append(Finding("config: unknown", "note", f"nothing here reads {_names(unknown)}"))
    if outside := sorted(end for end in ends if not 0 <= end < settings.vocab_size):
        what = f"eos_token_id {', '.join(map(str, outside))}: outside the vocabulary of {settings.vocab_size} ids"
        lines.append(Finding("config: ends", "note", f"{what}, so it never ends an answer"))
    return [line for line in lines if line.detail]


def inspect_numbers(model: Any) -> Finding:
    """Look for weights that are not numbers: an attention kernel may pass over them, so logits need not show them."""
    odd, unread = [], 0
    # Also what is stored beside the parameters, such as the bias of a router.
    for name, weight in model.state_dict().items():
        if weight.is_floating_point() and weight.numel():
            if weight.is_meta:
                unread += 1
                continue
            least, most = weight.detach().aminmax()
            if not bool(least.isfinite() & most.isfinite()):
                odd.append(name)
    if not odd:
        beside = f"; {unread} that are not in memory were not read" if unread else ""
        return Finding("numbers", "ok", f"every weight is a finite number{beside}")
    more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
    return Finding("numbers", "FAIL", f"weights that are infinite or no numbers (NaN): {', '.join(odd[:3])}{more}")


def _read_by_class(settings: Any) -> set[str]:
    """The fields of a config class: those that it has without any config.json."""
    # transformers reads the old spelling of rope settings too, and keeps only the new one.
    return {*SHARED, "is_causal", "block_size", "rope_scaling", "partial_rotary_factor", *type(settings)().to_dict()}


def _names(fields: Iterable[str]) -> str:
    return ", ".join(sorted(fields))
