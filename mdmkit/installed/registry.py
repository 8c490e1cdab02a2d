"""Which parts are installed, and which distribution brings each.

The registry walks the entry points of group `mdmkit` itself, one distribution at a time, so that a broken plugin is set
aside and the rest still works. Nothing is imported beyond the plugin modules until a part is used.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pluggy

from mdmkit.errors import FAILURES, MdmkitError, unknown
from mdmkit.installed import builtin, hookspecs
from mdmkit.installed.anew import anew, will_load
from mdmkit.installed.hookspecs import Component
from mdmkit.installed.loaded import loaded_by
from mdmkit.installed.part import Broken, Part
from mdmkit.installed.plugin_file import fingerprint, own_target, run_file, target_files
from mdmkit.installed.same_name import own_names
from mdmkit.installed.target import fetch, normal
from mdmkit.version import __version__

GROUP = "mdmkit"
KINDS = tuple(name.removeprefix("mdmkit_") for name in vars(hookspecs) if name.startswith("mdmkit_"))


class NotInstalled(MdmkitError):
    """A name that belongs to a distribution of this project that is not installed."""

    def __init__(self, message: str, distribution: str):
        super().__init__(message)
        self.distribution = distribution

    def __reduce__(self) -> tuple[type[NotInstalled], tuple[str, str]]:
        # Without this, pickle would make the error from its message alone.
        return NotInstalled, (str(self), self.distribution)


class Registry:
    """The parts of the installed distributions, of files added by hand, and of the core.

    Args:
        entry_points: the entry points to read; None: all that are installed.
    """

    def __init__(self, entry_points: Iterable[metadata.EntryPoint] | None = None):
        self._entry_points = entry_points
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._parts: tuple[Part, ...] = ()
        self._named: dict[str, dict[str, list[Part]]] = {}  # kind -> name -> one part of each distribution
        self._broken: list[Broken] = []
        self._files: dict[str, Path] = {}
        self._walked = False

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every part, by kind, name and distribution."""
        self._walk()
        return self._parts

    @property
    def broken(self) -> tuple[Broken, ...]:
        """The plugins that were set aside."""
        self._walk()
        return tuple(self._broken)

    @property
    def files(self) -> tuple[Path, ...]:
        """The plugin files that were added, as absolute paths."""
        return tuple(self._files.values())

    def of_kind(self, kind: str) -> tuple[Part, ...]:
        self._walk()
        return tuple(part for parts in self._named.get(kind, {}).values() for part in parts)

    def find(self, kind: str, name: str) -> Part:
        """Look up `name`, or `distribution:name` if two distributions use the same name.

        Raises:
            NotInstalled: the name belongs to a distribution of this project that is not installed.
            MdmkitError: no part has this name, or parts of several distributions have it.
        """
        self._walk()
        named = self._named.get(kind, {})
        found = named.get(name, [])
        if not found and ":" in name:
            distribution, _, bare = name.rpartition(":")
            found = [part for part in named.get(bare, ()) if normal(part.distribution) == normal(distribution)]
        if not found:
            raise self._unknown(kind, name)
        if len(found) > 1:
            raise MdmkitError(
                f"{kind} {name!r} is the name of {len(found)} parts: of {' and of '.join(p.origin for p in found)}. "
                f"Say which: {' or '.join(f'{p.distribution}:{p.name}' for p in found)}."
            )
        return found[0]

    def load(self, part: Part) -> Any:
        """Import a part's target, or return the object that the plugin gave.

        Raises:
            MdmkitError: the import fails. The error names what is missing, and the pip line that installs it.
        """
        return fetch(part.target, str(part), part.distribution) if isinstance(part.target, str) else part.target

    def add_file(self, path: str | Path) -> None:
        """Add the plugin in a single Python file, listed as distribution `file:NAME.py`. Adding it again reloads it.

        If a module that a plugin file loaded was edited since, all such modules are loaded anew. So are the modules of
        its folder that it imports and that the program had before.

        Raises:
            MdmkitError: the file cannot be read or imported, or registers nothing; or it imports a module of its
                folder, and another module has its name.
        """
        self._walk()
        file = Path(path)
        if not file.is_file():
            what = "is a directory" if file.is_dir() else "is not a file" if file.exists() else "does not exist"
            raise MdmkitError(f"plugin file {str(path)!r} {what}. Give the path of a Python file with hooks in it.")
        distribution = f"file:{file.name}"
        if self._files.get(distribution, file.resolve()) != file.resolve():
            distribution = f"file:{path}"
        self._index(part for part in self._parts if part.distribution != distribution)
        if self._manager.has_plugin(distribution):
            self._manager.unregister(name=distribution)
        self._files[distribution] = file.resolve()
        known = {
            "mdmkit",
            "__main__",
            "__mp_main__",
            *(getattr(p, "__name__", "").partition(".")[0] for p in self._manager.get_plugins()),
        }
        try:
            if file.suffix != ".py":
                raise MdmkitError("it is not a Python file (its name must end in .py).")
            with anew(file, known):
                before = {*sys.modules}
                with own_names(file, self._others(distribution), known):
                    module = run_file(file)
                    parts = self._register(module, distribution, "")  # its hooks may load modules, too
                known |= {module.__name__}
                targets = target_files(parts, file, known)
                will_load(targets)
                version = fingerprint(file, [*loaded_by(module, before, known), *targets])
            own = (own_target(replace(part, version=version), module, file) for part in parts)
            self._index([*self._parts, *own])
        except FAILURES as error:
            raise MdmkitError(f"plugin file {path} cannot be used: {_reason(error)}") from error

    def _others(self, distribution: str) -> list[Path]:
        """The plugin files that are in use, except this one."""
        return [file for d, file in self._files.items() if d != distribution and self._manager.has_plugin(d)]

    def _walk(self) -> None:
        if self._walked:
            return
        self._walked = True
        self._index(self._register(builtin, "mdmkit", __version__))
        found = metadata.entry_points(group=GROUP) if self._entry_points is None else self._entry_points
        for point in sorted(found, key=lambda p: (p.dist.name if p.dist else "", p.name)):
            distribution, version = (point.dist.name, point.dist.version) if point.dist else (point.name, "unknown")
            try:
                self._index([*self._parts, *self._register(point.load(), distribution, version)])
            except FAILURES as error:
                self._broken.append(Broken(distribution, version, _reason(error)))

    def _index(self, parts: Iterable[Part]) -> None:
        """Store these parts, sorted, and by kind and name, so that no look-up reads all of them."""
        self._parts = tuple(sorted(parts, key=lambda p: (KINDS.index(p.kind), p.name, p.distribution)))
        self._named = {}
        for part in self._parts:
            self._named.setdefault(part.kind, {}).setdefault(part.name, []).append(part)

    def _register(self, plugin: Any, distribution: str, version: str) -> list[Part]:
        """Register one plugin and list its parts. If it is wrong in any way, none of it is registered."""
        name = distribution
        while self._manager.has_plugin(name):  # one distribution may have several entry points
            name += "+"
        try:
            self._manager.register(plugin, name)
            self._check_hooks(plugin)
            return list(self._collect(plugin, distribution, version))
        except BaseException:
            if self._manager.get_plugin(name) is plugin:
                self._manager.unregister(name=name)
            raise

    def _check_hooks(self, plugin: Any) -> None:
        callers = self._manager.get_hookcallers(plugin) or []
        if not callers:
            raise MdmkitError("it has no function marked @mdmkit.hookimpl.")
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            wrong = next((caller.name for caller in callers if not caller.has_spec()), str(error))
            raise MdmkitError(unknown("hook", wrong, (f"mdmkit_{kind}" for kind in KINDS))) from error

    def _collect(self, plugin: Any, distribution: str, version: str) -> Iterator[Part]:
        seen = set()
        for caller in self._manager.get_hookcallers(plugin) or []:
            kind = caller.name.removeprefix("mdmkit_")
            for impl in caller.get_hookimpls():
                if impl.plugin is not plugin:
                    continue
                listed = impl.function()
                if not isinstance(listed, Iterable):
                    raise MdmkitError(f"{caller.name} must return a list of components, and returned {listed!r}.")
                for component in listed:
                    _check_component(component, caller.name)
                    if (kind, component.name) in seen:
                        raise MdmkitError(f"it registers {kind} {component.name!r} twice.")
                    seen.add((kind, component.name))
                    yield Part(kind, component.name, component.target, component.summary, distribution, version)

    def _unknown(self, kind: str, name: str) -> MdmkitError:
        message = unknown(kind, name, {part.name for part in self.of_kind(kind)}, known_as="Installed")
        present = {normal(part.distribution) for part in self._parts} | {normal(b.distribution) for b in self._broken}
        owner = next(
            (d for d, names in first_party().items() if name in names.get(kind, ()) and d not in present), None
        )
        if owner:
            message += f" pip install {owner} provides it."
        if self._broken:
            aside = "; ".join(f"{b.distribution} {b.version} ({b.reason.rstrip('.')})" for b in self._broken)
            message += f" Set aside as broken: {aside}."
        return NotInstalled(message, owner) if owner else MdmkitError(message)


def first_party() -> dict[str, dict[str, list[str]]]:
    """The parts of this project's own distributions: distribution -> kind -> names."""
    return json.loads(Path(__file__).with_name("first_party.json").read_text(encoding="utf-8"))


def _check_component(component: Any, hook: str) -> None:
    if not isinstance(component, Component):
        raise MdmkitError(f"{hook} must list Component(name, target, summary), and one of its items is {component!r}.")
    name, target = component.name, component.target
    if not isinstance(name, str) or not name or set(name) & set(": \t\n"):
        raise MdmkitError(f"{hook} has a component named {name!r}: a name is a word without spaces and colons.")
    if isinstance(target, str) and not all(target.partition(":")):
        raise MdmkitError(
            f"{hook}: the target of {name!r} is {target!r}, which is not of the form 'package.module:Attr'."
        )


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, MdmkitError) else f"{type(error).__name__}: {text}"


_default: Registry | None = None


def default() -> Registry:
    """The registry of this process. It is filled once, on first use."""
    global _default
    if _default is None:
        _default = Registry()
    return _default
