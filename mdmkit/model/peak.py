"""Peak memory during some work: that of the GPU if the model is on one, else the process's resident memory."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class Peak:
    """Read the peak since `reset`, in bytes.

    On a CPU the kernel's peak value is reset (Linux). If that is not possible, the peak is that of the whole process.
    """

    def __init__(self, device: torch.device):
        self.device = device

    def reset(self) -> bool:
        """Begin a new peak. Return False if that is not possible here."""
        if self.device.type == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats(self.device)
            return True
        try:
            _CLEAR.write_text("5")
        except OSError:
            return False
        return True

    def read(self) -> int:
        if self.device.type == "cuda":
            import torch

            return torch.cuda.max_memory_allocated(self.device)
        with contextlib.suppress(OSError):
            for line in _STATUS.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
