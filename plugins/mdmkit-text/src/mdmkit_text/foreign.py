"""A model with code of its own, with the interface of transformers' classes: keywords in, `.logits` out."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from mdmkit import MdmkitError

if TYPE_CHECKING:
    from collections.abc import Callable

# The ways to pass a padding mask, in the order in which they are tried: [M, L] of 0 and 1; bool [M, 1, L, L], which
# position attends to which (Dream's own code needs this one); not at all.
FLAT, PAIRS, NONE = "flat", "pairs", "none"


class Foreign(nn.Module):
    """Any callable that maps ids int64 [M, L] to logits [M, L, V], or to an object, dict or tuple with them.

    Args:
        model: the callable; ids are its first argument.
        padding: how it gets the padding mask: one of `ways(model)`.

    Raises:
        MdmkitError: it cannot run on ids only, or returns no logits.
    """

    # As for a class of transformers that names no trunk.
    base_model_prefix: ClassVar[str] = ""

    def __init__(self, model: Callable[..., Any], padding: str):
        super().__init__()
        self.inner, self.padding = model, padding
        self._positions = "position_ids" in _parameters(model)
        self.device = next((p.device for p in self.parameters()), torch.device("cpu"))
        self.config = SimpleNamespace(**config_of(model))
        if not isinstance(getattr(self.config, "vocab_size", None), int):
            self.config.vocab_size = self._vocabulary()
        self.eval()

    @property
    def base_model(self) -> Foreign:
        return self

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None
    ) -> SimpleNamespace:
        """Compute `.logits` [M, L, V]; mask and positions are passed as the model accepts them, or not at all."""
        given: dict[str, Tensor] = {}
        if attention_mask is not None and self.padding == FLAT:
            given["attention_mask"] = attention_mask
        elif attention_mask is not None and self.padding == PAIRS:
            valid = attention_mask.bool()
            # Padding attends to itself, because a softmax over nothing is NaN.
            itself = torch.eye(valid.shape[1], dtype=torch.bool, device=valid.device)
            given["attention_mask"] = (valid[:, None, :] | itself)[:, None]
        if position_ids is not None and self._positions:
            given["position_ids"] = position_ids
        return SimpleNamespace(logits=_logits(self.inner(input_ids, **given), self.inner, input_ids))

    def to(self, *args: Any, **kwargs: Any) -> Foreign:
        super().to(*args, **kwargs)
        self.device = next((p.device for p in self.parameters()), self.device)
        return self

    @torch.inference_mode()
    def _vocabulary(self) -> int:
        row = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        try:
            return self(row, torch.ones_like(row)).logits.shape[-1]
        except MdmkitError:
            raise
        except Exception as error:  # the model's own code may raise anything
            reason = " ".join(str(error).split()) or type(error).__name__
            raise MdmkitError(f"{name_of(self.inner)} does not run on token ids alone: {reason}") from error


def ways(model: Any) -> tuple[str, ...]:
    """List the ways in which a model may accept a padding mask, by the signature of its call."""
    return (FLAT, PAIRS, NONE) if "attention_mask" in _parameters(model) else (NONE,)


def name_of(model: Any) -> str:
    return model.__qualname__ if inspect.isroutine(model) else type(model).__name__


def _parameters(model: Any) -> set[str]:
    try:
        return {*inspect.signature(model.forward if isinstance(model, nn.Module) else model).parameters}
    except (TypeError, ValueError):  # a builtin
        return set()


def config_of(model: Any) -> dict[str, Any]:
    """The fields of a model's config, as in config.json; empty if it has no config."""
    config: Any = getattr(model, "config", None)
    if hasattr(config, "to_dict"):
        return config.to_dict()
    return dict(config) if isinstance(config, dict) else dict(getattr(config, "__dict__", {}))


def _logits(returned: Any, model: Any, ids: Tensor) -> Tensor:
    found = returned
    if not isinstance(found, Tensor):
        found = getattr(returned, "logits", None)
    if found is None and isinstance(returned, dict):
        found = returned.get("logits")
    if found is None and isinstance(returned, tuple | list) and returned:
        found = returned[0]
    if not isinstance(found, Tensor) or found.shape[:-1] != ids.shape or not found.is_floating_point():
        got = f"a tensor {list(found.shape)}" if isinstance(found, Tensor) else f"a {type(returned).__name__}"
        raise MdmkitError(
            f"{name_of(model)} must return logits [rows, length, vocabulary] for ids [rows, length], or an object with "
            f".logits; for ids {list(ids.shape)} it returned {got}."
        )
    return found
