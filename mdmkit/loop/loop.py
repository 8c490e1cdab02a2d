"""The decoding loop. Read this first.

A step proposes next states, looks at them with one batched forward, and moves to one of them; the chosen state's
hidden states are the next step's belief. Greedy decoding is the case of one proposed state per row: nothing is
compared, so the state is looked at after the commit.

Every row stands at a block and a step of its own; rows join and leave at any step. B rows take the step, each in a
window of W columns; N is how many next states a row proposes at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mdmkit.loop.advance import advance, commit
from mdmkit.loop.choosing import choose
from mdmkit.loop.looking import believe, look
from mdmkit.loop.proposing import propose

if TYPE_CHECKING:
    from mdmkit.loop.state import State


@torch.inference_mode()
def take_step(state: State) -> None:
    """One step of every row that has a belief; rows that ended are in `state.left` afterwards.

    Raises:
        MdmkitError: a part fails, or breaks a promise that is not of one row alone.
    """
    believe(state)  # where no row has a belief yet: one forward
    step = state.step()  # what the stages read
    proposal = propose(state, step)  # score [B, W], then select: N next states a row
    seen = look(state, step, proposal)  # the step's forward: rivals, and rows that have no belief yet
    chosen = choose(state, step, proposal.actions, seen)  # the lookahead; under a search the particles move
    canvas = commit(state, chosen)  # write the chosen action
    advance(state, chosen, canvas, seen)  # trace, cursor, belief; rows that ended leave


def fill(state: State) -> None:
    """Take steps until every row has left."""
    while state.busy:
        take_step(state)
