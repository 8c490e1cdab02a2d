"""The decoding loop. Read this first.

A step proposes next states, looks at them with one batched forward, and moves to one of them. The hidden states of the
chosen next state are the next step's belief. Greedy decoding proposes one next state per row and compares nothing, so
it commits first and looks afterwards.

Each row is in its own block and at its own step; rows join and leave at any step. B rows take the step, each in a
window of W columns. N is the largest number of alternatives of a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mdmkit.loop.advance import advance, commit
from mdmkit.loop.choosing import choose
from mdmkit.loop.looking import believe, look
from mdmkit.loop.proposing import propose
from mdmkit.loop.reading import read

if TYPE_CHECKING:
    from mdmkit.loop.state import State


@torch.inference_mode()
def take_step(state: State) -> None:
    """Take one step of every row that has a belief; rows that ended are in `state.left` afterwards.

    Raises:
        MdmkitError: a part fails, or breaks a promise for all rows.
    """
    believe(state)  # one forward, if no row has a belief yet
    step = read(state)  # what the stages read
    proposal = propose(state, step)  # score [B, W], then select: N alternatives a row
    seen = look(state, step, proposal)  # the step's forward: next states, and rows without a belief
    chosen = choose(state, step, proposal.actions, seen)  # the lookahead; under a search the particles move
    canvas = commit(state, chosen)  # write the chosen action
    advance(state, chosen, canvas, seen)  # trace, cursor, belief; rows that ended leave


def fill(state: State) -> None:
    """Take steps until every row has left."""
    while state.busy:
        take_step(state)
