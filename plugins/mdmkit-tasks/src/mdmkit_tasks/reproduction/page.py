"""What `mdmkit reproduce` prints: the cells with their costs, and measured numbers beside reported ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mdmkit_tasks.report import table
from mdmkit_tasks.reproduction.experiment import Group, Table

Measured = Mapping[Group, Mapping[str, Mapping[str, Any]]]


def plan_page(asked: Table, groups: Sequence[Group], why: Mapping[Group, str], forward_ms: float) -> str:
    """Every cell with its cost, and whether it can be run."""
    heads = ["model", "task", "sampler", "K", "τ", "prompts", "seeds", "row-forwards ≤", "GPU hours ≤", "here"]
    rows, total = [], 0
    for group in groups:
        for sampler in group.samplers:
            forwards = group.row_forwards(sampler)
            total += forwards
            cells = [group.model, group.task, sampler, _k(group), f"{group.temperature:g}", f"{group.prompts}"]
            cells += [f"{group.seeds}", f"{forwards:,}", f"{_hours(forwards, forward_ms):,.1f}", why[group] or "yes"]
            rows.append(cells)
    can = sum(not why[group] for group in groups)
    ready = sum(g.row_forwards(s) for g in groups if not why[g] for s in g.samplers)
    return "\n".join(
        [
            f"# {asked.paper}, table {asked.name}\n",
            f"{asked.about['paper']} (arXiv:{asked.about['arxiv']}). {asked.about['note'].strip()}\n",
            table(heads, rows),
            f"In all {total:,} row-forwards at most, {_hours(total, forward_ms):,.0f} GPU hours at {forward_ms:g} ms "
            f"each. Of {len(groups)} groups of cells {can} can be run here, with {ready:,} row-forwards "
            f"({_hours(ready, forward_ms):,.1f} GPU hours) at most.\n",
        ]
    )


def results_page(asked: Table, groups: Sequence[Group], measured: Measured, why: Mapping[Group, str]) -> str:
    """Measured numbers beside those of the paper, then the cells that were not run."""
    out = [f"# {asked.paper}, table {asked.name}\n", f"{asked.about['paper']} (arXiv:{asked.about['arxiv']}).\n"]
    out.append(f"{asked.about['note'].strip()} Reported per task: {asked.about['source']}.\n")
    for group in measured:
        k = f", K = {_k(group)}" if group.tokens_per_step else ""
        out.append(f"## {group.model}, {group.task}{k}, τ = {group.temperature:g}\n")
        out.append(_group_table(asked, group, measured[group]))
    if claims := asked.about["claims"]:
        out.append("## Averages\n")
        heads = ["model", "K", "of", "reported", "measured"]
        rows = [
            [
                str(claim.get("model", "")),
                str(claim.get("tokens_per_step", "")),
                WHAT.get(claim["what"], claim["what"]),
                f"{claim['value']:g}",
                _claim(claim, asked.groups, measured),
            ]
            for claim in claims
        ]
        out.append(table(heads, rows))
    if absent := [group for group in groups if group not in measured]:
        out.append("## Not run\n")
        rows = [[g.model, g.task, _k(g), f"{g.temperature:g}", " ".join(why[g].split())] for g in absent]
        out.append(table(["model", "task", "K", "τ", "why"], rows))
    return "\n".join(out)


WHAT = {
    "gain": "points over the baseline with the best mean",
    "uncertainty": "H̃, % of the baseline with the lowest",
}


def _group_table(asked: Table, group: Group, cells: Mapping[str, Mapping[str, Any]]) -> str:
    rivals = cells[group.method]["measure"] == "win rate"
    heads = ["sampler", "Info-Gain's win rate against it %" if rivals else "score %", "reported %", "H̃"]
    heads += ["reported H̃", "NFE", "prompts", "seeds"]
    rows = []
    for sampler in group.samplers:
        cell = cells[sampler]
        score = 1 - cell["score"] if rivals else cell["score"]
        error = cell["score_error"]
        shown = f"{100 * score:.1f}" + ("" if error is None else f" ± {100 * error:.1f}")
        said = _reported(asked, group, sampler)
        rows.append(
            [
                sampler,
                "" if rivals and sampler == group.method else shown,
                f"{said['score']:.1f}" if "score" in said else "",
                f"{cell['uncertainty']:.2f}",
                f"{said['uncertainty']:.2f}" if "uncertainty" in said else "",
                f"{cell['nfe']:.1f}",
                f"{cell['prompts']}",
                f"{cell['seeds']}",
            ]
        )
    return table(heads, rows)


def _reported(asked: Table, group: Group, sampler: str) -> Mapping[str, Any]:
    for said in asked.about["reported"]:
        where = (said["model"], said["task"], said.get("tokens_per_step"), said.get("sampler", group.method))
        if where == (group.model, group.task, group.tokens_per_step, sampler):
            return dict(said)
    return {}


def _claim(claim: Mapping[str, Any], groups: Sequence[Group], measured: Measured) -> str:
    """The measured counterpart of an average over the tasks of a model; a dash if one of them is missing."""
    if claim["what"] not in WHAT:
        return "–"
    own = [g for g in groups if (g.model, g.tokens_per_step) == (claim["model"], claim["tokens_per_step"])]
    if not own or any(group not in measured for group in own):
        return "–"
    key = "score" if claim["what"] == "gain" else "uncertainty"
    means = [sum(measured[g][g.samplers[i]][key] for g in own) / len(own) for i in range(len(own[0].samplers))]
    if key == "score":
        return f"{100 * (means[0] - max(means[1:])):+.1f}"
    return f"{100 * means[0] / min(means[1:]):.1f}" if min(means[1:]) > 0 else "–"


def _k(group: Group) -> str:
    return "" if group.tokens_per_step is None else str(group.tokens_per_step)


def _hours(forwards: int, forward_ms: float) -> float:
    return forwards * forward_ms / 3.6e6
