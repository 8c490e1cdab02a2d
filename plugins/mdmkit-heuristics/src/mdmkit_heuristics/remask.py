"""Commits that write the action and mask written tokens again (ReMDM, P2, Saber).

Each ends: after a block's planned steps, or with at least one position more filled per step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from mdmkit import Actions, MdmkitError, Write, ops
from mdmkit_heuristics.block import editable

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Canvas, Step

# ReMDM-loop: the share still masked at which it dwells (arXiv:2503.00307); plan.schedule=dwell stays there.
DWELL = 0.1


def _remasked(step: Step, actions: Actions, choice: Tensor, again: Tensor) -> Canvas:
    """Write the action and mask `again`, bool [B, W], in rows that are being decoded."""
    again = again & step.open.any(-1, keepdim=True)
    return Write()(step, actions, choice).reopened(step.spread(again))


@dataclass(frozen=True)
class ReMDM:
    """Mask each token written before this step again with probability σ (ReMDM, arXiv:2503.00307).

    With a share α of the block filled now and α′ planned after this step, σ can be at most σ_max = min(1, (1 − α′)/α).
    The plan's next quota grows by what was masked. The last planned step has σ_max = 0, so a block takes the plan's
    steps and no more. The paper draws tokens at temperature 1 with top_p 0.9 and fills random positions.

    Args:
        strategy: `cap` is σ = min(eta, σ_max); `rescale` is σ = eta · σ_max; `loop` is σ = eta while 90 % of the block
            are filled, where plan.schedule=dwell stays for half of the steps, and 0 before and after.
        eta: how much.
        confidence: ReMDM-conf: multiply each position's σ by softmax(−ψ) over the written ones, ψ the probability
            a token had when it was written. The paper's is rescale with eta 1.
    """

    rewrites: ClassVar[bool] = True
    strategy: Literal["cap", "rescale", "loop"] = "cap"
    eta: float = 0.02
    confidence: bool = False

    def __post_init__(self) -> None:
        if self.strategy not in ("cap", "rescale", "loop"):
            raise MdmkitError(f"commit remdm: strategy={self.strategy!r}: it is cap, rescale or loop.")
        if not 0 <= self.eta <= 1:
            raise MdmkitError(f"commit remdm: eta={self.eta}: it is a probability, from 0 to 1.")

    def __call__(self, step: Step, actions: Actions, choice: Tensor) -> Canvas:
        own = editable(step)
        written = own & ~step.open
        size, left = own.sum(-1), (step.open.sum(-1) - step.quota).clamp_min(0)
        most = (left / written.sum(-1).clamp_min(1)).clamp_max(1.0)
        if self.strategy == "cap":
            sigma = most.clamp_max(self.eta)
        elif self.strategy == "rescale":
            sigma = most * self.eta
        else:
            sigma = torch.where(left == _dwelling(size), self.eta, 0.0)
        again = step.noise("remdm", 1)[:, 0] < self._shared(step, actions, choice, sigma, written)
        if self.strategy == "loop":
            # One at least, or the next quota of 1 would leave the dwelling early.
            worst = ops.top(-step.noise("remdm", 1)[:, 0], written, (sigma > 0).long())
            again = again | worst
        return _remasked(step, actions, choice, again & written & (left > 0)[:, None])

    def _shared(self, step: Step, actions: Actions, choice: Tensor, sigma: Tensor, written: Tensor) -> Tensor:
        """σ of each position, [B, W]."""
        if not self.confidence:
            return sigma[:, None].expand(written.shape)
        place, tokens = actions.take(choice)
        before = step.recall("remdm.sure", like="window", fill=0.0, until="block", dtype=step.belief.entropy.dtype)
        share = (-before).masked_fill(~written, -torch.inf).softmax(-1).nan_to_num()
        now = step.belief.logp_of(tokens[..., None])[..., 0].exp()
        step.keep("remdm.sure", torch.where(place, now.to(before.dtype), before))
        return sigma[:, None] * share


def _dwelling(size: Tensor) -> Tensor:
    """Masks left while ReMDM-loop dwells, of so many."""
    return torch.floor(size * DWELL + 1e-9).long()


@dataclass(frozen=True)
class P2Remask:
    """Mask again what path planning ranks below the planned number of positions (P2, arXiv:2502.03540).

    All positions of the block compete: open ones with the log-probability of the token that they would get,
    written ones with `eta` times that of the token that they hold. The best stay or are filled, as many as the plan
    wants filled after this step. The select `p2` fills the open ones of them; with another select this commit only
    masks. The last planned step masks nothing, so a block takes the plan's steps and no more.

    Args:
        eta: as log-probabilities are negative, a larger one masks more; 0 masks nothing.
    """

    rewrites: ClassVar[bool] = True
    eta: float = 1.0

    def __post_init__(self) -> None:
        _check_eta("commit", self.eta)

    def __call__(self, step: Step, actions: Actions, choice: Tensor) -> Canvas:
        again = editable(step) & ~step.open & ~_kept(step, self.eta)
        return _remasked(step, actions, choice, again)


@dataclass(frozen=True)
class P2Fill:
    """Fill the open positions that path planning keeps (P2, arXiv:2502.03540); goes with the commit `p2`.

    At least the plan's quota, and one more for every written token that the commit masks again. The scores are not
    read: see the commit for the ranking, and give both the same `eta`.

    Args:
        eta: as in the commit.
    """

    eta: float = 1.0

    def __post_init__(self) -> None:
        _check_eta("select", self.eta)

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        return Actions.single(step.open & _kept(step, self.eta), step.tokens)


def _check_eta(kind: str, eta: float) -> None:
    if not 0 <= eta < math.inf:
        raise MdmkitError(f"{kind} p2: eta={eta}: it must be a number from 0 up.")


def _kept(step: Step, eta: float) -> Tensor:
    """bool [B, W]: the positions of each block that are filled after this step."""
    own = editable(step)
    held = step.window(step.canvas.tokens)
    would = torch.where(step.open, step.tokens, held)
    logp = step.belief.logp_of(would[..., None])[..., 0]
    worth = torch.where(step.open, logp, eta * logp.clamp_min(torch.finfo(logp.dtype).min / (eta + 1)))
    return ops.top(worth, own, own.sum(-1) - (step.open.sum(-1) - step.quota).clamp_min(0))


@dataclass(frozen=True)
class SaberFill:
    """Fill every position surer than the row's written tokens were on average, at least `least` (Saber).

    arXiv:2510.18165: the threshold is the mean probability that the tokens had when they were written, 1 at first. The
    best by the scores fill up to `least`. The plan's steps are not read.

    Args:
        least: n, positions a step at least.
    """

    least: int = 2

    def __post_init__(self) -> None:
        _check_least("select", self.least)

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        kept = step.recall("saber.mean", fill=0.0, shape=(2,), dtype=step.belief.entropy.dtype)
        total, number = kept.unbind(-1)
        bar = torch.where(number > 0, total / number.clamp_min(1), 1.0)
        best = ops.top(scores, step.open, (step.quota > 0) * self.least)
        place = best | (step.open & (step.confidence > bar[:, None]))
        total = total + torch.where(place, step.confidence, 0.0).sum(-1).to(total.dtype)
        step.keep("saber.mean", torch.stack((total, number + place.sum(-1)), -1))
        return Actions.single(place, step.tokens)


@dataclass(frozen=True)
class SaberBacktrack:
    """Mask again the written tokens of the block that lost most probability since the last step (Saber).

    arXiv:2510.18165: with m positions filled now, ⌈m/8⌉ of them but at least ⌊least/2⌋, and fewer than m, so that every
    step leaves at least one position more filled: a block takes at most as many steps as it has positions.

    Args:
        least: n of the select `saber`.
    """

    rewrites: ClassVar[bool] = True
    least: int = 2

    def __post_init__(self) -> None:
        _check_least("commit", self.least)

    def __call__(self, step: Step, actions: Actions, choice: Tensor) -> Canvas:
        place, tokens = actions.take(choice)
        written = editable(step) & ~step.open
        held = torch.where(written, step.window(step.canvas.tokens), tokens)
        now = step.belief.logp_of(held[..., None])[..., 0].exp()
        drop = step.recall("saber.sure", like="window", fill=0.0, until="block", dtype=now.dtype) - now
        step.keep("saber.sure", torch.where(place | written, now, 0.0))
        filled = place.sum(-1)
        count = torch.minimum(((filled + 7) // 8).clamp_min(self.least // 2), (filled - 1).clamp_min(0))
        return _remasked(step, actions, choice, ops.top(drop, written, count))


def _check_least(kind: str, least: int) -> None:
    if least < 1:
        raise MdmkitError(f"{kind} saber: least={least}: it must be at least 1.")
