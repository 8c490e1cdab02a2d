"""Who decodes the units of a decode: this process, or others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mdmkit.config.compose import instantiate
from mdmkit.config.resolution import part_of
from mdmkit.errors import MdmkitError
from mdmkit.installed.registry import default

if TYPE_CHECKING:
    from mdmkit.decoding.unit import Outcome
    from mdmkit.decoding.work import Work


class UnitEngine:
    """Decode the units of a decode: a frozen dataclass; its fields are its options.

    Attributes:
        remote: True if other processes decode the units. Observers would see no steps, so they are refused.
    """

    remote: ClassVar[bool] = False

    def __call__(self, work: Work) -> Iterator[Outcome]:
        """Decode each unit of `work` once; yield its outcome when it has ended, in any order.

        Take a unit only when it can be worked on. When the iterator is closed, all work must end.
        """
        raise NotImplementedError

    def opened(self) -> AbstractContextManager[object]:
        """Return a context for several decodes, one after the other: what one of them needs may stay for the next."""
        return nullcontext()


@dataclass(frozen=True)
class Here(UnitEngine):
    """Decode one unit after the other in this process."""

    def __call__(self, work: Work) -> Iterator[Outcome]:
        for unit in work:
            yield work.decode(unit)


EngineLike = str | Mapping[str, Any] | UnitEngine
HERE = Here()


def as_engine(engine: EngineLike) -> UnitEngine:
    """Make an engine from its name, or from a mapping with `name` and its options; return an instance unchanged.

    Raises:
        MdmkitError: there is no such engine, or it has no such option.
    """
    if isinstance(engine, str):
        engine = {"name": engine}
    if isinstance(engine, Mapping):
        options = {key: value for key, value in engine.items() if key != "name"}
        if not isinstance(engine.get("name"), str):
            raise MdmkitError(f"engine {dict(engine)!r} has no name: write it as in {{'name': 'here'}}.")
        registry = default()
        engine = instantiate(registry.find("engine", engine["name"]), options, registry)
    if isinstance(engine, type) or not callable(engine) or not isinstance(getattr(engine, "remote", False), bool):
        raise MdmkitError(
            f"engine {engine!r} must be a name, a mapping with `name` and options, or an instance of a dataclass that "
            "is called with the work and has `remote` True or False."
        )
    return engine


def is_remote(engine: UnitEngine) -> bool:
    """Return True if other processes decode the units."""
    return getattr(engine, "remote", False)


def opened(engine: UnitEngine) -> AbstractContextManager[object]:
    """Return the engine's context for several decodes; an engine need not have one."""
    open_ = getattr(engine, "opened", nullcontext)
    context: AbstractContextManager[object] = open_()
    return context


def named(engine: UnitEngine) -> str:
    """Return an engine's name and its plugin, for errors."""
    return str(part_of("engine", engine, default()))
