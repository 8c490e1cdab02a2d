"""The rule of each prompt."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from mdmkit import Actions, Backbone, Canvas, Constraint, MdmkitError, Shifted, States, Step, Window, make_part
from mdmkit_constrain.language import Language

Rule = Mapping[str, Any] | None
# Rules that are kept ready for a model, and the bytes of their tables. More may be at work; then some are made anew in
# each step.
READY, BYTES = 256, 1 << 30
# Stands for a rule that is not ready.
_NEW = object()


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
        # A server checks prompts in threads beside the one that decodes, which must not wait until a rule is made.
        self._lock, self._making = threading.Lock(), threading.RLock()

    def refuse(self, canvas: Canvas, answer: Window, rule: Rule) -> str | None:
        if rule is None and self._default is None:
            return None
        with self._making:  # rows of one request come at the same time, and the first answer serves all
            try:
                own = self._of(self._key(rule))
            except MdmkitError as error:
                return str(error)
            refuse = getattr(own, "refuse", None)
            return None if refuse is None else refuse(canvas, answer, rule)

    def shape(self, logits: Tensor, states: States, columns: Tensor) -> Tensor | Shifted:
        def shaped(rule: Any, index: Tensor | None) -> tuple[Tensor | Shifted, Tensor | None]:
            if index is None:
                return _shape(rule, logits, states, columns), None
            own = states.entries(index)
            if not len(own):
                return logits[own], own
            return _shape(rule, logits[own], states.at(index), columns[index]), own

        out = logits
        for (part, own), _ in self._shared(states.rules, states.rows, shaped, logits.device):
            if own is None:
                return part
            out = out.index_copy(0, own, part.made if isinstance(part, Shifted) else part)
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
        with self._lock:
            own = self._ready.get(key, _NEW)
            if own is not _NEW:
                self._ready.move_to_end(key)
        if own is _NEW:
            own = self._make(key)
        if isinstance(own, MdmkitError):
            raise MdmkitError(str(own))
        return own

    def _make(self, key: str) -> Any:
        with self._making:
            if key in self._ready:
                return self._ready[key]
            try:
                own = self._prepared(json.loads(key))
            except MdmkitError as error:
                own = error
            with self._lock:
                self._ready[key] = own
                self._give_up_the_oldest()
            return own

    def _give_up_the_oldest(self) -> None:
        held = sum(_bytes(own) for own in self._ready.values())
        while len(self._ready) > 1 and (len(self._ready) > READY or held > BYTES):
            _, own = self._ready.popitem(last=False)
            held -= _bytes(own)

    def _prepared(self, rule: Rule) -> Any:
        if rule is None:
            return None
        own = _made(rule)
        return own.prepare(self._backbone, self._never) if hasattr(own, "prepare") else own


def _bytes(own: Any) -> int:
    return own.tables.bytes + own.on_host.bytes if isinstance(own, Language) else 0


def _shape(rule: Any, logits: Tensor, states: States, columns: Tensor) -> Tensor | Shifted:
    """Ask one rule. If it is not about whole answers, each logit's position is a state with one column."""
    if getattr(rule, "whole", False):
        return cast("Tensor | Shifted", rule.shape(logits, states, columns))
    assert states.places is not None
    each = replace(states, places=None).at(states.places // columns.shape[1])
    own = rule.shape(logits[:, None], each, columns.flatten()[states.places, None])
    return cast("Tensor | Shifted", own)[:, 0]


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
