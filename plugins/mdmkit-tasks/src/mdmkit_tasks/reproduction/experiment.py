"""A paper's table, read from YAML: one group of cells per model, task, K and temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mdmkit import MdmkitError, Plan, unknown
from mdmkit.cli.commands import default_registry, facts, read_yaml, resolve

PAPERS = Path(__file__).parents[1] / "experiments"


@dataclass(frozen=True, eq=False)
class Group:
    """Samplers on one task and model with one K and temperature: decoded and judged together.

    Attributes:
        data: the hub id of the data set; None if the task generates its prompts.
        needs: task options that its judge needs.
        samplers: the preset of the method first, then the baselines.
        tokens_per_step: K; None if the preset counts steps.
        overrides: settings of every sampler of the group, in the form of `--set`.
        steps, blocks: the most steps and blocks of one row.
        forwards: the most row-forwards of one step, per sampler.
    """

    model: str
    parameters: float
    options: Mapping[str, Any]
    task: str
    data: str | None
    needs: Sequence[str]
    samplers: tuple[str, ...]
    tokens_per_step: int | None
    temperature: float
    prompts: int
    seeds: int
    overrides: tuple[str, ...]
    steps: int
    blocks: int
    forwards: Mapping[str, int] = field(default_factory=dict)

    @property
    def method(self) -> str:
        return self.samplers[0]

    @property
    def name(self) -> str:
        """K and temperature, as the name of a folder."""
        k = "" if self.tokens_per_step is None else f"K{self.tokens_per_step}-"
        return f"{k}t{self.temperature}"

    def row_forwards(self, sampler: str) -> int:
        """The most row-forwards of the cell: every step compares all that it may, and each block takes one more."""
        return self.prompts * self.seeds * self.forwards[sampler] * (self.steps + self.blocks)


class _Presets:
    """Facts of presets; each is looked up once."""

    def __init__(self) -> None:
        self._configs: dict[str, dict[str, Any]] = {}
        self._most: dict[str, int] = {}

    def config(self, name: str) -> dict[str, Any]:
        if name not in self._configs:
            self._configs[name] = resolve(name, registry=default_registry()).config
        return self._configs[name]

    def forwards(self, name: str, guidance: float) -> int:
        """The most row-forwards of a step, with this guidance."""
        if name not in self._most:
            parts = default_registry()
            found = facts(parts.find("sampler", name), parts)
            self._most[name] = found.forwards[1] if found.forwards else 1
        return self._most[name] * (2 if guidance != 1 and self.config(name)["guidance"]["scale"] == 1 else 1)


@dataclass(frozen=True)
class Table:
    """One table of a paper: its groups, and the numbers that the paper reports."""

    paper: str
    name: str
    about: Mapping[str, Any]
    groups: tuple[Group, ...]


def read_table(paper: str, table: str, limit: int | None, seeds: int | None) -> Table:
    """Read a table and unroll it; imports no torch.

    Args:
        limit: the most prompts per task.
        seeds: used instead of the table's.

    Raises:
        MdmkitError: no such paper or table, or a preset is not installed or has other settings than the table.
    """
    papers = sorted(path.name for path in PAPERS.iterdir() if path.is_dir())
    if paper not in papers:
        raise MdmkitError(unknown("paper", paper, papers))
    tables = sorted(path.stem for path in (PAPERS / paper).glob("*.yaml"))
    if table not in tables:
        raise MdmkitError(unknown("table", table, tables))
    about = read_yaml(PAPERS / paper / f"{table}.yaml")
    presets = _Presets()
    groups = [
        _group(about, presets, model, task, preset, k, temperature, limit, seeds)
        for experiment in about["experiments"]
        for model in experiment["models"]
        for task, preset in experiment["presets"].items()
        for k in experiment["tokens_per_step"]
        for temperature in experiment["temperature"]
    ]
    return Table(paper, table, about, tuple(groups))


def _group(
    about: Mapping[str, Any],
    presets: _Presets,
    model: str,
    task: str,
    preset: str,
    k: int | None,
    temperature: float,
    limit: int | None,
    seeds: int | None,
) -> Group:
    found, has = about["tasks"][task], about["models"][model]
    config = presets.config(preset)
    for key, value in about["search"].items():
        if config["select"][key] != value:
            raise MdmkitError(
                f"sampler {preset!r} has select.{key}={config['select'][key]}, and the table says {value}: this "
                "mdmkit-tasks and mdmkit-info-gain do not belong together. Install the same version of both."
            )
    plan = {key: value for key, value in config["plan"].items() if value is not None}
    if k is not None:
        plan["tokens_per_step"] = k
    draw, guidance = config["draw"] | {"temperature": temperature}, config["guidance"]
    said = [
        f"{section}.{key}={str(value).lower() if isinstance(value, bool) else value}"
        for section, values in (("plan", plan), ("draw", draw), ("guidance", guidance))
        for key, value in values.items()
        if value is not None
    ]
    masks = int(found.get("masks") or plan["length"])
    block = int(plan.get("block") or masks)
    shares = [min(block, masks - start) for start in range(0, masks, block)]
    if len(shares) > 1:  # the model sets the grid of blocks: the first block may be cut, and there is one more
        shares = [*shares[:-1], shares[-1] - 1, 1] if shares[-1] > 1 else shares
    samplers = (preset, *about["baselines"])
    return Group(
        model=model,
        parameters=float(has["parameters"]),
        options=has.get("options") or {},
        task=task,
        data=found.get("data"),
        needs=found.get("needs") or (),
        samplers=samplers,
        tokens_per_step=k,
        temperature=temperature,
        prompts=min(int(found["prompts"]), limit or int(found["prompts"])),
        seeds=seeds or int(found.get("seeds") or about["seeds"]),
        overrides=tuple(said),
        steps=sum(map(len, Plan(**plan).targets(shares))),
        blocks=len(shares),
        forwards={name: presets.forwards(name, config["guidance"]["scale"]) for name in samplers},
    )
