"""Log-probabilities of masked tokens, for many maskings of texts of one length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mdmkit.canvas.prompt import Prompt
from mdmkit.settings.plan import Plan

if TYPE_CHECKING:
    from mdmkit.likelihood.divided import Divided
    from mdmkit.likelihood.maskings import Maskings
    from mdmkit.model.backbone import Backbone

# Numbers that the logits of one call of the head may hold.
LOGITS = 1 << 25


@dataclass(frozen=True)
class Part:
    """Some tokens of a text, columns [start, stop), which are masked; what is behind them is not known yet.

    Attributes:
        text: the number of the text.
    """

    text: int
    start: int
    stop: int
    maskings: Maskings


class Forwards:
    """Texts of one length, which share forwards.

    Args:
        batch: states of a forward.
    """

    def __init__(self, backbone: Backbone, texts: Sequence[Divided], batch: int):
        prompts = [Prompt(ids=text.ids, length=0, infill=False) for text in texts]
        self.backbone, self.texts, self.batch = backbone, texts, batch
        self.canvas, self.conditioning = backbone.encode(prompts, Plan())

    @property
    def block(self) -> int | None:
        """The length of the model's blocks; None: it attends to everything."""
        return self.canvas.block

    def sums(self, parts: Sequence[Part]) -> list[Tensor]:
        """The sum of each replicate of each part, float64 [R], nats."""
        rows = [(part, i) for part in parts for i in range(len(part.maskings.hidden))]
        found = []
        for start in range(0, len(rows), self.batch):
            some = rows[start : start + self.batch]
            index = torch.tensor([part.text for part, _ in some])
            hidden = torch.zeros(len(some), self.canvas.tokens.shape[1], dtype=torch.bool)
            weight = torch.zeros(hidden.shape, dtype=torch.float64)
            for row, (part, i) in enumerate(some):
                hidden[row, part.stop : self.texts[part.text].end] = True
                hidden[row, part.start : part.stop] = part.maskings.hidden[i]
                weight[row, part.start : part.stop] = part.maskings.weight[i]
            found.append(self._said(index, hidden, weight))
        said = torch.cat(found).split([len(part.maskings.hidden) for part in parts])
        return [
            one.new_zeros(part.maskings.replicates).index_add(0, part.maskings.replicate, one)
            for part, one in zip(parts, said, strict=True)
        ]

    def _said(self, index: Tensor, hidden: Tensor, weight: Tensor) -> Tensor:
        """The weighted sums of log-probabilities, float64 [M]: texts int64 [M], masked bool and weights [M, T]."""
        backbone, device = self.backbone, self.canvas.tokens.device
        index, hidden, weight = index.to(device), hidden.to(device), weight.to(device)
        truth, valid, positions = (
            x[index] for x in (self.canvas.tokens, self.canvas.valid, self.canvas.positions)
        )  # fmt: skip
        tokens = truth.masked_fill(hidden, self.canvas.blank_id)
        more = {"previous": None} if backbone.feeds_back else {}
        condition = backbone.select(self.conditioning, index)
        out = backbone.forward(tokens, valid, condition, positions=positions, **more)
        row, column = weight.nonzero(as_tuple=True)
        total = weight.new_zeros(len(weight))
        for some in torch.arange(len(row), device=device).split(max(1, LOGITS // backbone.vocab)):
            logits = backbone.project(out.hidden[row[some], column[some]]).float()
            if backbone.mask_id is not None:
                logits[..., backbone.mask_id] = -torch.inf
            own = logits.log_softmax(-1).gather(-1, truth[row[some], column[some]][:, None])[:, 0]
            total = total.index_add(0, row[some], own.double() * weight[row[some], column[some]])
        return total.cpu()
