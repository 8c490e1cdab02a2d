"""The device that the contract suites and the toy models run on."""

from __future__ import annotations

import os

import torch

VARIABLE = "MDMKIT_TEST_DEVICE"


def device_of_tests() -> torch.device:
    """Return the device that the environment variable MDMKIT_TEST_DEVICE names, as `cuda`; the CPU if it is not set."""
    return torch.device(os.environ.get(VARIABLE) or "cpu")
