"""Run a part's code so that whatever goes wrong in it is one error that names the part, its plugin and the step."""

from __future__ import annotations

import math
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mdmkit.errors import FAILURES, MdmkitError, told
from mdmkit.loop.arguments import Arguments
from mdmkit.stage.shifted import Shifted
from mdmkit.stage.traits import trait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdmkit.canvas.canvas import Canvas
    from mdmkit.loop.sampler import Sampler
    from mdmkit.stage.actions import Actions
    from mdmkit.stage.step import Step

# The last tick at which the arguments of a part are compared. Comparing costs time, and most parts that write there do
# so in every step.
_last_watched: ContextVar[float] = ContextVar("_last_watched", default=1)
# The tensors of a canvas that no commit may change, and the settings of it.
_FIXED, _SETTINGS = ("seed", "infill", "surplus"), ("mask_id", "grid", "block", "room")


class PartError(MdmkitError):
    """An error that names its part already."""


class Wrong(Exception):
    """What a part returned has a wrong shape or type. `Guarded` turns it into a `PartError`."""


def named(sampler: Sampler, kind: str) -> str:
    """Name a part for an error: its kind, its class, and its plugin."""
    part = sampler.config.get("parts", {}).get(kind)
    origin = f" (of {part['distribution']} {part['version']})" if part else ""
    return f"{kind} {type(getattr(sampler, kind)).__name__}{origin}"


class Guarded:
    """Turn an exception in a part's code into one that names the part, its plugin and the step.

    with Guarded(sampler, "score", tick, step=step):
        scores = floats(sampler.score(step), step.open.shape)

    Args:
        arguments: what the part gets and may not write into, by name. It is compared in the first steps only.
    """

    def __init__(self, sampler: Sampler, kind: str, tick: int, **arguments: Any):
        self.sampler, self.kind, self.tick = sampler, kind, tick
        self.arguments = Arguments(**arguments) if arguments and tick <= _last_watched.get() else None

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None:
            self._compare()
        if not isinstance(error, FAILURES) or isinstance(error, PartError | torch.OutOfMemoryError):
            return
        who, at = named(self.sampler, self.kind), self._at
        if isinstance(error, Wrong):
            raise PartError(f"{who} returned {error} This was {at}.") from None
        if isinstance(error, MdmkitError):
            raise PartError(f"{who} failed {at}: {' '.join(str(error).split())}") from error
        raise PartError(f"{who} failed {at}: {told(error)}. See the part's own code, or run with --debug.") from error

    def _compare(self) -> None:
        """Raise an error if the part has written into one of its arguments."""
        changed = None if self.arguments is None else self.arguments.changed()
        if changed is not None:
            raise PartError(wrote_into(named(self.sampler, self.kind), f"{changed} {self._at}"))

    @property
    def _at(self) -> str:
        return f"at tick {self.tick} (a row's step, from 0)"


def wrote_into(who: str, what: str) -> str:
    """The text of an error: a part or an observer has written into one of its arguments."""
    return (
        f"{who} has written into {what}. Others read the same tensor, so it must stay as it is: write x.masked_fill(…) "
        "instead of x.masked_fill_(…), and x.clone() before x[…] = …."
    )


class Preparing:
    """Turn an exception in a part's code before the first step into one that names the part, its plugin and the method.

    with Preparing(sampler, "score", "fits"):
        sampler.score.fits(backbone)
    """

    def __init__(self, sampler: Sampler, kind: str, method: str):
        self.sampler, self.kind, self.method = sampler, kind, method

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        who = named(self.sampler, self.kind)
        if isinstance(error, Wrong):
            raise PartError(f"{who} returned {error}") from None
        if not isinstance(error, FAILURES) or isinstance(error, MdmkitError | torch.OutOfMemoryError):
            return
        raise PartError(
            f"{who} failed in {self.method}: {told(error)}. See the part's own code, or run with --debug."
        ) from error


@contextmanager
def watched_throughout() -> Iterator[None]:
    """Compare the arguments of parts in every step, not only in the first two: for a check of a part."""
    before = _last_watched.set(math.inf)
    try:
        yield
    finally:
        _last_watched.reset(before)


# -- shapes and types; the host knows them without a transfer ----------------------------------------------------------


def floats(result: Any, shape: torch.Size) -> Tensor:
    """Return a stage's result if it is a float tensor of this shape; otherwise raise `Wrong`."""
    if not isinstance(result, Tensor) or result.shape != shape or not result.is_floating_point():
        raise Wrong(f"{got(result)}; it must return a float tensor of shape {list(shape)}.")
    return result


def shaped(result: Any, given: Tensor) -> Tensor | Shifted:
    """Return what a constraint made of logits if it has their shape; otherwise raise `Wrong`."""
    if not isinstance(result, Shifted):
        return floats(result, given.shape)
    size = result.values.shape[:-1]
    of_stats = [] if result.known is None else list(vars(result.known).values())
    if result.shape != given.shape or size != given.shape[:-1] or any(x.shape != size for x in of_stats):
        raise Wrong(
            f"Shifted with logits {list(result.shape)} and values {list(result.values.shape)}; the logits must be "
            f"{list(given.shape)}, and values and statistics must be of the same positions."
        )
    return result


def flags(result: Any, rows: int) -> Tensor:
    """Return a stop rule's result if it is one flag per row; otherwise raise `Wrong`."""
    if not isinstance(result, Tensor) or result.dtype != torch.bool or result.shape != (rows,):
        raise Wrong(f"{got(result)}; it must return a bool tensor of shape [{rows}].")
    return result


def indices(result: Any, rows: int, what: str = "") -> Tensor:
    """Return a result if it is one index per row; otherwise raise `Wrong`."""
    if not isinstance(result, Tensor) or result.dtype != torch.int64 or result.shape != (rows,):
        raise Wrong(f"{got(result)}{what}; it must return an int64 tensor of shape [{rows}]{what}.")
    return result


def moves(result: Any, particles: int) -> tuple[Tensor, Tensor]:
    """Return parents and choice if a search returned both; otherwise raise `Wrong`."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise Wrong(f"{got(result)}; it must return parents and choice, two int64 tensors of shape [{particles}].")
    return indices(result[0], particles, " as parents"), indices(result[1], particles, " as choice")


def proposed(sampler: Sampler, actions: Any, step: Step) -> Actions:
    """Return actions of the right shapes and types, with as many alternatives as declared; otherwise raise `Wrong`."""
    b, w = step.open.shape
    if not all(hasattr(actions, name) for name in ("place", "tokens", "live", "steps")):
        raise Wrong(
            f"{got(actions)}; it must return mdmkit.Actions: place bool and tokens int64 [{b}, N, {w}], live bool "
            f"[{b}, N]. mdmkit.Actions.single(place, tokens) makes them of one alternative per row."
        )
    for name, dtype, last in (("place", torch.bool, w), ("tokens", torch.int64, w), ("live", torch.bool, None)):
        _one_of(actions, name, getattr(actions, name, None), dtype, b, last)
    if actions.steps is not None:
        _one_of(actions, "steps", actions.steps, torch.int64, b, None)
    n, most = actions.live.shape[1], trait("select", sampler.select, "alternatives")
    if n < 1:
        raise Wrong("no alternative for any row; it must return at least one, with live False for a row without any.")
    if n > most:
        raise Wrong(
            f"{n} alternatives, and the trait `alternatives` of the select is {most}: there may be no more than that."
        )
    result: Actions = actions
    return result


def _one_of(actions: Any, name: str, x: Any, dtype: torch.dtype, b: int, w: int | None) -> None:
    """Refuse one tensor of the actions. All have the N of `live`."""
    live = getattr(actions, "live", None)
    n = live.shape[1] if isinstance(live, Tensor) and live.dim() == 2 else -1
    shape = (b, n) if w is None else (b, n, w)
    if not isinstance(x, Tensor) or x.dtype != dtype or x.shape != shape:
        wanted = f"[{b}, N]" if w is None else f"[{b}, N, {w}]"
        raise Wrong(
            f"{got(x)} as {name}; it must return mdmkit.Actions, with {name} {str(dtype).removeprefix('torch.')} "
            f"{wanted}."
        )


def canvas_of(result: Any, before: Canvas) -> Canvas:
    """Return a commit's result if it is a canvas of the step's rows; otherwise raise `Wrong`."""
    rows, types = len(before.tokens), {"tokens": torch.int64}
    for name in ("tokens", "open", "editable", "valid"):
        x, dtype = getattr(result, name, None), types.get(name, torch.bool)
        if not isinstance(x, Tensor) or x.shape != before.tokens.shape or x.dtype != dtype:
            shown = got(result) if x is None else f"a canvas with {got(x)} as {name}"
            raise Wrong(
                f"{shown}; it must return a Canvas of {rows} rows, {name} "
                f"{str(dtype).removeprefix('torch.')} {list(before.tokens.shape)}, such as "
                "step.canvas.filled(place, tokens)."
            )
    for name in (*_FIXED, *_SETTINGS):
        now, then = getattr(result, name, None), getattr(before, name)
        if now is then or (not isinstance(then, Tensor) and now == then):
            continue
        if not isinstance(now, Tensor) or not isinstance(then, Tensor) or not torch.equal(now, then):
            raise Wrong(f"a canvas with another `{name}`, which no commit may change.")
    canvas: Canvas = result
    return canvas


def got(result: Any) -> str:
    """Describe what was returned: a tensor by its type and shape, anything else by its class."""
    if isinstance(result, Tensor):
        return f"{str(result.dtype).removeprefix('torch.')} {list(result.shape)}"
    return "None" if result is None else f"a {type(result).__name__}"
