"""Answers in the form of OpenAI's API: whole ones, and the pieces of a stream."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mdmkit_serve.running import shown_tokens

if TYPE_CHECKING:
    from mdmkit import Backbone, Row
    from mdmkit_serve.asked import Asked
    from mdmkit_serve.job import Answer

_KINDS = {(False, False): "text_completion", (False, True): "text_completion"}
_KINDS |= {(True, False): "chat.completion", (True, True): "chat.completion.chunk"}


@dataclass
class Form:
    """The form of one request's answer.

    Attributes:
        prompt_tokens: tokens of each choice's prompt.
    """

    asked: Asked
    backbone: Backbone
    prompt_tokens: dict[int, int] = field(default_factory=dict)
    answers: dict[int, Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.id = f"{'chatcmpl' if self.asked.chat else 'cmpl'}-{uuid.uuid4().hex}"
        self.created = int(time.time())

    def whole(self) -> dict[str, Any]:
        """The answer to a request without `stream`."""
        return self._around([self._choice(index) for index in sorted(self.answers)], usage=self.usage())

    def opening(self, index: int) -> dict[str, Any]:
        """The first piece of a choice."""
        if self.asked.chat:
            return self._piece(index, {"role": "assistant", "content": ""})
        return self._piece(index, self.asked.echo[index] if self.asked.echo else "")

    def piece(self, index: int, text: str) -> dict[str, Any]:
        """A piece of a choice's text."""
        return self._piece(index, {"content": text} if self.asked.chat else text)

    def draft(self, index: int, canvas: list[str | None]) -> dict[str, Any]:
        """The canvas of a choice after a step: its text is empty, so that other clients read over it."""
        return self._piece(index, {} if self.asked.chat else "", mdmkit={"draft": canvas})

    def closing(self, index: int) -> dict[str, Any]:
        """The last piece of a choice."""
        answer = self.answers[index]
        return self._piece(index, {} if self.asked.chat else "", answer.finish, mdmkit=self._own(answer, index))

    def totals(self) -> dict[str, Any]:
        """The last piece of a stream with usage."""
        return self._around([], usage=self.usage())

    def usage(self) -> dict[str, int]:
        # Choices of one prompt share its tokens.
        firsts = range(0, len(self.asked.prompts), self.asked.n)
        given = sum(self.prompt_tokens.get(index, 0) for index in firsts)
        made = sum(answer.count for answer in self.answers.values())
        return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}

    def _around(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        asked = self.asked
        return {
            "id": self.id,
            "object": _KINDS[asked.chat, asked.stream],
            "created": self.created,
            "model": asked.model,
            "choices": choices,
            **more,
            "mdmkit": {"sampler": asked.chosen.name, "seed": asked.seed},
        }

    def _piece(self, index: int, content: Any, finish: str | None = None, **more: Any) -> dict[str, Any]:
        key = "delta" if self.asked.chat else "text"
        choice = {"index": index, key: content, "logprobs": None, "finish_reason": finish, **more}
        return self._around([choice], **({"usage": None} if self.asked.usage else {}))

    def _choice(self, index: int) -> dict[str, Any]:
        answer, asked = self.answers[index], self.asked
        logprobs = _logprobs(answer, self.backbone, asked.chat) if asked.logprobs and answer.row is not None else None
        if asked.chat:
            content: dict[str, Any] = {"message": {"role": "assistant", "content": answer.text, "refusal": None}}
        else:
            content = {"text": (asked.echo[index] if asked.echo else "") + answer.text}
        more = {"finish_reason": answer.finish, "logprobs": logprobs, "mdmkit": self._own(answer, index)}
        return {"index": index, **content, **more}

    def _own(self, answer: Answer, index: int) -> dict[str, Any]:
        own: dict[str, Any] = {"stopped": answer.stopped, "seed": self.asked.prompts[index].seed}
        if (row := answer.row) is not None:
            own |= {"uncertainty": row.uncertainty, "nfe": row.nfe}
            own |= {"tokens": row.tokens} if self.asked.tokens else {}
            own |= {} if row.logprobs is None else {"logprobs": row.logprobs}
        return own


def _logprobs(answer: Answer, backbone: Backbone, chat: bool) -> Mapping[str, Any]:
    """Log probabilities of the tokens of the text, each at the step that wrote it; None for a token of the prompt."""
    assert answer.row is not None
    row = answer.row
    until = shown_tokens(row, backbone)
    tokens = [backbone.render(token) for token in row.tokens[:until]]
    logs = _of_steps(row)[:until]
    if not chat:
        offsets, at = [], 0
        for token in tokens:
            offsets.append(at)
            at += len(token)
        return {"tokens": tokens, "token_logprobs": logs, "top_logprobs": None, "text_offset": offsets}
    content = [
        {"token": token, "logprob": log, "bytes": list(token.encode()), "top_logprobs": []}
        for token, log in zip(tokens, logs, strict=True)
    ]
    return {"content": content, "refusal": None}


def _of_steps(row: Row) -> list[float | None]:
    """Log-probability with which each of `row.tokens` was written; None for a token of the prompt."""
    if row.logprobs is not None:
        return row.logprobs["logprob"]
    trace = row.trace
    written = iter([c for c, at in zip(trace["confidence"], trace["order"], strict=True) if at >= 0])
    return [math.log(max(next(written), 1e-6)) if at >= 0 else None for at in row.order]
