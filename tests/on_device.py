"""With `pytest -p on_device`: only what is run on a device that is not the CPU, the one of MDMKIT_TEST_DEVICE.

These are the golden data, the contract suites, and what is marked `gpu`. Other tests compare with tensors of the host.
"""

from __future__ import annotations

import os

import pytest

from mdmkit.testing.contract import Contract


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Make the device before any test is read."""
    given = os.environ.get("MDMKIT_TEST_DEVICE", "cpu")
    if given == "cpu":
        raise pytest.UsageError("-p on_device: set MDMKIT_TEST_DEVICE to a device that is not the CPU, such as cuda.")
    if given == "second":
        import second_device

        second_device.build()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the other tests of a file."""
    chosen = [item for item in items if _runs_here(item)]
    config.hook.pytest_deselected(items=[item for item in items if not _runs_here(item)])
    items[:] = chosen


def _runs_here(item: pytest.Item) -> bool:
    kind = getattr(item, "cls", None)
    of_a_suite = kind is not None and issubclass(kind, Contract)
    return of_a_suite or item.get_closest_marker("gpu") is not None or item.path.name.startswith("test_golden")
