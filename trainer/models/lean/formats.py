"""In which number format torch works at a place."""

from __future__ import annotations

import torch
from torch import Tensor


def format_at_work(x: Tensor) -> torch.dtype:
    """The number format in which torch would multiply `x` (any shape) here: autocast's where that is on."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
