"""Debian's chromium without a window, for tests that open a page as a person does; without it they are skipped."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("no chromium here; `make system` (apt-get install chromium) brings it", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright drives the browser")


@contextlib.contextmanager
def launched() -> Iterator[Any]:
    """The browser, until it is closed."""
    # Chromium has no sandbox for root, whom containers run as.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield chromium
        chromium.close()
