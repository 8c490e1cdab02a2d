"""Keep the loader's chatter out of the user's terminal: errors reach them as MdmkitError."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' log, progress bars and Python warnings, and restore all of them afterwards."""
    from transformers.utils import logging as loader

    level, bars = loader.get_verbosity(), loader.is_progress_bar_enabled()
    loader.set_verbosity(logging.CRITICAL)
    loader.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        loader.set_verbosity(level)
        if bars:
            loader.enable_progress_bar()
