"""Creative writing: a model behind an endpoint judges which of two texts is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mdmkit import Backbone, MdmkitError
from mdmkit_tasks.judges.endpoint import Endpoint
from mdmkit_tasks.public.data import FromData, brief


class Writing(FromData):
    """Stories. `mdmkit compare` compares every sampler with the first; `mdmkit eval` with the row's reference text.

    Args:
        judge_url: the address of an OpenAI-compatible API, up to `/v1`.
        judge_model: the model to ask there.
        judge_key: name of the environment variable with its key.
    """

    name, hub, fields = "writing", ("euclaise/writingprompts", None, "test"), ("prompt",)
    measure = "win rate"
    places = ("data", "judge_url", "judge_key")
    limit = 200
    settings = {"plan": {"length": 512}}  # noqa: RUF012

    def __init__(
        self,
        data: str | None = None,
        judge_url: str = "",
        judge_model: str = "",
        judge_key: str = "OPENAI_API_KEY",
        chat: bool | None = None,
    ):
        super().__init__(data)
        self.judge_url, self.judge_model, self.judge_key, self.chat = judge_url, judge_model, judge_key, chat

    def problem(self, row: Mapping[str, Any]) -> str:
        for field in ("story", "reference"):
            if row.get(field) is not None and not isinstance(row[field], str):
                return f"the field {field!r} is {brief(row[field])}, and must be a text in quotes"
        return ""

    @property
    def endpoint(self) -> Endpoint:
        """The judge.

        Raises:
            MdmkitError: no address is given.
        """
        if not self.judge_url or not self.judge_model:
            raise MdmkitError(
                "task 'writing' is judged by a model behind an OpenAI-compatible endpoint: give --task-option "
                "judge_url=http://…/v1 and --task-option judge_model=NAME."
            )
        return Endpoint(self.judge_url, self.judge_model, self.judge_key)

    def prompts(self, count: int | None, seed: int) -> Sequence[Any]:
        _ = self.endpoint  # check the judge before any text is written
        out = []
        for row in self.rows(count, seed):
            text = f"Write a short story for this prompt.\n\n{str(row['prompt']).removeprefix('[WP]').strip()}"
            asked = {"prompt": text, "infill": False, "reference": row.get("story") or row.get("reference")}
            out.append(asked if self.chat is None else asked | {"chat": self.chat})
        return out

    def judge(self, prompt: Any, answer: str) -> dict[str, float]:
        if not prompt["reference"]:
            raise MdmkitError(
                "a text is compared with another one, and this row has none: give its rows a 'reference', or compare "
                "two samplers."
            )
        return self.versus(prompt, answer, prompt["reference"])

    def versus(self, prompt: Any, answer: str, rival: str) -> dict[str, float]:
        return self.endpoint.prefers(prompt["prompt"], answer, rival)

    def check(self, backbone: Backbone) -> None:
        """Accept any model that writes text. The judge is not asked here."""
