"""With `pytest -p on_device`: only what is run on a device that is not the CPU, the one of MDMKIT_TEST_DEVICE.

These are the golden data, the contract suites, and what is marked `gpu`. Other tests compare with tensors of the host.
"""

from __future__ import annotations

import os

import pytest

from mdmkit.testing.contract import Contract
from mdmkit.testing.device import VARIABLE


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Make the device before any test is read."""
    given = os.environ.get(VARIABLE) or "cpu"
    if given == "cpu":
        raise pytest.UsageError(f"-p on_device: set {VARIABLE} to a device that is not the CPU, such as cuda.")
    if given == "second":
        import second_device

        second_device.build()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the other tests of a file."""
    chosen, others = [], []
    for item in items:
        (chosen if _runs_here(item) else others).append(item)
    config.hook.pytest_deselected(items=others)
    items[:] = chosen


def _runs_here(item: pytest.Item) -> bool:
    kind = getattr(item, "cls", None)
    of_a_suite = kind is not None and issubclass(kind, Contract)
    return of_a_suite or item.get_closest_marker("gpu") is not None or item.path.name.startswith("test_golden")
