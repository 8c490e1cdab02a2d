"""Commits that write the action and reopen written positions (ReMDM, P2, Saber).

Every block ends: after its planned steps, or because each step leaves at least one more position filled.
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

# ReMDM-loop: the share of open positions at which it dwells (arXiv:2503.00307); plan.schedule=dwell stays there.
DWELL = 0.1


def remasked(step: Step, actions: Actions, choice: Tensor, again: Tensor) -> Canvas:
    """Write the action, and reopen `again`, bool [B, W], in rows that take the step."""
    again = again & step.open.any(-1, keepdim=True)
    return Write()(step, actions, choice).reopened(step.spread(again))


@dataclass(frozen=True)
class ReMDM:
    """Reopen each position written before this step with probability σ (ReMDM, arXiv:2503.00307).

    Let α be the share of the block that is filled now, and α′ the share planned after this step. σ is at most σ_max =
    min(1, (1 − α′)/α). The plan's next quota grows by the number of reopened positions. The last planned step has σ_max
    = 0, so a block takes exactly the plan's steps. The paper draws tokens at temperature 1 with top_p 0.9 and fills
    random positions.

    Args:
        strategy: `cap` is σ = min(eta, σ_max); `rescale` is σ = eta · σ_max; `loop` is σ = eta while 90 % of the block
            are filled, and 0 before and after; plan.schedule=dwell stays there for half of the steps.
        eta: the strength.
        confidence: ReMDM-conf: multiply each position's σ by softmax(−ψ) over the written ones, ψ the probability
            a token had when it was written. The paper uses rescale with eta 1.
    """

    rewrites: ClassVar[bool] = True
    only_reopens: ClassVar[bool] = True
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
            # At least one: otherwise the next quota of 1 would end the dwelling early.
            worst = ops.top(-step.noise("remdm", 1)[:, 0], written, (sigma > 0).long())
            again = again | worst
        return remasked(step, actions, choice, again & written & (left > 0)[:, None])

    def _shared(self, step: Step, actions: Actions, choice: Tensor, sigma: Tensor, written: Tensor) -> Tensor:
        """σ of each position, [B, W]."""
        if not self.confidence:
            return sigma[:, None].expand(written.shape)
        place, tokens = actions.take(choice)
        before = step.recall("remdm.sure", like="window", fill=0.0, until="block", dtype=step.belief.entropy.dtype)
        share = (-before).masked_fill(~written, -torch.inf).softmax(-1).nan_to_num()
        now = step.belief.probability(tokens)
        step.keep("remdm.sure", torch.where(place, now.to(before.dtype), before))
        return sigma[:, None] * share


def _dwelling(size: Tensor) -> Tensor:
    """The number of open positions at which ReMDM-loop dwells, in a block of `size`."""
    return torch.floor(size * DWELL + 1e-9).long()


@dataclass(frozen=True)
class P2Remask:
    """Reopen positions that path planning ranks below the planned number (P2, arXiv:2502.03540).

    All positions of the block compete: open ones with the log-probability of the token that would be written, written
    ones with `eta` times that of their token. The best stay or are filled, as many as the plan wants filled after this
    step. The select `p2` fills the open ones among them; with another select this commit only reopens. The last planned
    step reopens nothing, so a block takes exactly the plan's steps.

    Args:
        eta: log-probabilities are negative, so a larger eta reopens more; 0 reopens nothing.
    """

    rewrites: ClassVar[bool] = True
    only_reopens: ClassVar[bool] = True
    eta: float = 1.0

    def __post_init__(self) -> None:
        _check_eta("commit", self.eta)

    def __call__(self, step: Step, actions: Actions, choice: Tensor) -> Canvas:
        again = editable(step) & ~step.open & ~_kept(step, self.eta)
        return remasked(step, actions, choice, again)


@dataclass(frozen=True)
class P2Fill:
    """Fill the open positions that path planning keeps (P2, arXiv:2502.03540); use it with the commit `p2`.

    It fills at least the plan's quota, and one more for every position that the commit reopens. The scores are not
    read; the ranking is that of the commit. Give both the same `eta`.

    Args:
        eta: as in the commit.
    """

    reads: ClassVar[tuple[str, ...]] = ("written",)
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
    """Fill every position more probable than the row's written tokens were on average, at least `least` (Saber).

    arXiv:2510.18165: the threshold is the mean probability that the tokens had when they were written, 1 at first. If
    these are fewer than `least`, the best by the scores are added. The plan's steps are not read.

    Args:
        least: n, the least number of positions in a step.
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
    """Reopen the positions of the block whose tokens lost most probability since the last step (Saber).

    arXiv:2510.18165: of the m positions filled now, max(⌈m/8⌉, ⌊least/2⌋) are reopened, but fewer than m. So every step
    leaves at least one more position filled, and a block takes at most as many steps as it has positions.

    Args:
        least: n of the select `saber`.
    """

    rewrites: ClassVar[bool] = True
    only_reopens: ClassVar[bool] = True
    least: int = 2

    def __post_init__(self) -> None:
        _check_least("commit", self.least)

    def __call__(self, step: Step, actions: Actions, choice: Tensor) -> Canvas:
        place, tokens = actions.take(choice)
        written = editable(step) & ~step.open
        held = torch.where(written, step.window(step.canvas.tokens), tokens)
        now = step.belief.probability(held)
        drop = step.recall("saber.sure", like="window", fill=0.0, until="block", dtype=now.dtype) - now
        step.keep("saber.sure", torch.where(place | written, now, 0.0))
        filled = place.sum(-1)
        count = torch.minimum(((filled + 7) // 8).clamp_min(self.least // 2), (filled - 1).clamp_min(0))
        return remasked(step, actions, choice, ops.top(drop, written, count))


def _check_least(kind: str, least: int) -> None:
    if least < 1:
        raise MdmkitError(f"{kind} saber: least={least}: it must be at least 1.")
