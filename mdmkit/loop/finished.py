"""Turn a row that left the loop into the row that the user gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mdmkit.canvas.row import Row
from mdmkit.canvas.trace import as_logprobs
from mdmkit.loop.asking import Asking

if TYPE_CHECKING:
    from mdmkit.canvas.canvas import Canvas
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.loop.left import Left
    from mdmkit.model.backbone import Backbone


def row_of(backbone: Backbone, prompt: Prompt, before: Canvas, left: Left) -> Row:
    """Make the user's row; `before` is the prompt's canvas [1, T] at its admission."""
    after, facts = left.canvas, left.trace.row(0)
    valid, editable = after.valid[0].tolist(), after.editable[0].tolist()
    length, shown = sum(valid), after.shown[0].tolist()
    tokens, order = after.tokens[0].tolist(), facts["order"]
    initial = [*before.tokens[0].tolist(), *[after.blank_id] * (length - before.tokens.shape[1])]
    infill = bool(before.infill[0])
    # Positions after an early stop were never decoded.
    kept = [t for t in range(length) if shown[t] and (order[t] >= 0 or not editable[t])]
    given = [t for t in range(length) if infill or not editable[t]]
    ended = not infill and any(tokens[t] in set(backbone.ends) for t in kept)
    said = {name: [values[t] for t in kept] for name, values in _said(left, facts).items()}
    reason = left.stopped if left.stopped not in (None, "end") else None
    return Row(
        index=prompt.index,
        prompt=prompt.text,
        prompt_ids=[initial[t] for t in given],
        text=_decoded(backbone, after),
        tokens=[tokens[t] for t in kept],
        seed=prompt.seed,
        uncertainty=facts["uncertainty"],
        nfe=facts["nfe"],
        row_tokens=facts["row_tokens"],
        order=[order[t] for t in kept],
        stopped=reason or ("filled" if infill else "end" if ended else "length"),
        trace=_traced(facts, initial, tokens, length),
        columns=int(left.trace.columns[0]),
        logprobs=said or None,
    )


def _traced(facts: dict[str, Any], initial: list[int], tokens: list[int], length: int) -> dict[str, Any]:
    """The row's trace, up to its last position."""
    per_position = {key: facts[key][:length] for key in ("order", "confidence", "entropy")}
    return {"prompt_tokens": initial[:length], "tokens": tokens[:length], **facts, **per_position}


def _said(left: Left, facts: dict[str, Any]) -> dict[str, list[Any]]:
    """Take log-probabilities and ranks out of the facts, and add those under the finished row."""
    said: dict[str, list[Any]] = {name: facts.pop(name) for name in ("logprob", "rank") if name in facts}
    if left.final is not None:
        final = as_logprobs(*left.final, left.trace.order[0])
        said |= {f"final_{name}": values for name, values in final.items()}
    return said


def _decoded(backbone: Backbone, canvas: Canvas) -> Any:
    with Asking(backbone, "decode"):
        return backbone.decode(canvas)[0]
