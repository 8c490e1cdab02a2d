"""The rule of each prompt."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from mdmkit import Actions, Backbone, Canvas, Constraint, MdmkitError, States, Step, Window, make_part

Rule = Mapping[str, Any] | None
# Rules that are kept ready for a model. More may be at work; then some are made anew in each step.
READY = 256


@dataclass(frozen=True)
class ByPrompt(Constraint):
    """Each answer keeps the rule of its own prompt, which has the key `rule`: `{"name": "choices", "of": ["a", "b"]}`.

    Args:
        default: the rule of prompts without one; None: they have no rule.
    """

    default: dict[str, Any] | None = None

    whole: ClassVar[bool] = True
    per_prompt: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.default is not None:
            _made(self.default)

    def prepare(self, backbone: Backbone, never: Tensor) -> Constraint:
        return Several(backbone, never, self.default)


class Several(Constraint):
    """The rules of prompts, for one model. Rows with equal rules are asked together."""

    whole: ClassVar[bool] = True
    per_prompt: ClassVar[bool] = True

    def __init__(self, backbone: Backbone, never: Tensor, default: Rule):
        self._backbone, self._never, self._default = backbone, never, default
        self._ready: OrderedDict[str, Any] = OrderedDict()

    def refuse(self, canvas: Canvas, answer: Window, rule: Rule) -> str | None:
        try:
            own = self._of(self._key(rule))
        except MdmkitError as error:
            return str(error)
        refuse = getattr(own, "refuse", None)
        return None if refuse is None else refuse(canvas, answer, rule)

    def shape(self, logits: Tensor, states: States, columns: Tensor) -> Tensor:
        def shaped(rule: Any, index: Tensor | None) -> Tensor:
            if index is None:
                return rule.shape(logits, states, columns)
            return rule.shape(logits[index], states.at(index), columns[index])

        out = logits
        for part, index in self._shared(states.rules, states.rows, shaped, logits.device):
            out = part if index is None else out.index_copy(0, index, part)
        return out

    def settle(self, step: Step, actions: Actions) -> Actions:
        def settled(rule: Any, index: Tensor | None) -> Actions:
            if index is None:
                return rule.settle(step, actions)
            canvas = step.canvas.at(index)
            some = replace(replace(step, rules=None).at(index), canvas=canvas)
            return rule.settle(some, actions.at(index))

        out = actions
        for part, index in self._shared(step.rules, None, settled, step.open.device):
            out = part if index is None else _put(out, part, index)
        return out

    def _shared(
        self,
        rules: Sequence[Rule] | None,
        rows: Tensor | None,
        ask: Callable[[Any, Tensor | None], Any],
        device: torch.device,
    ) -> list[tuple[Any, Tensor | None]]:
        """Ask each rule about its states, and return what it says with their places; None: about all of them.

        Args:
            rules: of each row.
            rows: int64 [m]; the row of each state; None: they are the rows, in order. If there are several rules, the
                host waits for these numbers.
        """
        if rules is None:
            raise MdmkitError("this does not say which rule each row has: take it from a decode.")
        keys = [self._key(rule) for rule in rules]
        if len(set(keys)) == 1:
            own = self._of(keys[0])
            return [] if own is None else [(ask(own, None), None)]
        of_state = keys if rows is None else [keys[row] for row in rows.tolist()]
        places = {key: [i for i, own in enumerate(of_state) if own == key] for key in dict.fromkeys(of_state)}
        asked = [(self._of(key), torch.tensor(place, device=device)) for key, place in places.items()]
        return [(ask(own, place), place) for own, place in asked if own is not None]

    def _key(self, rule: Rule) -> str:
        return json.dumps(self._default if rule is None else rule)

    def _of(self, key: str) -> Any:
        """The rule of a key, ready for the model; None: there is none."""
        if key not in self._ready:
            try:
                self._ready[key] = self._prepared(json.loads(key))
            except MdmkitError as error:
                self._ready[key] = error
            if len(self._ready) > READY:
                self._ready.popitem(last=False)
        self._ready.move_to_end(key)
        if isinstance(self._ready[key], MdmkitError):
            raise MdmkitError(str(self._ready[key]))
        return self._ready[key]

    def _prepared(self, rule: Rule) -> Any:
        if rule is None:
            return None
        own = _made(rule)
        return own.prepare(self._backbone, self._never) if hasattr(own, "prepare") else own


def _made(rule: Mapping[str, Any]) -> Any:
    own = make_part("constraint", rule)
    if getattr(own, "per_prompt", False):
        raise MdmkitError(f"a prompt's rule is not {rule['name']!r}: name the rule itself.")
    return own


def _put(into: Actions, part: Actions, index: Tensor) -> Actions:
    """The actions with those of some rows replaced."""
    steps = into.steps
    if steps is not None and part.steps is not None:
        steps = steps.index_copy(0, index, part.steps)
    place, tokens, live = (
        getattr(into, name).index_copy(0, index, getattr(part, name)) for name in ("place", "tokens", "live")
    )
    return Actions(place, tokens, live, steps)
