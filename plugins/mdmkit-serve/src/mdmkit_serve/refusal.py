"""A request that is not answered: its status, and its error in OpenAI's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mdmkit import shown

# What is wrong with the server will be wrong again at once: clients that try again are asked not to.
ONCE = {"x-should-retry": "false"}


class Refusal(Exception):
    """An error with a status of HTTP.

    Attributes:
        status: from 400 on.
        message: what was wrong, and what is accepted.
        param: the field of the body that it is about, or None.
        code: a word for programs, or None.
        headers: more headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.message, self.code = status, _sent(message), code
        self.param = None if param is None else _sent(param)
        self.headers = dict(headers or {})

    def json(self) -> dict[str, Any]:
        """The body of the answer."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        if self.status == 429:
            kind = "rate_limit_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def _sent(text: str) -> str:
    """A text that can be sent as UTF-8: a request may hold half a character of UTF-16."""
    return text.encode("utf-8", "backslashreplace").decode()


def wrong(message: str, param: str | None = None, code: str | None = None) -> Refusal:
    """A request that cannot be met as it is: 400."""
    return Refusal(400, message, param, code)


def failed(message: str, status: int = 500) -> Refusal:
    """A request that was right, and could not be met."""
    return Refusal(status, message, headers=ONCE)


def not_served(name: str, served: str) -> Refusal:
    """A request for another model: 404."""
    said = f"model {shown(name)} is not served here; the one that is: {served!r}."
    return Refusal(404, said, "model", "model_not_found")
