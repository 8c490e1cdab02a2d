"""AdaBlock: blocks that end where the model expects a line, or a sentence, to end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mdmkit import Actions, MdmkitError, ops
from mdmkit_heuristics.block import written_as
from mdmkit_heuristics.shares import check_shares

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Backbone, Step


@dataclass(frozen=True)
class AdaBlock:
    """Fill every position of a block at or above `threshold`, always the best; a block ends at a delimiter (AdaBlock).

    arXiv:2509.26432, as in its code. These blocks lie within the plan's, so leave plan.block null. A block begins at
    the leftmost open position, and its end is chosen in its first step, from the belief of this step:

    1. The window is the first ⌊window · L⌋ positions from the block's begin; L is the number of positions of the row
       that are to be filled, filled ones included. It ends where the row ends, and may hold no position.
    2. A candidate is an open position of the window whose token, as it would be written, is a delimiter.
    3. Of the candidates the most probable one counts; the first, if several are equal. If its probability is at least
       `sure`, the block ends behind it. So it may be shorter or longer than `size`.
    4. Otherwise the block has `size` positions, or fewer at the row's end.

    This end stays until the block is full. The first step already fills positions of the block, so a block costs no
    forward of its own. The scores decide which position is the best. The plan's steps are not read.

    Args:
        delimiters: ids of the tokens that end a line or a sentence. 198 is the line break in the tokenizers of LLaDA,
            Dream and Qwen.
        sure: probability that a delimiter needs to end a block. Its authors take 0.3 for LLaDA, 0.5 for Dream.
        size: positions of a block without such a delimiter.
        window: share of L, from 0 to 1.
        threshold: probability.
    """

    delimiters: tuple[int, ...] = (198,)
    sure: float = 0.3
    size: int = 32
    window: float = 0.25
    threshold: float = 0.9

    def __post_init__(self) -> None:
        if not self.delimiters or min(self.delimiters) < 0:
            raise MdmkitError(
                f"select adablock: delimiters={list(self.delimiters)}: they are token ids, at least one. For blocks of "
                "one length, use select threshold and plan.block."
            )
        check_shares("select adablock", self, "sure", "window", "threshold")
        if self.size < 1:
            raise MdmkitError(f"select adablock: size={self.size}: a block has at least 1 position.")

    def fits(self, backbone: Backbone) -> None:
        """Refuse ids that the model does not have."""
        if max(self.delimiters) < backbone.vocab:
            return
        breaks = [token for token in range(backbone.vocab) if backbone.render(token).endswith("\n")]
        some = ",".join(map(str, breaks[:8]))
        advice = f"those that end with a line break are {some}" if breaks else "none ends with a line break"
        raise MdmkitError(
            f"select adablock: delimiters={list(self.delimiters)}: this model has the tokens 0 to "
            f"{backbone.vocab - 1}; {advice}. Say which of its tokens end a line or a sentence: "
            f"--set select.delimiters=[{some or 'ID'}]."
        )

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        stop = self._stop(step)
        inside = step.open & (step.position < stop[:, None])
        best = ops.top(scores, inside, step.quota.clamp_max(1))
        return Actions.single(best | (inside & (step.confidence >= self.threshold)), step.tokens)

    def _stop(self, step: Step) -> Tensor:
        """int64 [B]: the position behind each row's block."""
        # 0: there is no block yet.
        stop = step.recall("adablock.stop", until="block")
        begins = step.open.any(1) & ~(step.open & (step.position < stop[:, None])).any(1)
        stop = torch.where(begins, self._chosen(step), stop)
        step.keep("adablock.stop", stop)
        return stop

    def _chosen(self, step: Step) -> Tensor:
        """int64 [B]: the position behind the block that begins now."""
        begin = step.position.gather(1, step.open.long().argmax(1, keepdim=True))
        whole = step.canvas.editable.sum(1, keepdim=True)
        # Rounded down, but 0.29 · 100 is 29.
        reach = torch.floor(whole.double() * self.window + 1e-9).long()
        among = step.open & (step.position < begin + reach) & written_as(step, self.delimiters)
        value = step.confidence.masked_fill(~among, -math.inf)
        at = value.argmax(1, keepdim=True)  # the first of equal ones
        found = value.gather(1, at) >= self.sure
        return torch.where(found, step.position.gather(1, at) + 1, begin + self.size)[:, 0]
