"""What the model says of a finished row: the log-probability and the rank of each token, with all others in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from mdmkit import ops
from mdmkit.canvas.window import Window
from mdmkit.loop.runner import Asked
from mdmkit.model.cache import Reach
from mdmkit.stage.look import States

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.loop.state import State

# Log-probabilities fp32 [T] and ranks int64 [T] of one row.
Said = tuple[Tensor, Tensor]


def read_final(state: State, answers: dict[int, int], closing: int) -> dict[int, Said]:
    """Forward finished rows once more, whole and without the sampler's constraint and penalty.

    Args:
        answers: for each row, its index among the rows at work: the state that is its answer.
        closing: the token that stands where a row has ended early.

    Returns:
        By row.
    """
    if not answers:
        return {}
    device = state.tick.device
    index = ops.uploaded(list(answers.values()), device)
    canvas: Canvas = state.canvas.at(index)
    tokens = canvas.tokens.masked_fill(canvas.open, closing)
    spans = [(0, state.places[row].length) for row in answers]
    where = Window.of(spans, device)
    states = States(tokens, canvas.open & False, index, where)
    reaches = [Reach(0, stop, 0, None, stop) for _, stop in spans]
    asked = Asked(states, list(answers.values()), reaches, spans, state.tick[index])
    hidden = state.runner.forward(asked, state.canvas, state.particles, state.previous)
    belief = state.runner.beliefs.plain(hidden.window(where))
    written = where(tokens).clamp(0, belief.vocab - 1)
    logprob = belief.logp_of(written[..., None])[..., 0].cpu()
    rank = belief.rank_read(written).cpu()
    return {row: (logprob[i], rank[i]) for i, row in enumerate(answers)}
