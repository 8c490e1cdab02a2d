"""The generated data sets of reasoning-gym (arXiv:2505.24760), judged by their own verifiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mdmkit import MdmkitError, Task, unknown
from mdmkit_tasks.judges.marks import boxed, first_turn, tagged

INSTRUCTION = "Think it over in a few words, and end with the final answer inside <answer></answer>."


class ReasoningGym(Task):
    """Questions of one data set, generated from the seed. The data set itself gives the score, from 0 to 1.

    Args:
        dataset: its name in reasoning-gym, such as `chain_sum`.
        options: the data set's own settings, such as `{"min_terms": 2}`.
        chat: True: use the model's chat template; None: if the model has one.
    """

    measure = "score"
    settings = {"plan": {"length": 256}}  # noqa: RUF012

    def __init__(self, dataset: str = "", options: Mapping[str, Any] | None = None, chat: bool | None = None):
        self.dataset, self.options, self.chat = dataset, dict(options or {}), chat
        self._made: Any = None

    def prompts(self, count: int | None, seed: int) -> Sequence[Any]:
        try:
            import reasoning_gym
            from reasoning_gym.factory import DATASETS
        except ImportError as error:
            raise MdmkitError(
                f"task 'reasoning_gym' needs the package reasoning-gym, which is not installed ({error}): "
                "pip install reasoning-gym."
            ) from error
        if self.dataset not in DATASETS:
            raise MdmkitError(unknown("data set of reasoning-gym (--task-option dataset=NAME)", self.dataset, DATASETS))
        size = self.limit if count is None else count
        try:
            self._made = reasoning_gym.create_dataset(self.dataset, **self.options, size=size, seed=seed)
            items = [dict(item) for item in self._made]
        except (TypeError, ValueError, AssertionError) as error:
            raise MdmkitError(f"the data set {self.dataset!r} of reasoning-gym cannot be made: {error}.") from error
        asked = [{"prompt": f"{i['question']}\n\n{INSTRUCTION}", "infill": False, "reference": i} for i in items]
        return asked if self.chat is None else [prompt | {"chat": self.chat} for prompt in asked]

    def judge(self, prompt: Any, answer: str) -> float:
        assert self._made is not None, "prompts come first"
        return float(self._made.score_answer(final(answer), prompt["reference"]))


def final(answer: str) -> str:
    r"""The text in the last `<answer>…</answer>`, in `\boxed{…}`, or else on the last line."""
    text = first_turn(answer)
    if (inside := tagged(text)) is not None:
        return inside.strip()
    if (inside := boxed(text)) is not None:
        return inside.strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
