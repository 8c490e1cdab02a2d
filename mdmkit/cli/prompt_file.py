"""Read a file of prompts as people have them: JSON lines, a JSON array, plain text, or standard input."""

from __future__ import annotations

import difflib
import itertools
import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mdmkit.cli.encoding import as_text
from mdmkit.errors import MdmkitError, shown
from mdmkit.from_json import TwiceError, from_json
from mdmkit.whole_file import read_to_end, read_whole

STANDARD_INPUT = Path("-")
# How JSON begins. A text may begin with a bracket or a brace too, as in "[MASK] is what?".
JSON = re.compile(r'\s*(?:"|\{\s*["}]|\[\s*["{\[\]\d-])')
# How to say that a file holds texts, and how to say it of standard input.
TEXTS = "If every line is a text, let the file's name end in .txt."
PIPED = "If every line is a text, write them into a file whose name ends in .txt, and name it."
FORM = 'a line is a text in quotes, a list of token ids, or an object such as {"prompt": "…"}'
# What to do about a key that stands twice.
ONE = "Keep one of the two."
# Sources of a prompt: an object has one of them.
SOURCES = ("prompt", "prompt_ids", "messages", "conversations")
# Roles of ShareGPT's conversations, by the names that chat templates know.
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
# Settings that other programs take from a prompt's line, and the keys of `--set` that do the same for a run.
SETTINGS = {"temperature": "draw.temperature", "top_p": "draw.top_p", "top_k": "draw.top_k", "steps": "plan.steps"}
SETTINGS |= dict.fromkeys(("max_tokens", "max_new_tokens", "max_completion_tokens", "max_gen_toks"), "plan.length")


class Line(NamedTuple):
    """One prompt of a file.

    Attributes:
        where: its place in the file, for errors.
        prompt: as `mdmkit.read_prompts` takes it.
        own: its `id` and `meta`, which travel into its row.
    """

    where: str
    prompt: Any
    own: dict[str, Any]


def read_file(file: Path, key: str | None = None) -> Iterator[Line]:
    """Read the prompts of a file; `-` is standard input.

    A file that ends in .txt holds a text on each line. Any other holds JSON lines, or one JSON array. Standard input
    holds JSON if it begins as JSON does (see `JSON`), else a text on each line.

    Args:
        key: the key of an object that holds its prompt, if it is none of `SOURCES`.

    Raises:
        MdmkitError: the file is missing or empty, or a line is no prompt.
    """
    name = "standard input" if file == STANDARD_INPUT else str(file)
    text = _text(file, name)
    if not text.strip():
        raise MdmkitError(f"{name}: it holds no prompt. Write a prompt on each line.")
    for place, value in _values(file, name, text):
        where = f"{name}, {place}"
        try:
            yield Line(where, *_prompt(value() if callable(value) else value, key))
        except MdmkitError as error:
            raise MdmkitError(f"{where}: {error}") from None


def piped() -> bool:
    """True if standard input is a pipe, or a file that the shell redirected."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):  # there is no standard input, or it is no file of the system
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def holds_something() -> bool:
    """True if standard input is not at its end; waits until something comes."""
    stream: Any = sys.stdin.buffer
    return bool(stream.peek(1))


def _text(file: Path, name: str) -> str:
    try:
        content = read_to_end(sys.stdin.buffer) if file == STANDARD_INPUT else read_whole(file)
    except (OSError, ValueError) as error:  # a name may hold a NUL
        said = getattr(error, "strerror", None) or error
        raise MdmkitError(f"--prompts {shown(str(file))}: {said}. Name a readable file of prompts.") from None
    return as_text(content, name)


def _values(file: Path, name: str, text: str) -> Iterator[tuple[str, Any]]:
    """The place and the value of each prompt, or a function that reads the value."""
    first = text.lstrip()[0]
    plain = JSON.match(text) is None if file == STANDARD_INPUT else file.suffix.lower() == ".txt"
    if first == "[" and not plain and (array := _array(text, name)) is not None:
        yield from ((f"item {number}", value) for number, value in enumerate(array, 1))
        return
    piped = file == STANDARD_INPUT
    lines = [(f"line {number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if plain and first == "{" and _is_object(lines[0][1]):
        raise MdmkitError(f"{file}: a .txt file holds texts, and this one JSON. Let its name end in .jsonl.")
    for place, line in lines:
        yield place, line.removesuffix("\r") if plain else lambda line=line: _parsed(line, piped)


def _array(text: str, name: str) -> list[Any] | None:
    """The prompts of a JSON array; None if the text is none, or holds the token ids of one prompt."""
    try:
        values = from_json(text)
    except TwiceError as error:
        raise MdmkitError(f"{name}, {_twice_at(text)}: {error}. {ONE}") from None
    except (ValueError, RecursionError):
        return None
    if values == []:
        raise MdmkitError("it is an empty array, and holds no prompt.")
    return None if all(isinstance(value, int | float) for value in values) else values


def _twice_at(text: str) -> str:
    """The place of the first item of a JSON array in which an object has a key twice."""
    at = text.index("[")
    for number in itertools.count(1):
        at += 1  # behind the bracket, or a comma
        while text[at].isspace():
            at += 1
        end = json.JSONDecoder().raw_decode(text, at)[1]
        if _has_twice(text[at:end]):
            return f"item {number} (line {text.count(chr(10), 0, at) + 1})"
        at = text.index(",", end)
    raise AssertionError  # it has no last item


def _has_twice(text: str) -> bool:
    try:
        from_json(text)
    except TwiceError:
        return True
    return False


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _parsed(line: str, piped: bool) -> Any:
    way = PIPED if piped else TEXTS
    try:
        return from_json(line)
    except TwiceError as error:
        raise MdmkitError(f"{error}. {ONE}") from None
    except json.JSONDecodeError as error:
        array = " A JSON array must be whole, from [ to ]." if line.lstrip().startswith("[") else ""
        raise MdmkitError(f"not JSON ({error.msg} at column {error.colno}); {FORM}.{array} {way}") from None
    except (ValueError, RecursionError) as error:  # a number with thousands of digits, or too many nested brackets
        raise MdmkitError(f"not a prompt ({' '.join(str(error).split())}); {FORM}. {way}") from None


def _prompt(value: Any, key: str | None) -> tuple[Any, dict[str, Any]]:
    """A prompt as `mdmkit.read_prompts` takes it, and what else its object holds."""
    if isinstance(value, dict):
        return _from_object(value, key)
    if key is not None:
        raise MdmkitError(f"--prompt-key {key} names a key of an object, and this is {shown(value)}.")
    if not isinstance(value, str | list):
        raise MdmkitError(f"{shown(value)} is not a prompt; {FORM}.")
    return value, {}


def _from_object(value: dict[str, Any], key: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    from mdmkit.decoding.prompts import KEYS

    if key is None and not any(source in value for source in SOURCES):
        near = next((f" Did you mean {found[0]!r}?" for name in value if (found := _near(name, SOURCES))), "")
        raise MdmkitError(
            f"it has none of the keys {', '.join(map(repr, SOURCES))}.{near} Its keys are {_keys(value)}: name the one "
            "that holds the prompt, as in --prompt-key question."
        )
    known = [name for name in KEYS if key is None or name not in SOURCES]
    asked = {name: each for name, each in value.items() if name in known}
    rest = {name: each for name, each in value.items() if name not in known and name != key}
    if key is not None:
        asked |= _at_key(value, key)
    elif "conversations" in rest:
        asked["messages"] = _turns(rest.pop("conversations"))
    for name in rest:
        _check_own(name, known)
    _check_written(rest)
    own = {"id": rest.pop("id")} if "id" in rest else {}
    return asked, own | ({"meta": rest} if rest else {})


def _keys(value: dict[str, Any]) -> str:
    return shown(", ".join(list(value)[:20]))[1:-1] or "none"


def _at_key(value: dict[str, Any], key: str) -> dict[str, Any]:
    if key not in value:
        raise MdmkitError(f"it has no key {key!r} (--prompt-key). Its keys are {_keys(value)}.")
    found = value[key]
    if isinstance(found, list) and all(isinstance(each, int) for each in found):
        return {"prompt_ids": found}
    if isinstance(found, list) and found and isinstance(found[0], dict):
        return {"messages": _turns(found) if "from" in found[0] else found}
    if not isinstance(found, str):
        raise MdmkitError(f"{key!r} is {shown(found)}, and a prompt is a text, a list of token ids, or of messages.")
    return {"prompt": found}


def _turns(given: Any) -> Any:
    """ShareGPT's turns, `{"from": "human", "value": "…"}`, as messages; messages are returned as they are."""
    if not isinstance(given, list) or not all(isinstance(turn, dict) and "from" in turn for turn in given):
        return given
    for turn in given:
        if set(turn) != {"from", "value"} or not isinstance(turn["from"], str) or turn["from"] not in ROLES:
            raise MdmkitError(
                f"{shown(turn)} is no turn of 'conversations': it has 'from', one of {', '.join(ROLES)}, and 'value', "
                "a text, and no other key."
            )
    return [{"role": ROLES[turn["from"]], "content": turn["value"]} for turn in given]


def _check_own(name: str, known: list[str]) -> None:
    """Refuse a key that looks like one of ours: it would be ignored in silence."""
    if name in SETTINGS:
        raise MdmkitError(
            f"{name!r} is a setting of the whole run here: give it as --set {SETTINGS[name]}=…, and take it out of the "
            "file. (The masks of one row are its key 'length'.)"
        )
    if near := _near(name, known):
        raise MdmkitError(f"unknown key {name!r}. Did you mean {near[0]!r}? Rename it if it is a key of your own.")


def _check_written(own: dict[str, Any]) -> None:
    """Refuse what could not be written into a row later, when it has been decoded."""
    for name, value in own.items():
        try:
            json.dumps({name: value}, ensure_ascii=False, allow_nan=False).encode()
        except UnicodeEncodeError:
            problem = "half of a surrogate pair, which no text in UTF-8 can hold"
        except ValueError:
            problem = "a number that is not finite, which JSON cannot hold"
        else:
            continue
        raise MdmkitError(f"its own key {shown(name)} holds {problem}. Correct it, or leave it out.")


def _near(name: str, known: tuple[str, ...] | list[str]) -> list[str]:
    # "input" is a key of many data sets, and is not meant as "inputs".
    return [] if name == "input" else difflib.get_close_matches(name, known, n=1, cutoff=0.8)
