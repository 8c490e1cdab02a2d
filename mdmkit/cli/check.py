"""`mdmkit check`: try every installed part, and a model if one is named."""

from __future__ import annotations

import inspect
import json
import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from mdmkit._gone import names_gone
from mdmkit.cli import checkup
from mdmkit.cli.options import model_option, plugin_option
from mdmkit.config.resolution import STAGES
from mdmkit.errors import MdmkitError
from mdmkit.installed import registry
from mdmkit.installed.part import Part
from mdmkit.installed.registry import NotInstalled, Registry
from mdmkit.model.finding import Finding

if TYPE_CHECKING:
    from mdmkit.loop.sampler import Sampler


@click.command()
@click.argument("ref", required=False)
@plugin_option
@model_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def check(ref: str | None, model_options: dict[str, Any], as_json: bool) -> None:
    """Import and instantiate every installed part. With REF also check that model.

    The model's config and weights are compared as far as its backbone can. Then come a forward, the same with padding
    and in a batch, and a decode of a sample.

    Prints one line each, and exits with 1 if anything fails.
    """
    found = registry.default()
    findings = [Finding(f"plugin {each.distribution} {each.version}", "FAIL", each.reason) for each in found.broken]
    findings += [_tried(part, found) for part in found.parts]
    if ref is not None:
        findings += check_model(ref, found, model_options)
    failures = sum(finding.verdict == "FAIL" for finding in findings)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False))
    else:
        for each in findings:
            click.echo(f"{each.verdict:<4} {each.subject}{': ' + each.detail if each.detail else ''}")
    if failures:
        click.echo(f"{failures} failed.", err=True)
        sys.exit(1)


def _tried(part: Part, found: Registry) -> Finding:
    try:
        return Finding(str(part), "ok", try_part(part, found))
    except NotInstalled as error:
        return Finding(str(part), "skip", f"needs {error.distribution}: pip install {error.distribution}")
    except Exception as error:
        return Finding(str(part), "FAIL", _say(error))


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


def check_model(ref: str, found: Registry, options: dict[str, Any]) -> list[Finding]:
    """Load a model, and check it; the last line is that of a decode."""
    from mdmkit.model.loading import load

    try:
        backbone = load(ref, registry=found, **options)
    except Exception as error:
        return [Finding(f"model {ref}", "FAIL", _say(error))]
    findings = []
    for subject, look in (
        ("checkpoint", lambda: [*backbone.inspect()]),
        ("forward", lambda: checkup.compare(backbone)),
        ("decode", lambda: [checkup.decode_sample(backbone, _minimal_sampler(found, checkup.length(backbone)))]),
    ):
        try:
            findings += look()
        except Exception as error:
            findings.append(Finding(subject, "FAIL", _say(error)))
    return [replace(each, subject=f"model {ref}: {each.subject}") for each in findings]


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


def _say(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, MdmkitError) else f"{type(error).__name__}: {text}"


__getattr__ = names_gone("cli.check")
