"""The logit policy: changes that are made to all logits, of current and next states, before a stage reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mdmkit.errors import MdmkitError

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.model.backbone import Backbone
    from mdmkit.settings.draw import Draw
    from mdmkit.stage.look import States


class Policy:
    """Penalties, and tokens that are never chosen: suppressed ids, ids that the model forbids, the mask.

    Raises:
        MdmkitError: a key names an id that the model does not have, or no token could be chosen.
    """

    def __init__(self, backbone: Backbone, draws: Draw):
        penalty = dict(draws.penalty or {})
        for key, ids in (("suppress", draws.suppress), ("penalty", penalty)):
            if strange := [i for i in ids if not 0 <= i < backbone.vocab]:
                raise MdmkitError(
                    f"draw.{key} names token id {strange[0]}, and the model's ids go from 0 to {backbone.vocab - 1}."
                )
        for token in backbone.endings if draws.end_penalty else ():
            penalty[token] = penalty.get(token, 0.0) + draws.end_penalty
        mask = () if backbone.mask_id is None else (backbone.mask_id,)
        never = sorted({*mask, *backbone.forbidden, *draws.suppress})
        if len(never) == backbone.vocab:
            raise MdmkitError("draw.suppress leaves no token that could be chosen. Take some ids off it.")
        bias = torch.zeros(backbone.vocab, device=backbone.device)
        for token, amount in penalty.items():
            bias[token] -= amount
        bias[never] = -torch.inf
        self.bias, self.never, self.repetition = bias, bias == -torch.inf, draws.repetition_penalty

    def held(self, tokens: Tensor, canvas: Canvas, states: States) -> Tensor | None:
        """bool [M, V]: the tokens that each state int64 [M, T] holds; None without a repetition penalty."""
        if self.repetition == 1.0:
            return None
        counts = torch.zeros(len(tokens), len(self.bias), dtype=torch.int32, device=tokens.device)
        counts.scatter_add_(1, tokens, (canvas.valid[states.rows] & ~states.open).int())
        return counts > 0

    def __call__(self, logits: Tensor, held: Tensor | None) -> Tensor:
        """Change logits [..., V] in place; `held` bool is broadcast to their shape."""
        if held is not None:
            lower = torch.where(logits > 0, logits / self.repetition, logits * self.repetition)
            logits = torch.where(held, lower, logits)
        return logits.add_(self.bias.to(logits.dtype))
