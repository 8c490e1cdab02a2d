"""Check a cell's rows that are read again: each belongs to its prompt and seed, and none stands there twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mdmkit.cli.commands import check_belongs, check_prompts, stop_rule

if TYPE_CHECKING:
    from mdmkit import Backbone, Prompt, Sampler
    from mdmkit_tasks.request import Asked

# The fields that a late verdict changes.
VERDICT = ("score", "measures")


class Rereading:
    """The rows of a sampler on a task, as far as they are known before the decode. Prompts are encoded when needed."""

    def __init__(self, asked: Asked, sampler: Sampler, backbone: Backbone):
        self.asked, self.sampler, self.backbone = asked, sampler, backbone
        self._seeded: dict[int, list[Prompt]] = {}
        self._encoded: Any = None
        self._rule = stop_rule(sampler)

    def check(self, row: Mapping[str, Any]) -> None:
        """Compare a row with its prompt.

        Raises:
            ValueError: it is not a row of this cell; the text says what is wrong.
            MdmkitError: a prompt cannot be encoded.
        """
        index, seed = row["index"], row["seed"]
        if index >= len(self.asked.items):
            raise ValueError(f"its 'index' is {index}, of {len(self.asked.items)} prompts")
        if seed < 0:
            raise ValueError(f"its 'seed' is {seed}, and seeds go from 0 on")
        if seed not in self._seeded:
            self._seeded[seed] = self.asked.prompts([seed])
        prompts = self._seeded[seed]
        if self._encoded is None:  # a prompt has the same tokens with every seed
            where = {i: f"task {self.asked.name!r}, prompt {i}" for i in range(len(prompts))}
            self._encoded = check_prompts(self.backbone, prompts, self.sampler.plan, where)
        prompt = prompts[index]
        check_belongs(row, {"prompt": prompt.text, "row_seed": prompt.seed}, prompt, self._encoded, self._rule)


def check_late(before: Mapping[str, Any] | None, row: Mapping[str, Any]) -> None:
    """Check a row whose seed and index were in the file `before`: only a late verdict stands there again.

    Raises:
        ValueError: the first row was judged, or the two differ in more than the verdict.
    """
    if before is None:
        return
    where = f"seed {row['seed']}, prompt {row['index']} stand there twice"
    if before["score"] is not None:
        raise ValueError(f"{where}, and the first row is judged already")
    other = [name for name in {**before, **row} if name not in VERDICT and before.get(name) != row.get(name)]
    if other:
        raise ValueError(f"{where}, and differ in {other[0]!r}")
