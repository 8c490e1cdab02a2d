"""How often each token occurs in a corpus: tables for scores that discount common tokens."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mdmkit import MdmkitError

if TYPE_CHECKING:
    from torch import Tensor

    from mdmkit import Backbone, Step

FORMAT = "mdmkit corpus 1"
SHIPPED = Path(__file__).with_name("corpora")


@dataclass(frozen=True)
class Table:
    """Token counts of a corpus under one tokenizer, as a JSON object.

    Attributes:
        format: the name of the file format.
        model: the model whose tokenizer was used.
        vocab: V.
        fingerprint: of the tokenizer, see `fingerprint`.
        source: a description of the corpus.
        counts: [token id, count] of every token that occurs, most frequent first.
    """

    format: str
    model: str
    vocab: int
    fingerprint: str
    source: str
    counts: tuple[tuple[int, int], ...]

    @property
    def total(self) -> int:
        return sum(count for _, count in self.counts)

    def save(self, path: Path) -> None:
        """Write the file in one piece. If the path is a link, the file that it points to is replaced."""
        path = path.resolve()
        part = path.with_name(f".{path.name}.part")
        facts = asdict(self)
        head = ",\n".join(f"  {json.dumps(key)}: {json.dumps(facts[key])}" for key in facts if key != "counts")
        counts = ", ".join(f"[{token}, {count}]" for token, count in self.counts)
        try:
            part.write_text(f'{{\n{head},\n  "counts": [{counts}]\n}}\n', encoding="utf-8")
            part.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):  # if the name is too long, there is no file to remove
                part.unlink(missing_ok=True)
            raise MdmkitError(f"{path} cannot be written: {error.strerror or error}. Name another place.") from error

    def check(self, backbone: Backbone, path: str) -> None:
        """Refuse a table of another tokenizer."""
        if self.fingerprint != fingerprint(backbone):
            raise MdmkitError(
                f"corpus table {path} was counted with the tokenizer of {self.model} ({self.vocab} ids), which is not "
                "this model's. Count the corpus again: mdmkit corpus build --model MODEL TEXT."
            )


def fingerprint(backbone: Backbone) -> str:
    """A hash of a model's tokenizer, 16 hex digits: the text of every id, and which id is the mask."""
    digest = hashlib.sha256(f"{backbone.vocab} {backbone.mask_id}".encode())
    for token in range(backbone.vocab):
        digest.update(b"\0" + backbone.render(token).encode())
    return digest.hexdigest()[:16]


def check(path: str, backbone: Backbone) -> None:
    """Refuse a table that was counted with another tokenizer than this model's.

    Raises:
        MdmkitError: the error names the table, its model, and the command that counts again.
    """
    log_frequency(path)[0].check(backbone, path)


def count(pieces: list[list[int]], backbone: Backbone, model: str, source: str) -> Table:
    """Count token ids."""
    tally = Counter(token for piece in pieces for token in piece)
    ordered = sorted(tally.items(), key=lambda item: (-item[1], item[0]))
    return Table(FORMAT, model, backbone.vocab, fingerprint(backbone), source, tuple(ordered))


def read(path: str) -> Table:
    """Read a table: a file, or the name of a table of this package.

    Raises:
        MdmkitError: there is no such file, or it is not a table.
    """
    shipped = {file.stem: file for file in SHIPPED.glob("*.json")}
    file = shipped.get(path, Path(path))
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        names = ", ".join(sorted(shipped))
        raise MdmkitError(
            f"corpus table {path!r} cannot be read ({error.strerror or error}). Give the path of a file that `mdmkit "
            f"corpus build` wrote, or the name of a table of this package: {names}."
        ) from error
    except (ValueError, RecursionError) as error:
        raise MdmkitError(f"corpus table {path!r} is not JSON: {error}.") from error
    try:
        pairs = tuple((int(token), int(number)) for token, number in data.pop("counts"))
        table = Table(**data, counts=pairs)
        bad = table.format != FORMAT or not pairs or any(not 0 <= t < table.vocab or n < 1 for t, n in pairs)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        bad = True
    if bad:
        raise MdmkitError(
            f"corpus table {path!r} is not of the format {FORMAT!r}: build it with `mdmkit corpus build`."
        )
    return table


@lru_cache(maxsize=32)
def log_frequency(path: str) -> tuple[Table, Tensor]:
    """A table, and ln f(v), fp32 [V] on the CPU: f is a token's share of the corpus, at least one occurrence."""
    table = read(path)
    counts = torch.ones(table.vocab, dtype=torch.float64)
    ids, numbers = zip(*table.counts, strict=True)
    counts[torch.tensor(ids)] = torch.tensor(numbers, dtype=torch.float64)
    return table, (counts / table.total).log().float()


def on_device(path: str, step: Step) -> Tensor:
    """ln f(v), fp32 [V], on the device of a step's belief; copied once per decode.

    Raises:
        MdmkitError: the table has another number of ids than the model.
    """
    key, logits = f"corpus table {path}", step.belief.logits
    if key not in step.shared:
        table, values = log_frequency(path)
        if table.vocab != logits.shape[-1]:
            raise MdmkitError(
                f"corpus table {path!r} was counted with the tokenizer of {table.model}, {table.vocab} ids, and this "
                f"model has {logits.shape[-1]}. Count the corpus with its own: mdmkit corpus build --model MODEL TEXT."
            )
        there = torch.empty(table.vocab, device=logits.device)
        step.shared[key] = there.copy_(values, non_blocking=True)
    found: Tensor = step.shared[key]
    return found
