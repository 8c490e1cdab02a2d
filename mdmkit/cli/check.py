"""`mdmkit check`: try every installed part, and a model if one is named."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

import click

from mdmkit.cli.options import plugin_option
from mdmkit.config.resolution import STAGES
from mdmkit.errors import MdmkitError
from mdmkit.installed import registry
from mdmkit.installed.part import Part
from mdmkit.installed.registry import NotInstalled, Registry

if TYPE_CHECKING:
    from mdmkit.loop.sampler import Sampler


@click.command()
@click.argument("ref", required=False)
@plugin_option
def check(ref: str | None) -> None:
    """Import and instantiate every installed part; with REF also load that model and decode one of its samples.

    Prints one line each, and exits with 1 if anything fails.
    """
    found, failures = registry.default(), 0
    for plugin in found.broken:
        failures += _report("FAIL", f"plugin {plugin.distribution} {plugin.version}", plugin.reason)
    for part in found.parts:
        try:
            failures += _report("ok", str(part), try_part(part, found))
        except NotInstalled as error:
            failures += _report("skip", str(part), f"needs {error.distribution}: pip install {error.distribution}")
        except Exception as error:
            failures += _report("FAIL", str(part), _say(error))
    if ref is not None:
        try:
            failures += _report("ok", f"model {ref}", try_model(ref, found))
        except Exception as error:
            failures += _report("FAIL", f"model {ref}", _say(error))
    if failures:
        click.echo(f"{failures} failed.", err=True)
        sys.exit(1)


def try_part(part: Part, found: Registry) -> str:
    """Use one part as far as possible without a model; return a remark about it."""
    if part.kind == "sampler":
        from mdmkit.config.compose import compose

        compose(f"{part.distribution}:{part.name}", registry=found)
        return ""
    if part.kind in (*STAGES, "engine"):
        from mdmkit.config.compose import instantiate

        cls = found.load(part)
        required = _required(cls)
        if required and isinstance(cls, type):
            return f"imported; it needs values for {', '.join(required)}"
        instantiate(part, {}, found)
        return ""
    target = found.load(part)
    if part.kind == "command" and not isinstance(target, click.Command):
        raise MdmkitError(f"it is {target!r}, and must be a click command.")
    if part.kind == "backbone":
        _check_backbone(target)
    if part.kind in ("observer", "task"):
        _instantiate(target)
    return ""


def try_model(ref: str, found: Registry) -> str:
    """Load a model and decode one of its samples with a minimal sampler.

    Raises:
        MdmkitError: it cannot be loaded, no score or select is installed, or a mask is left at the end.
    """
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.loop.whole import fill_canvas
    from mdmkit.model.loading import load

    backbone = load(ref, registry=found)
    sampler = _minimal_sampler(found, None if backbone.length else 8)
    # A model without samples fills eight masks.
    prompt = Prompt(text=backbone.samples[0]) if backbone.samples else Prompt(ids=(), length=8)
    canvas, conditioning = backbone.encode([prompt], sampler.plan)
    filled, trace = fill_canvas(sampler, backbone, canvas, conditioning)
    left = int(filled.open.sum())
    if left:
        raise MdmkitError(f"{left} masks are left after decoding {prompt}.")
    count = int(canvas.open.sum())
    return f"{count} masks filled in {int(trace.rows.sum())} forwards by {sampler.name}: {backbone.decode(filled)[0]!r}"


def _minimal_sampler(found: Registry, length: int | None) -> Any:
    """The first score and the first greedy select that are installed."""
    from mdmkit.config.compose import compose, instantiate

    scores, selects = found.of_kind("score"), found.of_kind("select")
    for kind, parts in (("score", scores), ("select", selects)):
        if not parts:
            raise MdmkitError(
                f"no {kind} is installed, so nothing can be decoded: pip install mdmkit-heuristics brings one."
            )
    greedy = next(
        (p for p in selects if not _required(found.load(p)) and _alternatives(instantiate(p, {}, found)) == 1), None
    )
    if greedy is None:
        raise MdmkitError(
            "every installed select needs a lookahead or parameters: pip install mdmkit-heuristics brings a greedy one."
        )
    score = next((part for part in scores if not _required(found.load(part))), None)
    if score is None:
        raise MdmkitError(
            "every installed score needs parameters: pip install mdmkit-heuristics brings one that needs none."
        )
    names = {part.kind: f"{part.distribution}:{part.name}" for part in (score, greedy)}
    sampler: Sampler = compose(registry=found, plan={"length": length}, **names)
    return sampler


def _alternatives(select: Any) -> int:
    return getattr(select, "alternatives", 1)


def _check_backbone(cls: Any) -> None:
    lacking = [name for name in ("load", "accepts") if not callable(getattr(cls, name, None))]
    if lacking:
        raise MdmkitError(f"it is {cls!r}, and lacks {' and '.join(lacking)}: subclass mdmkit.Backbone.")
    if inspect.isabstract(cls):
        raise MdmkitError(f"{cls.__name__} lacks: {', '.join(sorted(cls.__abstractmethods__))}.")


def _instantiate(cls: Any) -> None:
    if callable(cls) and not _required(cls):
        cls()


def _required(cls: Any) -> list[str]:
    """Parameters without a default."""
    given = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(cls).parameters.values()
    return [p.name for p in parameters if p.default is inspect.Parameter.empty and p.kind not in given]


def _report(verdict: str, what: str, detail: str) -> int:
    """Print one line; return 1 for a failure."""
    click.echo(f"{verdict:<4} {what}{': ' + detail if detail else ''}")
    return int(verdict == "FAIL")


def _say(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, MdmkitError) else f"{type(error).__name__}: {text}"
