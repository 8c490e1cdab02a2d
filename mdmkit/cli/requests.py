"""Read the prompts: texts, token ids and JSON-lines files, in the given order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdmkit._gone import names_gone
from mdmkit.cli.inputs import beside
from mdmkit.errors import MdmkitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mdmkit.canvas.prompt import Prompt
    from mdmkit.decoding.encodings import Encodings
    from mdmkit.model.backbone import Backbone
    from mdmkit.settings.plan import Plan


def gather(
    texts: Sequence[str], ids: Sequence[str], file: Path | None, seed: int
) -> tuple[list[Prompt], dict[int, str]]:
    """Collect the prompts of `--prompt`, `--prompt-ids` and `--prompts`, each seeded by its place in the list.

    Returns:
        The prompts, and for those of the file the line of each, for errors.

    Raises:
        MdmkitError: an id is not a number; or the file is missing, empty, not JSON lines, or holds a wrong line.
    """
    from mdmkit.decoding.prompts import as_prompt, read_prompts

    prompts = read_prompts([*texts, *(_numbers(line) for line in ids)], seed)
    lines: dict[int, str] = {}
    if file is None:
        return prompts, lines
    for number, line in _lines(file):
        lines[len(prompts)] = f"{file}, line {number}"
        try:
            prompts.append(beside(as_prompt(_parsed(line), len(prompts), seed), file.parent))
        except MdmkitError as error:
            raise MdmkitError(f"{lines[len(prompts)]}: {error}") from None
    return prompts, lines


def check_prompts(backbone: Backbone, prompts: Iterable[Prompt], plan: Plan, lines: dict[int, str]) -> Encodings:
    """Encode every prompt, so that a wrong prompt is refused, with its line, before any is decoded.

    Returns:
        The encoded prompts, for `decode_batches`: so no prompt is encoded twice.
    """
    from mdmkit.decoding.encodings import Encodings

    encodings = Encodings(backbone, plan)
    for prompt in prompts:
        try:
            encodings.size(prompt)
        except MdmkitError as error:
            where = lines.get(prompt.index)
            raise MdmkitError(f"{where}: {error}" if where else str(error)) from error
    return encodings


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise MdmkitError(f"--prompt-ids {text!r}: token ids are whole numbers, as in --prompt-ids '5 7 9'.") from None


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise MdmkitError(f"--prompts {file}: {error.strerror or error}. Name a readable file of JSON lines.") from None
    except UnicodeDecodeError:
        raise MdmkitError(f"--prompts {file}: not UTF-8 text. It should hold one JSON value per line.") from None
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise MdmkitError(f"--prompts {file}: the file holds no prompt. Write one JSON value per line.")
    yield from lines


def _parsed(line: str) -> Any:
    form = 'a line is a text in quotes, a list of token ids, or an object such as {"prompt": "…"}'
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise MdmkitError(f"not JSON ({error.msg} at column {error.colno}); {form}.") from None
    except (ValueError, RecursionError) as error:  # a number with thousands of digits, or too many nested brackets
        raise MdmkitError(f"not a prompt ({' '.join(str(error).split())}); {form}.") from None
    if not isinstance(value, str | list | dict):
        raise MdmkitError(f"{value!r} is not a prompt; {form}.")
    return value


__getattr__ = names_gone("cli.requests")
