"""Hide the loader's messages. Errors are raised as MdmkitError."""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

# Seconds of work before a progress bar is shown.
PATIENCE = 2.0


@contextmanager
def quiet(*, progress: bool = False) -> Iterator[None]:
    """Silence transformers' log, progress bars and Python warnings, and restore all of them afterwards.

    With `progress`, progress bars are shown on stderr if it is a terminal, for work of more than `PATIENCE` seconds.
    If transformers is not imported yet, only warnings are silenced: its import takes a second, which a model that is
    loaded without it does not need. So import it before, not inside.
    """
    if "transformers" not in sys.modules:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
        return
    from transformers.utils import logging as loader

    level, bars = loader.get_verbosity(), loader.is_progress_bar_enabled()
    loader.set_verbosity(logging.CRITICAL)
    hook = loader.set_tqdm_hook(_patient)
    if not progress:
        loader.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        loader.set_verbosity(level)
        loader.set_tqdm_hook(hook)
        if bars and not progress:
            loader.enable_progress_bar()


def _patient(factory: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    # disable=None: tqdm shows the bar only on a terminal.
    return factory(*args, **{**keywords, "delay": PATIENCE, "leave": False, "disable": None})
