"""The belief: the model's logits over some positions, and statistics that are computed once and shared."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from mdmkit import ops


class Belief:
    """A model's logits over some positions, and the statistics that stages read.

    Args:
        logits: [..., V], after the logit policy; a forbidden id is −inf.
    """

    def __init__(self, logits: Tensor):
        self.logits = logits

    @cached_property
    def stats(self) -> ops.Stats:
        return ops.stats(self.logits)

    @property
    def argmax(self) -> Tensor:
        """int64 [...]: the most probable token."""
        return self.stats.argmax

    @property
    def entropy(self) -> Tensor:
        """fp32 [...], nats."""
        return self.stats.entropy

    @cached_property
    def top2(self) -> Tensor:
        """fp32 [..., 2]: probabilities of the best and the second-best token."""
        second = ops.runner_up(self.logits).to(self.stats.top.dtype)
        return torch.stack((self.stats.top, second), -1).sub(self.stats.lse[..., None]).exp()

    @cached_property
    def confidence(self) -> Tensor:
        """fp32 [...]: probability of the most probable token."""
        return (self.stats.top - self.stats.lse).exp()

    @cached_property
    def logp(self) -> Tensor:
        """fp32 [..., V]. As large as the logits: use `logp_of` if you need only a few tokens."""
        return self.logits.to(self.stats.lse.dtype) - self.stats.lse[..., None]

    def logp_of(self, tokens: Tensor) -> Tensor:
        """Log-probability of given tokens: int64 [..., n] -> fp32 [..., n]."""
        return self.logits.gather(-1, tokens).to(self.stats.lse.dtype) - self.stats.lse[..., None]
