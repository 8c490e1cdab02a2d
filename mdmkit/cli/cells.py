"""The cells of `mdmkit bench`: each case, measured, or with the reason why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mdmkit.decoding.batch import chosen_batch
from mdmkit.errors import MdmkitError, explained, is_out_of_memory

if TYPE_CHECKING:
    from mdmkit.canvas.prompt import Prompt
    from mdmkit.cli.cases import Case
    from mdmkit.model.backbone import Backbone
    from mdmkit.watch.cost import Cost


@dataclass(frozen=True)
class Cell:
    """The result of a case.

    Attributes:
        batch: the rows that were decoded together.
        costs: of each counted decode; empty if there is a reason.
        peak: bytes, the peak during the counted decodes; None: not measured.
        own_peak: False if the peak could not be reset, so that it is the whole process's so far.
        reason: why the case could not be measured.
    """

    case: Case
    batch: int
    costs: Sequence[Cost] = ()
    peak: int | None = None
    own_peak: bool = True
    reason: str = ""


class Drawn:
    """Draw random prompts of ids that the model may choose. A row has the same ids in any batch.

    Args:
        length: tokens of a prompt.

    Raises:
        MdmkitError: the model may choose no token.
    """

    def __init__(self, backbone: Backbone, length: int, seed: int):
        self.backbone, self.length, self.seed = backbone, length, seed
        never = {backbone.mask_id, backbone.pad_id, *backbone.forbidden, *backbone.ends, *backbone.endings}
        self._ids = [token for token in range(backbone.vocab) if token not in never]
        if not self._ids:
            raise MdmkitError(f"backbone {type(backbone).__name__!r} forbids every token, so no prompt can be drawn.")

    def __call__(self, count: int, masks: int) -> list[Prompt]:
        """Draw so many prompts, for `masks` masks each."""
        from mdmkit.decoding.prompts import read_prompts

        rows = [{"prompt_ids": self._row(row), "length": masks} for row in range(count)]
        return read_prompts(rows, self.seed)

    def _row(self, row: int) -> list[int]:
        import torch

        from mdmkit.noise import row_seed

        generator = torch.Generator().manual_seed(row_seed(self.seed, row))
        return [self._ids[i] for i in torch.randint(len(self._ids), (self.length,), generator=generator).tolist()]


def measured(case: Case, drawn: Drawn, repeats: int, told: Callable[[], Any] = lambda: None) -> Cell:
    """Measure a case. If memory is too small for `auto`, half as many rows are tried, down to one.

    Args:
        repeats: decodes that are counted; one before them is not.
        told: called after each decode.
    """
    from mdmkit.loop.engine import free_memory

    batch, auto = chosen_batch(case.batch, drawn.backbone)
    while True:
        try:
            return _decoded(case, drawn.backbone, drawn(batch, case.masks), repeats, told)
        except Exception as error:
            if not is_out_of_memory(error):
                if not isinstance(error, MdmkitError):
                    raise
                return Cell(case, batch, reason=explained(error))
        # Outside of the handler, because the traceback keeps the step's tensors alive.
        free_memory(drawn.backbone)
        if not auto or batch == 1:
            return Cell(case, batch, reason=f"out of memory with {batch} row{'s' * (batch > 1)}")
        batch //= 2


def _decoded(case: Case, backbone: Backbone, prompts: Sequence[Prompt], repeats: int, told: Callable[[], Any]) -> Cell:
    from mdmkit.model.peak import Peak
    from mdmkit.watch.cost import measure

    def decodes(count: int) -> Iterator[Cost]:
        for _ in range(count):
            yield measure(case.sampler, backbone, prompts)
            told()

    list(decodes(1))  # the first decode chooses kernels and reserves memory
    peak = Peak(backbone.device)
    own = peak.reset()
    costs = list(decodes(repeats))
    return Cell(case, len(prompts), costs, peak.read(), own)
