"""A request, read and checked: what to decode, and how to answer."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mdmkit import MdmkitError, read_prompts
from mdmkit_serve.fields import CHAT, COMPLETION, ROWS, check
from mdmkit_serve.refusal import Refusal, not_served, wrong
from mdmkit_serve.rules import rule_of

if TYPE_CHECKING:
    from mdmkit import Prompt
    from mdmkit_serve.samplers import Chosen, Samplers


@dataclass(frozen=True)
class Asked:
    """One request.

    Attributes:
        chat: True for messages, False for prompts.
        prompts: one for each choice: n of each prompt, in order, with the seeds of rows 0, 1, … of a run.
        echo: the text before each choice; empty without `echo`.
        draft: True if the canvas of each step is sent.
        tokens: True if token ids are returned.
    """

    chat: bool
    model: str
    prompts: list[Prompt]
    chosen: Chosen
    seed: int
    n: int = 1
    stop: tuple[str, ...] = ()
    echo: tuple[str, ...] = ()
    stream: bool = False
    usage: bool = False
    logprobs: bool = False
    draft: bool = False
    tokens: bool = False
    user: str = ""


def read_request(body: Any, chat: bool, model: str, samplers: Samplers) -> Asked:
    """Read the body of a request to /v1/completions or /v1/chat/completions.

    Raises:
        Refusal: it cannot be met; it says what was wrong and what is accepted.
    """
    given = check(body, CHAT if chat else COMPLETION)
    if given["model"] != model:
        raise not_served(given["model"], model)
    own = given.get("mdmkit", {})
    own = {name: value for name, value in own.items() if value is not None}
    seed = given.get("seed", secrets.randbits(48))
    rows, echo = _of_chat(given, own) if chat else _of_completion(given, own)
    field, rule = rule_of(given) or (None, None)
    if rule is not None:
        rows = [{**row, "rule": rule} for row in rows]
    n = given.get("n", 1)
    if len(rows) * n > ROWS:
        raise wrong(f"{len(rows)} prompts times n={n} are more than {ROWS} choices, the most of one request.", "n")
    try:
        prompts = read_prompts([row for row in rows for _ in range(n)], seed)
    except MdmkitError as error:
        raise wrong(str(error), "messages" if chat else "prompt") from error
    if echo and not all(isinstance(row.get("prompt"), str) for row in rows):
        raise wrong("echo returns texts, and this prompt is token ids: leave echo out.", "echo")
    asked = Asked(
        chat=chat,
        model=model,
        prompts=prompts,
        chosen=_sampler(given, own, samplers, field),
        seed=seed,
        n=n,
        stop=_stops(given.get("stop")),
        echo=tuple(row["prompt"] for row in rows for _ in range(n)) if echo else (),
        stream=given.get("stream", False),
        usage=given.get("stream_options", {}).get("include_usage", False) or False,
        logprobs=given.get("logprobs", False) is not False,
        draft=own.get("draft", False),
        tokens=own.get("tokens", False),
        user=given.get("user", ""),
    )
    _check_together(asked, given)
    return asked


def _sampler(given: Mapping[str, Any], own: Mapping[str, Any], samplers: Samplers, field: str | None) -> Chosen:
    """The sampler; `field` asks for a rule."""
    settings = own.get("sampler"), own.get("set"), given.get("temperature"), given.get("top_p")
    chosen = samplers.choose(*settings)
    if field is None:
        return chosen
    try:
        return samplers.choose(*settings, ruled=True)
    except Refusal as refusal:  # without the rule the sampler is right
        raise wrong(str(refusal), refusal.param if refusal.code is None else field, refusal.code) from refusal


def _of_completion(given: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[list[dict[str, Any]], bool]:
    """The prompts as `read_prompts` takes them, and whether each is repeated before its answer."""
    if "chat_options" in own:
        raise wrong("mdmkit.chat_options is for messages: ask /v1/chat/completions.", "mdmkit")
    prompt = given["prompt"]
    several = isinstance(prompt, list) and not isinstance(prompt[0], int)
    more = {"length": given.get("max_tokens"), "suffix": given.get("suffix"), "infill": own.get("infill")}
    more = {name: value for name, value in more.items() if value is not None}
    rows = []
    for one in prompt if several else [prompt]:
        rows.append({"prompt": one, "chat": False, **more} if isinstance(one, str) else {"prompt_ids": one, **more})
    return rows, given.get("echo", False)


def _of_chat(given: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[list[dict[str, Any]], bool]:
    both = {name: given[name] for name in ("max_tokens", "max_completion_tokens") if name in given}
    if len(set(both.values())) > 1:
        raise wrong("max_tokens and max_completion_tokens mean the same: give one.", "max_tokens")
    # Clients send an answer back with what it did not have, such as "tool_calls": null.
    messages = [
        {key: value for key, value in message.items() if value is not None or key == "content"}
        for message in given["messages"]
    ]
    more = {"chat_options": own.get("chat_options"), "infill": own.get("infill")}
    more["length"] = next(iter(both.values()), None)
    return [{"messages": messages, **{name: value for name, value in more.items() if value is not None}}], False


def _stops(stop: Any) -> tuple[str, ...]:
    if isinstance(stop, list) and "" in stop:
        raise wrong("stop holds an empty text, which would end every answer at once.", "stop")
    return () if stop is None else (stop,) if isinstance(stop, str) else tuple(stop)


def _check_together(asked: Asked, given: Mapping[str, Any]) -> None:
    if not asked.stream and "stream_options" in given:
        raise wrong("stream_options is for stream=true: give both or none.", "stream_options")
    if not asked.stream and asked.draft:
        raise wrong("mdmkit.draft sends the canvas while it fills, so it is for stream=true.", "mdmkit")
    if asked.stream and asked.logprobs:
        raise wrong("logprobs come with the whole answer: leave stream out, or logprobs.", "logprobs")
    if asked.logprobs and asked.echo:
        raise wrong("logprobs are of the answer only: leave echo out, or logprobs.", "logprobs")
    if "top_logprobs" in given and not asked.logprobs:
        raise wrong("top_logprobs is for logprobs=true: give both or none.", "top_logprobs")
    if asked.stop and asked.logprobs:
        raise wrong("logprobs belong to tokens, and stop cuts the text: leave one of them out.", "logprobs")
