"""Names of the first edition that have no successor of the same name, and what to write instead.

Module, without `mdmkit.` -> name -> text; "" stands for the module as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

GONE: dict[str, dict[str, str]] = {
    "agenda": {
        "": "the loop checks the parts itself, in mdmkit.loop.guard and mdmkit.loop.checks. A plugin needs nothing of "
        "it: remove the import",
    },
    "blocks": {
        "blocks": "each row has its own blocks now. Write mdmkit.canvas.blocks.cut(open, length, plan, model_block) "
        "for the blocks of one row",
    },
    "cache": {
        "Windowed": "every cache works row by row now. Inherit from mdmkit.model.cache.Cache, and override step and "
        "enter",
    },
    "cli.check": {
        "try_model": "check_model(ref, registry, options) returns one mdmkit.Finding for each thing that was checked",
    },
    "cli.requests": {
        "Size": "check_prompts returns an object of mdmkit.decoding.encodings.Encodings, and its method size tells the "
        "size of a prompt",
        "check": "write mdmkit.cli.requests.check_prompts",
    },
    "cli.results": {"open_rows": "write mdmkit.cli.record.open_record"},
    "cli.resuming": {"is_record": "write from mdmkit.cli.commands import is_record"},
    "ending": {
        "": "write mdmkit.stage.stop.ended for finished. The loop itself fills what a finished row leaves open, so "
        "close is no longer needed",
    },
    "fitting": {
        "Fitting": "write mdmkit.decoding.fitting.fitted(slots, rows, halved, decode, refuse, halving, free)",
    },
    "grouping": {"grouped": "write mdmkit.decoding.units.units, which divides prompts into units of four batches"},
    "loop": {
        "Loop": "write mdmkit.decode(sampler, backbone, prompts), or use mdmkit.Engine if rows are to join at any "
        "time. To fill a canvas, write mdmkit.loop.whole.fill_canvas",
        "STEPS_PER_COLUMN": "write from mdmkit.loop.checks import STEPS_PER_COLUMN",
    },
    "plan": {"LONGEST": "write from mdmkit import LONGEST_ROW"},
    "runner": {"FORWARD_TOKENS": "write from mdmkit.loop.calls import FORWARD_TOKENS"},
    "search": {
        "settle": "the loop itself keeps the best particle of each row. mdmkit.loop.whole.fill_canvas returns the "
        "canvas and trace of these particles",
    },
    "task": {
        "make": "write mdmkit.task.make_task",
        "bare": "write mdmkit.task.without_reference",
        "scored": "write mdmkit.task.read_verdict",
    },
}


def refuse(module: str, name: str) -> None:
    """Raise an error for a name that is gone; do nothing for any other name.

    An `ImportError`, because `from … import …` replaces the text of an `AttributeError` by its own.

    Raises:
        ImportError: says what to write instead.
    """
    text = GONE.get(module, {}).get(name)
    if text is not None:
        path = f"mdmkit.{module}"
        raise ImportError(f"{path}.{name} is of the first edition of mdmkit: {text}.", name=path)


def names_gone(module: str) -> Callable[[str], Any]:
    """Make the `__getattr__` of a module that is still there, but has lost names."""

    def find(name: str) -> Any:
        refuse(module, name)
        raise AttributeError(f"module 'mdmkit.{module}' has no attribute {name!r}")

    return find
