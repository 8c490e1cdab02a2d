"""The inputs of a prompt that are files: `--image` and `--mask`, and their names in a file of prompts."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdmkit.errors import MdmkitError
from mdmkit.whole_file import MOST

if TYPE_CHECKING:
    from mdmkit.canvas.prompt import Prompt

# The inputs that name a file.
FILES = ("image", "mask")


def given_inputs(
    image: str | None, mask: str | None, strength: float | None, prompts: Path | None = None
) -> dict[str, Any]:
    """Return the inputs that options give to every prompt. `-` is the content of standard input, as bytes.

    Args:
        prompts: the file of prompts, which may be standard input too.

    Raises:
        MdmkitError: two options read standard input, or it is empty or too long.
    """
    given = {"image": image, "mask": mask, "strength": strength}
    inputs = {key: value for key, value in given.items() if value is not None}
    piped = [key for key in FILES if inputs.get(key) == "-"]
    if len(readers := [*piped, *(["prompts"] if str(prompts) == "-" else [])]) > 1:
        one, other = readers[:2]
        raise MdmkitError(f"--{one} - and --{other} - would both read standard input. Name a file for one of them.")
    return inputs | {key: _standard_input(key) for key in piped}


def beside(prompt: Prompt, folder: Path) -> Prompt:
    """Return the prompt with its files looked for in a folder: that of the file of prompts that names them."""
    named = {key: value for key, value in (prompt.inputs or {}).items() if key in FILES and isinstance(value, str)}
    if not named:
        return prompt
    return replace(prompt, inputs={**(prompt.inputs or {}), **{key: str(folder / file) for key, file in named.items()}})


def _standard_input(key: str) -> bytes:
    data = sys.stdin.buffer.read(MOST + 1)
    if not data or len(data) > MOST:
        found = f"has more than {MOST >> 20} MiB" if data else "is empty"
        raise MdmkitError(f"--{key} -: standard input {found}. Pipe an image file in, or name a file.")
    return data
