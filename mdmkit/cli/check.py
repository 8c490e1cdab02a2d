"""`mdmkit check`: try every installed part, and a model if one is named."""

from __future__ import annotations

import inspect
import sys
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from mdmkit._gone import names_gone
from mdmkit.cli import checkup, trial
from mdmkit.cli.options import model_option, plugin_option
from mdmkit.cli.saying import say
from mdmkit.config.resolution import DEFAULT_MODEL, STAGES
from mdmkit.errors import MdmkitError, explained
from mdmkit.installed import registry
from mdmkit.installed.part import Part
from mdmkit.installed.registry import NotInstalled, Registry
from mdmkit.model.finding import Finding
from mdmkit.terminal import to_json

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
    and in a batch, and a decode of a sample. The parts of --plugin files are decoded with too, with REF, or else with
    the model that `mdmkit decode` has by default.

    Prints one line each, and exits with 1 if anything fails.
    """
    found = registry.default()
    findings = [Finding(f"plugin {each.distribution} {each.version}", "FAIL", each.reason) for each in found.broken]
    if ref is not None or trial.of_files(found):  # first: it is what was asked for, and there are many parts
        findings += check_model(ref, found, model_options)
    findings += [_tried(part, found) for part in found.parts]
    failures = sum(finding.verdict == "FAIL" for finding in findings)
    if as_json:
        click.echo(to_json([asdict(finding) for finding in findings]))
    else:
        for each in findings:
            say(f"{each.verdict:<4} {each.subject}{': ' + each.detail if each.detail else ''}")
    if failures:
        click.echo(f"{failures} failed.", err=True)
        sys.exit(1)


def _tried(part: Part, found: Registry) -> Finding:
    try:
        return Finding(str(part), "ok", try_part(part, found))
    except NotInstalled as error:
        return Finding(str(part), "skip", f"needs {error.distribution}: pip install {error.distribution}")
    except Exception as error:
        return Finding(str(part), "FAIL", explained(error))


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


def check_model(ref: str | None, found: Registry, options: dict[str, Any]) -> list[Finding]:
    """Load a model, and check it, and the parts of files with it. None: the default model, for these parts only."""
    from mdmkit.model.loading import load

    try:
        backbone = load(ref or DEFAULT_MODEL, registry=found, **options)
    except Exception as error:
        return [Finding(f"model {ref or DEFAULT_MODEL}", "FAIL", explained(error))]
    tried = []
    if trial.of_files(found):
        tried = [*trial.try_parts(found, backbone, _plain_parts(found), partial(_usable, found))]
    if ref is None:
        return tried
    findings = []
    for subject, look in (
        ("checkpoint", lambda: [*backbone.inspect()]),
        ("forward", lambda: checkup.compare(backbone)),
        ("decode", lambda: [checkup.decode_sample(backbone, _minimal_sampler(found, checkup.length(backbone)))]),
    ):
        try:
            findings += look()
        except Exception as error:
            findings.append(Finding(subject, "FAIL", explained(error)))
    return [*(replace(each, subject=f"model {ref}: {each.subject}") for each in findings), *tried]


def _minimal_sampler(found: Registry, length: int | None) -> Any:
    """The first score and the first greedy select that are installed."""
    from mdmkit.config.compose import compose

    sampler: Sampler = compose(registry=found, plan={"length": length}, **_plain_parts(found))
    return sampler


def _has(found: Registry, select: str) -> bool:
    return any(part.name == select for part in found.of_kind("select"))


def _plain_parts(found: Registry) -> dict[str, str]:
    """The names of a score and a select that are enough for a sampler.

    Raises:
        MdmkitError: there is none that needs no parameters and no lookahead.
    """
    names = {}
    for kind, wants in (("score", "parameters"), ("select", "a lookahead or parameters")):
        # One position a step, if it is installed: the more steps a sample takes, the more of a part is seen.
        name = "top_k" if kind == "select" and _has(found, "top_k") else _usable(found, kind)
        if name is None:
            why = f"every installed {kind} needs {wants}" if found.of_kind(kind) else f"no {kind} is installed"
            raise MdmkitError(f"{why}, so nothing can be decoded: pip install mdmkit-heuristics brings one.")
        names[kind] = name
    return names


def _usable(found: Registry, kind: str, several: bool = False) -> str | None:
    """The name of the first installed part of a kind that needs no parameters; `several`: a select of alternatives."""
    from mdmkit.config.compose import instantiate

    for part in sorted(found.of_kind(kind), key=trial.is_of_file):  # those of files may be what is being tried
        if _required(found.load(part)):
            continue
        if kind != "select" or (getattr(instantiate(part, {}, found), "alternatives", 1) > 1) == several:
            return f"{part.distribution}:{part.name}"
    return None


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


__getattr__ = names_gone("cli.check")
