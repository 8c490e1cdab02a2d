"""The parts of a sampler as classes: arguments, results and traits of each.

A trait is a constant of the class that the loop reads, such as `Commit.rewrites`. A part need not inherit from these
classes: any dataclass with the right `__call__` is a part. `mdmkit.stage.traits` reads its traits.

Any part may have a method `fits(backbone)`. It is called before the first step, and raises an `MdmkitError` if the part
cannot work with the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from mdmkit.canvas.canvas import Canvas
    from mdmkit.canvas.window import Window
    from mdmkit.model.backbone import Backbone
    from mdmkit.stage.actions import Actions
    from mdmkit.stage.look import Look, States
    from mdmkit.stage.shifted import Shifted
    from mdmkit.stage.step import Step


class Score:
    """How early to fill each open position."""

    reads: ClassVar[tuple[str, ...]] = ()
    """Extras of the model that it reads, such as `attention`. A model that does not offer them is refused."""

    def __call__(self, step: Step) -> Tensor:
        """Score each open position: float [B, W], higher = sooner."""
        raise NotImplementedError


class Select:
    """Which alternative actions to propose."""

    alternatives: ClassVar[int] = 1
    """The largest number of alternatives that it proposes."""
    reads: ClassVar[tuple[str, ...]] = ()

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        """Turn scores float [B, W] into N alternative actions per row."""
        raise NotImplementedError


class Lookahead:
    """How good each proposed next state is."""

    reads: ClassVar[tuple[str, ...]] = ()

    def __call__(self, step: Step, actions: Actions, look: Look) -> Tensor:
        """Value each alternative's next state: float [B, N], higher = better."""
        raise NotImplementedError


class Commit:
    """How the chosen action is written."""

    rewrites: ClassVar[bool] = False
    """True if the result can differ from the action as written. The state after the commit then needs a forward."""
    only_reopens: ClassVar[bool] = False
    """True if it writes tokens of the action only, and all else that it does is to open positions. Needs `rewrites`. So
    it is allowed beside a constraint on whole answers: an answer that was possible before is possible again."""
    lingers: ClassVar[int] = 0
    """How many more steps a row with a full block takes, as long as the commit changes something. Needs `rewrites`."""
    grows: ClassVar[bool] = False
    """True if it adds positions to a row, up to `plan.room`, or removes open ones. Needs `rewrites`."""
    reads: ClassVar[tuple[str, ...]] = ()

    def __call__(self, step: Step, actions: Actions, choice: Tensor) -> Canvas:
        """Write the chosen action, choice int64 [B], and return the next canvas."""
        raise NotImplementedError


class Stop:
    """End rows although some of their positions are still open."""

    fill: ClassVar[Literal["leave", "best"]] = "leave"
    """`leave`: open positions are filled with the model's end token and never shown. `best`: they are filled with the
    most probable tokens, in one step."""
    reads: ClassVar[tuple[str, ...]] = ()

    def __call__(self, step: Step) -> Tensor:
        """Return the rows to end now: bool [B]. Called once per step; `step.canvas` is the state after the commit."""
        raise NotImplementedError


class Constraint:
    """Forbid texts that break a rule.

    It has a `shape`, or a `prepare` that returns a constraint with one.
    """

    reads: ClassVar[tuple[str, ...]] = ()
    whole: ClassVar[bool] = False
    """True if the rule is about a whole answer. `shape` then gets all open positions of a state in one call: logits
    [n, V] at `states.places`. Parts that replace or leave out positions behind the constraint's back are refused: stop
    rules that leave positions open, commits that rewrite and do not `only_reopens`, growth."""

    per_prompt: ClassVar[bool] = False
    """True if it reads the rule of each prompt (`Prompt.rule`) in `states.rules` and `step.rules`. Beside a constraint
    that does not, a prompt with a rule is refused."""

    def prepare(self, backbone: Backbone, never: Tensor) -> Constraint:
        """Return the constraint with what it needs of the model, such as a table of its tokens' texts.

        It is called before the first step; the loop then asks what it returned, by default the constraint itself.
        `never` bool [V]: tokens that the model or the user forbids.

        Raises:
            MdmkitError: the constraint cannot work with this model.
        """
        return self

    def refuse(self, canvas: Canvas, answer: Window, rule: Mapping[str, Any] | None) -> str | None:
        """Say why a row, a canvas [1, T] on the host, has no text that keeps the rule; None: it has one.

        It is asked when a prompt is admitted, before the model sees the row. `rule`: the prompt's own, or None.
        """
        return None

    def shape(self, logits: Tensor, states: States, columns: Tensor) -> Tensor | Shifted:
        """Change logits [m, S, V] of m states at columns int64 [m, S]; −inf forbids. For current and next states.

        A rule that adds one value to all tokens of a class may return `Shifted`, which saves a pass over all tokens.
        """
        raise NotImplementedError

    def settle(self, step: Step, actions: Actions) -> Actions:
        """Change actions so that the tokens of one alternative are allowed together; the default changes nothing."""
        return actions
