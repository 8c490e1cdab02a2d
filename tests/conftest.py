"""Fake distributions: real metadata and packages in a temporary folder, so that nothing need be installed."""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from skipping import pytest_configure  # noqa: F401  (a hook of pytest)

from mdmkit.installed import registry as registry_module
from mdmkit.installed.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mdmkit.testing.contract import Contract

ROOT = Path(__file__).resolve().parents[1]
# mdmkit-constrain keeps nothing on disk for the next run.
os.environ["MDMKIT_CONSTRAIN_CACHE"] = "off"

# A distribution with one part of each kind. Its modules import torch, as real ones do.
TOY = {
    "toy_parts/__init__.py": "",
    "toy_parts/plugin.py": """
        from mdmkit import Component, hookimpl

        @hookimpl
        def mdmkit_score():
            return [
                Component("likely", "toy_parts.stages:Likely", "probability of the best token"),
                Component("tilted", "toy_parts.stages:Tilted", "one with parameters of every type"),
            ]

        @hookimpl
        def mdmkit_select():
            return [
                Component("best", "toy_parts.stages:Best", "the best positions"),
                Component("fork", "toy_parts.stages:Fork", "the best, and another"),
            ]

        @hookimpl
        def mdmkit_lookahead():
            return [Component("sure", "toy_parts.stages:Sure", "least entropy afterwards")]

        @hookimpl
        def mdmkit_sampler():
            return [
                Component("plain", "toy_parts:presets/plain.yaml", "the best positions first"),
                Component("forked", "toy_parts:presets/forked.yaml", "two candidates"),
            ]

        @hookimpl
        def mdmkit_backbone():
            return [Component("toy", "toy_parts.backbone:Toy", "hidden states from a table")]

        @hookimpl
        def mdmkit_command():
            return [Component("greet", "toy_parts.command:greet", "say hello")]
        """,
    "toy_parts/stages.py": """
        from __future__ import annotations

        from dataclasses import dataclass, field
        from typing import ClassVar, Literal

        import torch

        from mdmkit import Actions, ops

        @dataclass(frozen=True)
        class Likely:
            def __call__(self, step):
                return step.confidence

        @dataclass(frozen=True)
        class Tilted:
            weight: float = 1.0
            order: int | None = None
            mode: Literal["up", "down"] = "up"
            label: str = "x"
            strict: bool = False
            ids: tuple[int, ...] = ()
            bias: dict[int, float] = field(default_factory=dict)
            scale: float = -torch.pi
            _kinds: ClassVar[int] = 3

            def __post_init__(self):
                if self.weight < 0:
                    raise ValueError("weight is negative")

            def __call__(self, step):
                return step.confidence * self.weight

        @dataclass(frozen=True)
        class Best:
            temperature: float = 0.0

            def __call__(self, step, scores):
                return Actions.single(ops.top(scores, step.open, step.quota), step.tokens)

        @dataclass(frozen=True)
        class Fork:
            candidates: int = 2
            spread: float = 0.1

            @property
            def alternatives(self):
                return self.candidates

            def __call__(self, step, scores):
                place = ops.top(scores, step.open, step.quota)
                last = ops.top(-scores, step.open, step.quota)
                places = torch.stack((place, last), 1)[:, : self.candidates]
                live = places.any(-1)
                live[:, 1:] &= (place != last).any(-1)[:, None]
                return Actions(places, step.tokens[:, None].expand_as(places), live)

        @dataclass(frozen=True)
        class Sure:
            scope: str = "block"

            def __call__(self, step, actions, look):
                after = step.open[:, None] & ~actions.place
                return -(look(lambda belief: belief.entropy) * after).sum(-1)
        """,
    "toy_parts/backbone.py": """
        import torch

        from mdmkit import Backbone, Output
        from mdmkit.canvas.layout import lay_out

        class Toy(Backbone):
            mask_id, vocab, length = 0, 6, 5
            samples = ("1 2",)

            @classmethod
            def accepts(cls, ref):
                return ref.startswith("toys/")

            @classmethod
            def load(cls, ref, *, device, dtype, **options):
                model = cls()
                model.ref, model.dtype, model.options, model.device = ref, dtype, options, torch.device(device)
                return model

            def encode(self, prompts, plan):
                before = [p.ids if p.ids is not None else [int(i) for i in p.text.split()] for p in prompts]
                canvas = lay_out(prompts, before, [[] for _ in prompts], mask_id=0, pad_id=0, vocab=6,
                                 plan_length=plan.length, default_length=self.length, max_length=64)
                return canvas, None

            def forward(self, tokens, valid, conditioning, *, positions, cache=None, **more):
                sines = (tokens + positions * 7 % 5).double().sin()
                return Output(torch.stack((sines, tokens.double()), -1).float())

            def project(self, hidden):
                return (hidden[..., :1] + 1) * torch.arange(6.0) * 0.3

            def decode(self, canvas):
                return [" ".join(map(str, row.tolist())) for row in canvas.tokens]
        """,
    "toy_parts/command.py": """
        import click

        @click.command()
        def greet():
            click.echo("hello")
        """,
    "toy_parts/presets/plain.yaml": """
        # mdmkit decode --sampler plain
        paper: "A Plain Paper"
        arxiv: ["2502.09992"]
        note: "The simplest there is."
        score: likely
        select: {name: best, temperature: 0.5}
        plan: {length: 12, tokens_per_step: 2}
        draw: {penalty: {5: 1.5}}
        """,
    "toy_parts/presets/forked.yaml": """
        score: likely
        select: {name: fork, candidates: 2, spread: 0.2}
        lookahead: {name: sure, scope: sequence}
        """,
}


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """Thousands of tests are made here, and none of them is garbage: nothing looks through them, now or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


class Site:
    """A folder of fake distributions that is on the import path."""

    def __init__(self, path: Path):
        self.path = path

    def add(
        self,
        distribution: str,
        files: dict[str, str],
        *,
        version: str = "1.0",
        plugin: str | None = None,
        requires: tuple[str, ...] = (),
    ) -> None:
        """Write a distribution's files and metadata; `plugin` is the module of its entry point."""
        for name, text in files.items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text).lstrip("\n"))
        info = self.path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {distribution}", f"Version: {version}"]
        info.joinpath("METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {r}" for r in requires)]) + "\n")
        if plugin is not None:
            info.joinpath("entry_points.txt").write_text(f"[mdmkit]\n{distribution} = {plugin}\n")
        importlib.invalidate_caches()

    def registry(self) -> Registry:
        """A registry of these distributions only."""
        found = importlib.metadata.distributions(path=[str(self.path)])
        return Registry([point for dist in found for point in dist.entry_points if point.group == "mdmkit"])


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield Site(folder)
    for name in set(sys.modules) - before:
        if str(tmp_path) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


@pytest.fixture
def toy(site: Site) -> Site:
    """The site with distribution `toy` 1.0 on it."""
    site.add("toy", TOY, plugin="toy_parts.plugin")
    return site


@pytest.fixture
def installed(toy: Site, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The process's registry, holding `toy` and the core only."""
    registry = toy.registry()
    monkeypatch.setattr(registry_module, "_default", registry)
    return registry


@pytest.fixture
def imports_of(toy: Site) -> Callable[..., tuple[str, list[str]]]:
    """Run a command line in a process of its own; return its output and the modules that it imported."""

    def run(*args: str) -> tuple[str, list[str]]:
        code = (
            "import sys, json\nfrom mdmkit.cli import main\n"
            "try:\n    main(sys.argv[1:])\n"
            "except SystemExit as end:\n"
            "    print('\\n' + json.dumps([end.code, sorted(sys.modules)]))\n"
        )
        env = os.environ | {"PYTHONPATH": os.pathsep.join((str(toy.path), str(ROOT))), "COLUMNS": "160"}
        done = subprocess.run([sys.executable, "-c", code, *args], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        output, _, last = done.stdout.rstrip("\n").rpartition("\n")
        exit_code, modules = json.loads(last)
        assert exit_code == 0, done.stderr
        return output, modules

    return run


@pytest.fixture
def broken_laws() -> Callable[[Contract], list[str]]:
    """Run every test of a suite; return the names of those that fail."""

    def run(suite: Contract) -> list[str]:
        failed = []
        for law in [name for name in dir(suite) if name.startswith("test_")]:
            try:
                getattr(suite, law)()
            except pytest.skip.Exception:
                continue
            except (AssertionError, pytest.fail.Exception):
                failed.append(law)
        return failed

    return run
