"""From hidden states to beliefs: the head, guidance, the logit policy, the constraint. All logits are made here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mdmkit import ops
from mdmkit.loop.asking import project
from mdmkit.loop.policy import Policy
from mdmkit.loop.recent import Recent
from mdmkit.stage.belief import Belief
from mdmkit.stage.shifted import Shifted

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.model.backbone import Backbone
    from mdmkit.settings.draw import Draw, Guidance
    from mdmkit.stage.look import States

    # What a constraint makes of logits [m, S, V] of m states at columns int64 [m, S]; of one that is `whole` they are
    # [n, V], at the places of the states.
    Shape = Callable[[Tensor, States, Tensor], Tensor | Shifted]


class Beliefs:
    """Project hidden states. Current and next states get the same logit policy.

    Attributes:
        branches: forwards that each state takes: 2 under guidance, with and without its prompt.
        whole: True if the constraint gets the logits of all open columns of a state in one call.
    """

    def __init__(
        self, backbone: Backbone, draws: Draw, guidance: Guidance, shape: Shape | None = None, whole: bool = False
    ):
        self.backbone, self.shape, self.whole = backbone, shape, whole
        self.scale, self.ramp = guidance.scale, guidance.ramp
        self.branches = 1 if self.scale == 1.0 else 2
        self.policy = Policy(backbone, draws)
        self._never = self.policy.never.nonzero()[:, 0]
        self._recent = Recent()

    @property
    def vocab(self) -> int:
        """V."""
        return self.backbone.vocab

    def side_by_side(self, hidden: Tensor) -> Tensor:
        """Put the hidden states of both branches, [2·M, L, D], side by side, [M, L, 2·D]; one branch stays as it is."""
        return hidden if self.branches == 1 else torch.cat(hidden.chunk(2), -1)

    def ramped(self, states: States, canvas: Canvas, hidden: Tensor) -> Tensor:
        """Append the guidance scale of each state to its hidden states, [M, L, 2·D + 1], if guidance is ramped."""
        if not self.ramp or self.branches == 1:
            return hidden
        own = canvas.editable[states.rows]
        share = (own & ~states.open).sum(1) / own.sum(1).clamp_min(1)
        scale = (1 + (self.scale - 1) * share)[:, None, None]
        return torch.cat((hidden, scale.expand(-1, hidden.shape[1], 1).to(hidden)), -1)

    def __call__(self, hidden: Tensor, held: Tensor | None, states: States, columns: Tensor) -> Belief:
        """Project hidden [m, S, D], mix in guidance, apply the logit policy and the constraint.

        `held` bool [m, V]: tokens that each state already holds; `columns` int64 [m, S].
        """
        logits = self._logits(hidden, None if held is None else held[:, None])
        if self.shape is None:
            return Belief(logits)
        if not self.whole:
            return Belief(self._shaped(logits, states, columns), unconstrained=logits)
        assert states.window is not None
        open_, flat = states.window(states.open) & states.window.member, logits.flatten(0, 1)
        places = ops.marked(open_, open_.numel())
        own = self._shaped(flat[places], replace(states, places=places), columns)
        own = own.made if isinstance(own, Shifted) else own
        shaped = flat.index_copy(0, places, torch.where(open_.flatten()[places, None], own, flat[places]))
        return Belief(shaped.view_as(logits), unconstrained=logits)

    def plain(self, hidden: Tensor) -> Belief:
        """The belief [m, S] that the model has without the sampler's constraint and repetition penalty."""
        return Belief(self._logits(hidden, None))

    def at_places(
        self, hidden: Tensor, held: Tensor | None, places: Tensor, states: States, columns: Tensor, keep: bool = False
    ) -> Belief:
        """Do the same at some places of hidden [m, S, D], int64 [n] in [0, m·S): logits [1, n, V].

        A constraint must be `whole`, and then `places` are all open positions of the states.

        Args:
            keep: remember the logits until the next call, which may ask for some of these hidden states again.
        """
        own, free = self.packed(hidden, held, places, states, columns, keep)
        return Belief(own[None], unconstrained=None if free is None else free[None])

    def packed(
        self, hidden: Tensor, held: Tensor | None, places: Tensor, states: States, columns: Tensor, keep: bool = False
    ) -> tuple[Tensor | Shifted, Tensor | None]:
        """The logits of `at_places`, [n, V], and those before the constraint, or None if the sampler has none."""
        some = hidden.flatten(0, 1).index_select(0, places)
        if held is not None:
            logits = self._logits(some[None], held[places // hidden.shape[1]][None])[0]
        else:
            logits = self._of_states(some)
        if keep and held is None:
            self._recent.keep(some, logits.clone())  # what a part writes into its own must not reach the next belief
        if self.shape is None:
            return logits, None
        return self._shaped(logits, replace(states, places=places), columns), logits

    def _shaped(self, logits: Tensor, states: States, columns: Tensor) -> Tensor | Shifted:
        """Ask the constraint. It only forbids: what the policy forbids stays forbidden, such as the mask."""
        assert self.shape is not None
        shaped = self.shape(logits, states, columns)
        if isinstance(shaped, Shifted):
            if shaped.logits is logits:  # and −inf plus any value is −inf
                return shaped
            shaped = shaped.made
        if shaped.device.type == "cpu":  # nobody waits there, and to look is cheaper than to copy
            (odd,) = ops.in_chunks(self._allowed, shaped)
            if not bool(odd.any()):
                return shaped
        return shaped.masked_fill(self.policy.never, -torch.inf)

    def _allowed(self, logits: Tensor) -> tuple[Tensor]:
        """bool [n]: some of the ids that the policy forbids are allowed, by logits [n, V]."""
        return ((logits.index_select(-1, self._never) > -torch.inf).any(-1),)

    def _of_states(self, some: Tensor) -> Tensor:
        """Logits [n, V] of hidden states [n, D]; those that are remembered are not projected again."""
        known = self._recent.take(some)
        if known is None:
            return self._logits(some[None], None)[0]
        found, logits = known
        if len(found) == len(some):
            return logits
        missing = torch.ones(len(some), dtype=torch.bool).index_fill_(0, found, False)
        whole = logits.new_empty(len(some), logits.shape[1]).index_copy_(0, found, logits)
        whole[missing] = self._logits(some[missing][None], None)[0]
        return whole

    def _logits(self, hidden: Tensor, held: Tensor | None) -> Tensor:
        """Project hidden [m, S, D], mix in guidance, and apply the logit policy."""
        if self.branches == 1:
            return self.policy(project(self.backbone, hidden), held)
        scale: Tensor | float = self.scale
        if self.ramp:
            hidden, scale = hidden[..., :-1], hidden[..., -1:]
        guided, free = (project(self.backbone, half) for half in hidden.chunk(2, -1))
        return self.policy(free + scale * (guided - free), held)
