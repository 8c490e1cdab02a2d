"""Observers watch a decode: the live view, streaming, progress bars."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mdmkit.errors import FAILURES, MdmkitError, told, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit.canvas.canvas import Canvas
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.canvas.row import Row
    from mdmkit.loop.sampler import Sampler
    from mdmkit.model.backbone import Backbone
    from mdmkit.stage.actions import Actions
    from mdmkit.stage.step import Step


class Observer:
    """Watch a decode: override the methods that you need. An observer must not change the result.

    A row has one id from its admission to its end. Rows join and leave at any step.

    Attributes:
        terminal: True if it writes to the terminal: the live view is then off, unless the user asks for it.
        reads: `("written",)` if it reads the belief at filled positions too; elsewhere than at open ones the belief is
            flat otherwise.
    """

    terminal: bool = False
    reads: tuple[str, ...] = ()

    def on_start(self, sampler: Sampler, backbone: Backbone) -> None:
        """Decoding begins."""

    def on_admit(self, id: int, prompt: Prompt, canvas: Canvas) -> None:
        """A row joins. `canvas` [1, T] is its first state; `prompt.index` counts from 0 over all prompts."""

    def on_step(self, step: Step, actions: Actions, choice: Tensor) -> None:
        """A step was committed. `step` shows the rows before the commit, `step.ids` names them; `choice` int64 [B].

        Not called under a search, because its steps belong to particles.
        """

    def on_leave(self, id: int, row: Row | None) -> None:
        """A row has left. None: it failed, was given up, or will begin again."""


# Calls of a method of which the arguments are compared.
WATCHED = 2
_METHODS, _OLD = ("on_start", "on_admit", "on_step", "on_leave"), ("on_batch", "on_end")


class Watchers:
    """All observers of a decode. An object need not have all methods of `Observer`."""

    def __init__(self, observers: Iterable[Observer]):
        if not isinstance(observers, Iterable) or isinstance(observers, str):
            raise MdmkitError(f"observers={observers!r}: it must be a list of observers, as in [MyObserver()].")
        self._all, self._told = tuple(observers), Counter[str]()
        for observer in self._all:
            with _named(observer, "its attributes were looked up"):
                _require_observer(observer)

    def __iter__(self) -> Iterator[Observer]:
        return iter(self._all)

    @property
    def read_written(self) -> bool:
        """True if an observer reads the belief at filled positions."""
        found = False
        for observer in self._all:
            with _named(observer, "reads was looked up"):
                found |= "written" in getattr(observer, "reads", ())
        return found

    def start(self, sampler: Sampler, backbone: Backbone) -> None:
        self._tell("on_start", sampler=sampler, backbone=backbone)

    def admit(self, id: int, prompt: Prompt, canvas: Canvas) -> None:
        self._tell("on_admit", id=id, prompt=prompt, canvas=canvas)

    def step(self, step: Step, actions: Actions, choice: Tensor) -> None:
        self._tell("on_step", step=step, actions=actions, choice=choice)

    def leave(self, id: int, row: Row | None) -> None:
        self._tell("on_leave", id=id, row=row)

    def _tell(self, name: str, **what: Any) -> None:
        """Call a method of every observer that has it; an exception becomes an error that names the observer.

        At the first calls, what it is told of is compared before and after it: an observer changes no result.
        """
        self._told[name] += 1
        compared = self._told[name] <= WATCHED
        for observer in self._all:
            with _named(observer, name):
                method = getattr(observer, name, None)
                if method is None:
                    continue
                if compared:
                    _compared(observer, name, what)
                else:
                    method(*what.values())


@contextmanager
def _named(observer: Any, where: str) -> Iterator[None]:
    """An exception of an observer becomes an error that names it. `where`: a method of it, or what was done to it."""
    try:
        yield
    except MdmkitError:
        raise
    except FAILURES as error:
        place = f"in {where}" if where in _METHODS else f"when {where}"
        raise MdmkitError(
            f"observer {type(observer).__name__} failed {place}: {told(error)}. See its own code, or run with --debug."
        ) from error


def _require_observer(observer: Any) -> None:
    """Raise an error if it is none, or one of the first edition."""
    if isinstance(observer, type):
        raise MdmkitError(
            f"observer {observer.__name__} is a class: observers must be instances, as in {observer.__name__}()."
        )
    if odd := [name for name in dir(observer) if name.startswith("on_") and name not in _METHODS + _OLD]:
        raise MdmkitError(f"observer {type(observer).__name__}: {unknown('method', odd[0], _METHODS)}")
    old = [name for name in _OLD if hasattr(observer, name)]
    if old or _starts_with_canvas(observer):
        had = old[0] if old else "on_start(sampler, backbone, canvas)"
        raise MdmkitError(
            f"observer {type(observer).__name__} has {had}, which is of the first edition of mdmkit: rows come and go "
            "at any step now. Write on_admit(id, prompt, canvas) for a row that joins, and on_leave(id, row) for one "
            "that has left. on_start(sampler, backbone) is called once, and step.ids says whose rows a step is of."
        )
    if not any(hasattr(observer, name) for name in _METHODS):
        raise MdmkitError(f"observer {observer!r} has no method of an observer: {', '.join(_METHODS)}.")


def _starts_with_canvas(observer: Any) -> bool:
    """True if `on_start` needs three arguments, as in the first edition."""
    try:
        signature = inspect.signature(observer.on_start)
        return _takes(signature, 3) and not _takes(signature, 2)
    except (AttributeError, TypeError, ValueError):  # it has none, or one that Python cannot look into
        return False


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def _compared(observer: Observer, name: str, what: dict[str, Any]) -> None:
    """Call a method of an observer; raise an error if it has written into a tensor that it was told of."""
    from mdmkit.loop.arguments import Arguments  # these need torch, and a command that lists observers does not
    from mdmkit.loop.guard import wrote_into

    before = Arguments(**what)
    getattr(observer, name)(*what.values())
    if (changed := before.changed()) is not None:
        raise MdmkitError(wrote_into(f"observer {type(observer).__name__}", f"{changed} in {name}"))
