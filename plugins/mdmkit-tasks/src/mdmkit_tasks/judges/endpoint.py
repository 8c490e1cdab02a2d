"""Two texts compared by a model behind an OpenAI-compatible endpoint, in both orders."""

from __future__ import annotations

import json
import os
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

from mdmkit import JudgeDown, MdmkitError

QUESTION = """Two writers were given the same task. Compare what they wrote: how well it does what was asked, how it \
is told, its language, and whether it holds together to the end. Length by itself counts for nothing, nor does the \
order in which they are shown.

Task:
{prompt}

<text A>
{first}
</text A>

<text B>
{second}
</text B>

Give your reasons in at most three sentences. Then end with one line: [[A]] if text A is better, [[B]] if text B is, \
or [[tie]] if neither is."""
VALUES = {"a": 1.0, "b": 0.0, "tie": 0.5, "c": 0.5}
TRIES, PAUSE = 3, 1.0


@dataclass(frozen=True)
class Endpoint:
    """A judge.

    Args:
        url: the address of the API, up to `/v1`.
        model: the name of the model to ask.
        key: name of the environment variable that holds the key, if one is needed.
        timeout: seconds to wait for an answer.
    """

    url: str
    model: str
    key: str = "OPENAI_API_KEY"
    timeout: float = 120.0

    def __post_init__(self) -> None:
        if not re.match(r"https?://[^/]", self.url):
            raise MdmkitError(f"judge endpoint {self.url!r}: it must begin with http:// or https:// and end with /v1.")

    def prefers(self, prompt: str, answer: str, rival: str) -> dict[str, float]:
        """Ask in both orders: `score` is 1 for the answer, 0 for the rival, their mean of the two verdicts.

        `agreed` is True if both verdicts name the same text. `unread` is the number of verdicts that could not be read
        and count as ties.

        Raises:
            JudgeDown: it cannot be reached, or refuses.
        """
        if answer.strip() == rival.strip():
            return {"score": 0.5, "agreed": 1.0, "unread": 0.0}
        one = verdict(self._ask(QUESTION.format(prompt=prompt, first=answer, second=rival)))
        other = verdict(self._ask(QUESTION.format(prompt=prompt, first=rival, second=answer)))
        unread = (one is None) + (other is None)
        first = 0.5 if one is None else one
        second = 0.5 if other is None else 1.0 - other
        return {"score": (first + second) / 2, "agreed": float(first == second), "unread": float(unread)}

    def _ask(self, question: str) -> str:
        asked = {"model": self.model, "temperature": 0, "messages": [{"role": "user", "content": question}]}
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self.key):
            headers["Authorization"] = f"Bearer {key}"
        address = self.url.rstrip("/") + "/chat/completions"
        request = urllib.request.Request(address, json.dumps(asked).encode(), headers)
        problem = ""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(PAUSE * 2 ** (attempt - 1))
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as reply:
                    return str(json.load(reply)["choices"][0]["message"]["content"])
            except urllib.error.HTTPError as error:
                problem = f"it answered {error.code} {error.reason}"
                if error.code not in (408, 409, 429) and error.code < 500:
                    break
            except (OSError, urllib.error.URLError) as error:
                problem = str(getattr(error, "reason", error))
            except (ValueError, KeyError, IndexError, TypeError):
                problem = "its answer is not a chat completion"
        raise JudgeDown(f"the judge at {address} cannot be used: {problem}.")


def verdict(said: str) -> float | None:
    """1 for A, 0 for B, ½ for a tie, by the last mark in double brackets; None without a mark."""
    marks = re.findall(r"\[\[\s*(A|B|C|tie)\s*\]\]", said, re.I)
    return VALUES[marks[-1].lower()] if marks else None
