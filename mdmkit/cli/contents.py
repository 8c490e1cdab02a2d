"""What the files of a run hold: two runs are the same only if they read the same, not only the same names."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdmkit.errors import MdmkitError

if TYPE_CHECKING:
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.model.backbone import Backbone

# Bytes at the beginning of a file that are hashed. They hold the header of a safetensors file; most other files are
# shorter, and are hashed whole.
HASHED = 8 * 2**20
# Keys of a sampler's configuration that hold names of parts, never of files.
_NAMES = ("name", "sampler", "parts")
# Files of a model's folder that no loader reads.
_BESIDE = (".md", ".run.json", ".gitattributes", ".lock", ".part")


def contents(backbone: Backbone, settings: Any, prompts: Iterable[Prompt]) -> dict[str, Any]:
    """Describe what a run reads, for its record.

    Args:
        settings: the sampler's configuration and the options of the model; every text in it that names a file counts.
        prompts: files among their `inputs` count too, such as images and masks.

    Returns:
        `backbone`, the distribution and version that loaded the model; `model`, the files that it was loaded from; and
        `files`, the others. A file's fingerprint stands under its name.

    Raises:
        MdmkitError: a file cannot be read.
    """
    source = backbone.source
    given = [settings, source.options if source is not None else {}, *[prompt.inputs for prompt in prompts]]
    named = sorted({text for text in _texts(given) if _is_file(text)})
    roots = [Path(root) for root in backbone.loaded_from]
    folders = [root for root in roots if root.is_dir()]
    several = len(folders) > 1  # two folders may have files of one name, and may have one name themselves
    alike = len({root.name for root in folders}) < len(folders)
    model = {
        name: fingerprint(path)
        for root in roots
        for name, path in _files_of(root, (str(root) if alike else root.name) if several else "")
    }
    return {
        "backbone": source.origin if source is not None else None,
        "model": model,
        "files": {name: fingerprint(Path(name)) for name in named},
    }


def fingerprint(path: Path) -> str:
    """Describe a file by its content: the hash of its beginning and, if it is larger, its size and time.

    A file of the hub's cache is a link to a file that is named by the hash of its whole content. Then this is used.

    Raises:
        MdmkitError: the file cannot be read.
    """
    try:
        real = path.resolve()
        if path.is_symlink() and real.parent.name == "blobs":
            return real.name
        known = real.stat()
        with real.open("rb") as file:
            digest = hashlib.sha256(file.read(HASHED)).hexdigest()[:16]
    except (OSError, RuntimeError) as error:
        raise MdmkitError(f"{path}: {getattr(error, 'strerror', None) or error}. The run reads this file.") from error
    if known.st_size <= HASHED:
        return digest
    written = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(known.st_mtime))
    return f"{digest}, {known.st_size} bytes, written {written}.{known.st_mtime_ns % 10**9:09}"


def changed(theirs: Any, ours: Mapping[str, Any], words: tuple[str, str] = ("then", "now")) -> Iterator[str]:
    """Say in words which files, or which plugin, differ between two such descriptions; `words` name the two."""
    if not isinstance(theirs, Mapping):
        yield "the files of the model (their content is not on record)"
        return
    if theirs.get("backbone") != ours["backbone"]:
        yield f"the model's plugin ({theirs.get('backbone')} {words[0]}, {ours['backbone']} {words[1]})"
    for key, what in (("model", "the model's files differ"), ("files", "files differ")):
        before = theirs.get(key)
        before = before if isinstance(before, Mapping) else {}
        other = sorted(name for name in {**before, **ours[key]} if before.get(name) != ours[key].get(name))
        if other:
            more = f" and {len(other) - 4} more" if len(other) > 4 else ""
            yield f"{what} ({', '.join(other[:4])}{more})"


def _files_of(root: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    if not root.is_dir():
        yield root.name, root
        return
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if not any(part.startswith(".") for part in name.parts) and not path.name.endswith(_BESIDE) and path.is_file():
            yield str(Path(prefix, name)), path


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str | Path):
        yield str(value)
    elif isinstance(value, Mapping):
        for key, each in value.items():
            if key not in _NAMES:
                yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def _is_file(text: str) -> bool:
    try:
        return 0 < len(text) < 4096 and Path(text).is_file()
    except OSError:
        return False
