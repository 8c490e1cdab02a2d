"""The tasks and samplers of an evaluation, read by name and checked before anything is decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdmkit import MdmkitError, Prompt, Task, compose, read_prompts
from mdmkit.cli.commands import config_layer, default_registry, make_task, without_reference

if TYPE_CHECKING:
    from mdmkit import Backbone, Plan, Sampler


@dataclass(frozen=True)
class Asked:
    """A task and its prompts.

    Attributes:
        options: the options that the task was made with.
        origin: distribution and version of the task.
        items: the task's prompts, references included.
    """

    name: str
    task: Any
    options: dict[str, Any]
    origin: str
    items: list[Any]

    def get(self, attribute: str) -> Any:
        """An attribute of the task; if its class does not have it, the default of `Task`."""
        return getattr(self.task, attribute, getattr(Task, attribute))

    def prompts(self, seeds: Sequence[int]) -> list[Prompt]:
        """The prompts in the order of decoding: all for the first seed, then all for the second, …"""
        every = [read_prompts([without_reference(item) for item in self.items], seed) for seed in seeds]
        flat = [prompt for prompts in every for prompt in prompts]
        return [replace(prompt, index=index) for index, prompt in enumerate(flat)]


def ask(name: str, options: Mapping[str, Any], limit: int | None, seed: int) -> Asked:
    """Make a task and draw its prompts.

    Raises:
        MdmkitError: no task has this name, it has no such option, or it has fewer prompts.
    """
    parts = default_registry()
    part = parts.find("task", name)
    task = make_task(parts.load(part), name, options)
    if limit is None and not isinstance(task, Task):
        limit = getattr(task, "limit", Task.limit)
    try:
        items = list(task.prompts(limit, seed))
    except SystemExit as error:  # it would end the program without a word
        raise MdmkitError(f"task {name!r} of {part.origin} failed in prompts: SystemExit: {error}.") from error
    if not items:
        raise MdmkitError(f"task {name!r} gave no prompts.")
    return Asked(part.name, task, dict(options), part.origin, items)


def check(asked: Asked, backbone: Backbone, model: str, plan: Plan) -> None:
    """Refuse a model that cannot do a task.

    Raises:
        MdmkitError: says why.
    """
    answers = asked.get("answers")
    if hasattr(asked.task, "check"):
        asked.task.check(backbone)
    first = asked.prompts([0])[:1]
    try:
        canvas, _ = backbone.encode(first, plan)
    except MdmkitError as error:
        raise MdmkitError(f"task {asked.name!r} does not fit model {model}: {error}") from error
    fills = "text" if canvas.grid is None else "image"
    if fills != answers:
        raise MdmkitError(
            f"task {asked.name!r} judges {answers}s, and model {model} fills {fills}s: choose another task or another "
            "model."
        )


def sampler_for(asked: Asked, sampler: str, overrides: Sequence[str]) -> tuple[str, Sampler]:
    """Compose a preset, or a YAML file, with the task's settings; the file and `--set` override them.

    Returns:
        Its label, and the sampler.
    """
    settings = _settings(asked)
    if not sampler.endswith((".yaml", ".yml")):
        return sampler, compose(sampler, config=settings, overrides=overrides)
    path = Path(sampler)
    own = config_layer(path)[1]
    layered = dict(own)
    for section, values in settings.items():
        theirs = own.get(section)
        layered[section] = {**values, **theirs} if isinstance(theirs, Mapping) else theirs or dict(values)
    return path.stem, compose(config=layered, overrides=overrides)


def _settings(asked: Asked) -> dict[str, Any]:
    return {section: dict(values) for section, values in asked.get("settings").items()}
