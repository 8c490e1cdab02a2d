"""What is kept of finished blocks after their row has ended, for rows that begin with the same tokens."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mdmkit.errors import MdmkitError
from mdmkit.settings.numbers import is_whole, own

if TYPE_CHECKING:
    from mdmkit.model.backbone import Backbone

Tokens = tuple[int, ...]


@dataclass(eq=False)
class _Block:
    """One block of the model's attention, after all blocks before it.

    Attributes:
        before: the block before it; None: the root, which is no block.
        columns: what is stored of its columns, uint8 [block, bytes].
        behind: the blocks that are known to follow, by their tokens.
    """

    before: _Block | None = None
    tokens: Tokens = ()
    columns: Tensor | None = None
    behind: dict[Tokens, _Block] = field(default_factory=dict)


class KeptBlocks:
    """Keep what one model has stored of finished blocks (keys and values, for a transformer), up to a number of bytes.

    If attention is by blocks, this depends on the tokens of a block and of those before it, and on nothing else. So the
    next turn of a conversation need not compute the last one again, whatever its sampler and seed are. What was not
    used for longest is given up first, from its end. Several engines of one thread may share it.

    Args:
        most: the most bytes; they are on the model's device.

    Attributes:
        held: bytes that are held.
        rows: rows that began with kept blocks.
        columns: columns that these rows did not compute.

    Raises:
        MdmkitError: `most` is no whole number from 1.
    """

    def __init__(self, most: int):
        most = own(most)
        if not (is_whole(most) and most >= 1):
            raise MdmkitError(f"KeptBlocks({most!r}): it is the most bytes that are kept, a whole number from 1.")
        self.most, self.held, self.rows, self.columns = most, 0, 0, 0
        self._backbone: Backbone | None = None
        self._root = _Block()
        # The oldest first. A block is always used before the one that it follows, so the oldest has none behind it.
        self._used: OrderedDict[_Block, None] = OrderedDict()

    def of(self, backbone: Backbone) -> KeptBlocks:
        """Return itself, for an engine of this model.

        Raises:
            MdmkitError: it keeps blocks of another model.
        """
        if self._backbone not in (None, backbone):
            raise MdmkitError("these KeptBlocks are of another model: give every model its own.")
        self._backbone = backbone
        return self

    def find(self, tokens: Sequence[int], block: int) -> Tensor | None:
        """Return what is kept of the whole blocks with which `tokens` begin: uint8 [columns, bytes], or None."""
        path = list(self._path(tokens, block))
        self._use(path)
        return torch.cat([each.columns for each in path if each.columns is not None]) if path else None

    def keep(self, tokens: Sequence[int], block: int, take: Callable[[int, int], Tensor | None]) -> None:
        """Keep the whole blocks of `tokens`. `take` returns what is stored of the columns [start, stop)."""
        path = list(self._path(tokens, block))
        known, whole = len(path) * block, len(tokens) - len(tokens) % block
        columns = take(known, whole) if known < whole else None
        if columns is not None:
            last = path[-1] if path else self._root
            for start in range(known, whole, block):
                own = tuple(tokens[start : start + block])
                last.behind[own] = _Block(last, own, columns[start - known : start - known + block].clone())
                last = last.behind[own]
                path.append(last)
                self.held += _bytes(last)
        self._use(path)
        while self.held > self.most:
            self._give_up_oldest()

    def shrink(self) -> bool:
        """Memory was too small: give everything up, and keep half as much from here on. False: nothing was held."""
        held, self._root, self.held = self.held, _Block(), 0
        self._used.clear()
        self.most = max(1, held // 2) if held else self.most
        return held > 0

    def count(self, columns: int) -> None:
        """Count a row that began with so many kept columns."""
        self.rows, self.columns = self.rows + 1, self.columns + columns

    def _path(self, tokens: Sequence[int], block: int) -> Iterator[_Block]:
        """The kept blocks with which `tokens` begin, in order."""
        at = self._root
        for start in range(0, len(tokens) - block + 1, block):
            found = at.behind.get(tuple(tokens[start : start + block]))
            if found is None:
                return
            at = found
            yield at

    def _use(self, path: list[_Block]) -> None:
        for each in reversed(path):
            self._used[each] = None
            self._used.move_to_end(each)

    def _give_up_oldest(self) -> None:
        oldest, _ = self._used.popitem(last=False)
        assert oldest.before is not None
        assert not oldest.behind
        del oldest.before.behind[oldest.tokens]
        self.held -= _bytes(oldest)


def _bytes(block: _Block) -> int:
    return 0 if block.columns is None else block.columns.numel()
