"""A task: prompts, and a judge of the answers."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mdmkit._gone import names_gone
from mdmkit.errors import MdmkitError, shown, unknown

if TYPE_CHECKING:
    from mdmkit.decoding.prompts import PromptLike
    from mdmkit.model.backbone import Backbone

# What `judge` says: right or wrong, a number, or several of which "score" is the one that samplers are compared by.
Verdict = bool | float | Mapping[str, float]

# A prompt's key that the judge reads and the model never sees.
REFERENCE = "reference"


class JudgeDown(MdmkitError):
    """The judge cannot be reached now: answers are kept, and judged when the same command runs again."""


class Task(ABC):
    """Prompts and a judge. `__init__`'s keyword arguments are the task's options.

    Attributes:
        limit: prompts that are drawn where nobody says how many.
        settings: sections of the sampler's configuration that suit the task; the user's own win.
        measure: what a score is, for tables and plots.
        answers: `text`, or `image`: models that fill something else are refused.
        places: options that say where something is: they may change between runs that go on with each other.
    """

    limit: int = 100
    settings: Mapping[str, Mapping[str, Any]] = {}
    measure: str = "solved"
    answers: str = "text"
    places: tuple[str, ...] = ()

    @abstractmethod
    def prompts(self, count: int | None, seed: int) -> Sequence[PromptLike]:
        """Draw `count` prompts (None: `limit`, or as many as there are) from a seed, as `mdmkit.decode` takes them.

        A prompt may be a mapping with one key more, `reference`: what the judge compares with.
        """

    @abstractmethod
    def judge(self, prompt: PromptLike, answer: Any) -> Verdict:
        """Say how good the decoded answer to one of these prompts is.

        Raises:
            JudgeDown: the judge is elsewhere, and cannot be reached.
        """

    def check(self, backbone: Backbone) -> None:  # noqa: B027 (to be overridden where there is something to check)
        """Refuse a model that cannot take these prompts.

        Raises:
            MdmkitError: says why, and which model can.
        """


def make_task(cls: Any, name: str, options: Mapping[str, Any]) -> Any:
    """Make a task of its class, or take a ready one, with options by keyword.

    Raises:
        MdmkitError: the class takes no such option, or lacks a method.
    """
    for method in ("prompts", "judge"):
        if not callable(getattr(cls, method, None)):
            raise MdmkitError(f"task {name!r} is {cls!r}, which has no {method}(…): see the page on the hook `task`.")
    if not isinstance(cls, type):
        known: list[str] = []
    else:
        takes = inspect.signature(cls).parameters.values()
        known = [p.name for p in takes if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    for key in options:
        if key not in known:
            raise MdmkitError(unknown(f"option of task {name!r}:", key, known))
    return cls(**options) if isinstance(cls, type) else cls


def without_reference(prompt: PromptLike) -> PromptLike:
    """Take from a prompt what only the judge may see."""
    if isinstance(prompt, Mapping):
        return {key: value for key, value in prompt.items() if key != REFERENCE}
    return prompt


def read_verdict(verdict: Verdict) -> dict[str, float]:
    """Read a verdict: its score, and whatever else was measured.

    Raises:
        MdmkitError: it is none.
    """
    if isinstance(verdict, Mapping) and "score" in verdict:
        return {str(key): float(value) for key, value in verdict.items()}
    if isinstance(verdict, bool | int | float):
        return {"score": float(verdict)}
    raise MdmkitError(f"a judge says True, False, a number or {{'score': …}}, and this one said {shown(verdict)}.")


__getattr__ = names_gone("task")
