"""How much memory a run uses."""

from __future__ import annotations

import psutil
import torch


def bytes_in_use(device: torch.device) -> int:
    """The GPU's reserved memory, or the process's resident memory on a CPU."""
    if device.type == "cuda":
        # Reserved, not allocated: what other programs cannot have is what counts.
        return torch.cuda.memory_reserved(device)
    return psutil.Process().memory_info().rss


def bytes_there(device: torch.device) -> int:
    """The GPU's memory, or the machine's where it trains on the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return psutil.virtual_memory().total
