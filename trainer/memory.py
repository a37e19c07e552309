"""How much memory a run uses."""

from __future__ import annotations

import psutil
import torch


def bytes_in_use(device: torch.device) -> int:
    """The GPU's reserved memory, or the process's resident memory on a CPU."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    return psutil.Process().memory_info().rss
