"""A second device that is the CPU: what would fail on a GPU for a tensor of the host fails on it, too.

Its memory is the host's, and its operations are the CPU's. But an operation that gets tensors of both refuses, as a GPU
does, and every branch of mdmkit for a device that is not the CPU is taken. It is built from `second.cpp` when it is
first used (half a minute), by torch's own builder of extensions.
"""

from __future__ import annotations

import types
from pathlib import Path

import torch
from torch.utils.cpp_extension import load

NAME = "second"


def build() -> None:
    """Build the device, and let torch know it as `second`."""
    load(NAME, [str(Path(__file__).with_name("second.cpp"))], is_python_module=False, extra_cflags=["-O1"])
    torch.utils.rename_privateuse1_backend(NAME)
    module = types.ModuleType(f"torch.{NAME}")
    module.__dict__.update(
        is_available=lambda: True,
        device_count=lambda: 1,
        current_device=lambda: 0,
        is_initialized=lambda: True,
        manual_seed_all=lambda seed: None,
        _is_in_bad_fork=lambda: False,
        get_amp_supported_dtype=lambda: [torch.bfloat16],
    )
    torch._register_device_module(NAME, module)


def waits() -> int:
    """How many times the host has waited for the device: a value was read, or a tensor copied to the host."""
    return torch.ops.second.waits()
