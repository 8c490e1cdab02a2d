"""The parts of a sampler as classes: what each is called with, what it returns, and its traits.

A trait is a constant of the class that the loop reads, such as `Commit.rewrites`. Inheriting is not needed: any
dataclass with the right `__call__` is a part. `mdmkit.stage.traits` reads the traits of either.

Any part may have a method `fits(backbone)`, called before the first step, that raises an `MdmkitError` where it cannot
work with the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit.canvas.canvas import Canvas
    from mdmkit.stage.actions import Actions
    from mdmkit.stage.look import Look, States
    from mdmkit.stage.step import Step


class Score:
    """How much to fill each open position now."""

    reads: ClassVar[tuple[str, ...]] = ()
    """Extras of the model that it reads, such as `attention`; a model that does not offer them is refused."""

    def __call__(self, step: Step) -> Tensor:
        """How much to fill each open position now: float [B, W], higher = sooner."""
        raise NotImplementedError


class Select:
    """Which alternative actions to propose."""

    alternatives: ClassVar[int] = 1
    """How many alternatives it proposes at most."""
    reads: ClassVar[tuple[str, ...]] = ()

    def __call__(self, step: Step, scores: Tensor) -> Actions:
        """Turn scores float [B, W] into N alternative actions per row."""
        raise NotImplementedError


class Lookahead:
    """What each proposed next state is worth."""

    reads: ClassVar[tuple[str, ...]] = ()

    def __call__(self, step: Step, actions: Actions, look: Look) -> Tensor:
        """What each alternative's next state is worth: float [B, N], higher = better."""
        raise NotImplementedError


class Commit:
    """How the chosen action is written."""

    rewrites: ClassVar[bool] = False
    """Whether the result can differ from the plainly written action. Its state then needs one more forward."""
    lingers: ClassVar[int] = 0
    """Steps that a row whose block is full takes at most, as long as the commit changes something. Needs `rewrites`."""
    grows: ClassVar[bool] = False
    """Whether it brings places into a row, up to `plan.room`, or takes open ones out. Needs `rewrites`."""
    reads: ClassVar[tuple[str, ...]] = ()

    def __call__(self, step: Step, actions: Actions, choice: Tensor) -> Canvas:
        """Write the chosen action, choice int64 [B], and return the next canvas."""
        raise NotImplementedError


class Stop:
    """When a row's text is final although something is still open."""

    fill: ClassVar[Literal["leave", "best"]] = "leave"
    """`leave`: the rest is closed with the model's end token and never shown. `best`: it is filled with the most
    probable tokens, in one step."""
    reads: ClassVar[tuple[str, ...]] = ()

    def __call__(self, step: Step) -> Tensor:
        """Which rows to end now: bool [B]. Asked after every commit, `step.canvas` being what the commit left."""
        raise NotImplementedError


class Constraint:
    """What a row's text must be like."""

    reads: ClassVar[tuple[str, ...]] = ()

    def shape(self, logits: Tensor, states: States, columns: Tensor) -> Tensor:
        """Change logits [m, S, V] of m states at columns int64 [m, S]; −inf forbids. Base beliefs and looks alike."""
        raise NotImplementedError

    def settle(self, step: Step, actions: Actions) -> Actions:
        """Change actions so that the tokens that one of them fills are allowed together; the default keeps them."""
        return actions
