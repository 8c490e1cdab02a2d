"""Close something at the end, and keep the first error."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType


class Closing:
    """Call `close` when the `with` block ends. If the block raised an error, an error of `close` does not replace it.

    `contextlib.closing` would raise the error of `close`, and hide why the block ended.
    """

    def __init__(self, close: Callable[[], object]):
        self._close = close

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, first: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._close()
        except Exception as error:
            if first is None or isinstance(first, GeneratorExit):  # the consumer wants no more, which is no error
                raise
            first.add_note(f"Closing failed too: {type(error).__name__}: {error}")
