"""The plots of an evaluation: quality against NFE, quality against H̃, and the order in which positions are filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mdmkit.cli.commands import write_whole
from mdmkit_tasks.report import PERCENT
from mdmkit_tasks.statistics import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# One dot per group of rows of nearly equal H̃ shows more than one dot per row, which is 0 or 1.
GROUPS = 5
# The largest number of cells of an order heat map along each axis.
BINS = 32

Rows = Sequence[Mapping[str, Any]]


def draw(folder: Path, cells: Sequence[Summary], rows: Mapping[tuple[str, str], Rows]) -> list[str]:
    """Write the three plots; return their names.

    Args:
        rows: the rows of every cell, by (task, sampler).
    """
    tasks = list(dict.fromkeys(cell.task for cell in cells))
    samplers = list(dict.fromkeys(cell.sampler for cell in cells))
    figures = {
        "quality_nfe.png": _quality_nfe(tasks, samplers, cells),
        "quality_uncertainty.png": _quality_uncertainty(tasks, samplers, cells, rows),
        "order.png": _order(tasks, samplers, rows),
    }
    for name, figure in figures.items():
        write_whole("--output", folder / name, partial(figure.savefig, dpi=120, format="png"))
    return list(figures)


def _figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _colour(samplers: Sequence[str], sampler: str) -> str:
    return f"C{samplers.index(sampler) % 10}"


def _quality_nfe(tasks: Sequence[str], samplers: Sequence[str], cells: Sequence[Summary]) -> Figure:
    figure, axes = _figure(1, len(tasks), 4.2, 3.6)
    for axis, task in zip(axes[0], tasks, strict=True):
        for cell in (cell for cell in cells if cell.task == task):
            error = None if np.isnan(cell.score_error) else cell.score_error
            axis.errorbar(
                cell.nfe, cell.score, yerr=error, fmt="o", capsize=3, label=cell.sampler,
                color=_colour(samplers, cell.sampler),
            )  # fmt: skip
            _label(axis, task, "NFE (row-forwards per prompt)", cell.measure)
        axis.set_xlim(left=0)
        axis.legend(fontsize="small")
    return figure


def _quality_uncertainty(
    tasks: Sequence[str], samplers: Sequence[str], cells: Sequence[Summary], rows: Mapping[tuple[str, str], Rows]
) -> Figure:
    figure, axes = _figure(1, len(tasks), 4.2, 3.6)
    for axis, task in zip(axes[0], tasks, strict=True):
        for cell in (cell for cell in cells if cell.task == task):
            uncertainty, score = grouped(rows[task, cell.sampler])
            r = pearson(rows[task, cell.sampler])
            label = cell.sampler if np.isnan(r) else f"{cell.sampler} (r = {r:+.2f})"
            axis.plot(uncertainty, score, "o-", markersize=4, label=label, color=_colour(samplers, cell.sampler))
            _label(axis, task, "H̃ (nats), fifths of the rows", cell.measure)
        axis.legend(fontsize="small")
    return figure


def grouped(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Mean H̃ and mean score of the rows' fifths by H̃."""
    pairs = np.array(sorted((row["uncertainty"], row["score"]) for row in rows))
    parts = [part for part in np.array_split(pairs, GROUPS) if len(part)]
    means = np.array([part.mean(0) for part in parts])
    return means[:, 0], means[:, 1]


def pearson(rows: Rows) -> float:
    """Correlation of H̃ and score over rows; nan if one of them does not vary."""
    pairs = np.array([(row["uncertainty"], row["score"]) for row in rows])
    if len(pairs) < 3 or (pairs.std(0) < 1e-12).any():
        return float("nan")
    return float(np.corrcoef(pairs.T)[0, 1])


def _order(tasks: Sequence[str], samplers: Sequence[str], rows: Mapping[tuple[str, str], Rows]) -> Figure:
    figure, axes = _figure(len(samplers), len(tasks), 3.2, 2.6)
    for i, sampler in enumerate(samplers):
        for j, task in enumerate(tasks):
            axis = axes[i][j]
            density = order_density(rows[task, sampler])
            axis.imshow(density.T, origin="lower", aspect="auto", extent=(0, 1, 0, 1), vmin=0, cmap="viridis")
            _label(axis, f"{task} · {sampler}", "position", "when")
    return figure


def order_density(rows: Rows) -> np.ndarray:
    """How often a position was written at a moment, float [positions, moments]; rows sum to 1, prompt tokens to 0.

    Positions are those of the answer (of the whole row, if it is an infill), moments are the row's ticks, both scaled
    to 0 … 1.
    """
    width = min(BINS, max(len(row["order"]) for row in rows))
    moments = min(BINS, max(max(row["order"], default=0) + 1 for row in rows), 1 << 30)
    counts = np.zeros((width, max(1, moments)))
    for row in rows:
        order = np.array(row["order"])
        last = max(1, int(order.max(initial=0)))
        place = np.arange(len(order)) * width // max(1, len(order))
        when = np.minimum(order * counts.shape[1] // (last + 1), counts.shape[1] - 1)
        kept = order >= 0
        np.add.at(counts, (place[kept], when[kept]), 1)
    total = counts.sum(1, keepdims=True)
    return np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)


def _label(axis: Axes, title: str, x: str, y: str) -> None:
    if y in PERCENT:
        axis.set_ylim(-0.03, 1.03)
    axis.set_title(title, fontsize="medium")
    axis.set_xlabel(x, fontsize="small")
    axis.set_ylabel(y, fontsize="small")
