"""What the machine could do at most: a step's operations against the speed of plain products."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from trainer.families.table import FAMILIES
from trainer.models.single_file import shipped_config
from trainer.settings import FamilyKey

SIDE = 4096
"""Rows and columns of the matrices that are multiplied."""


def step_flop(side: int, key: FamilyKey = "sd1") -> float:
    """Floating-point operations of the UNet's forward pass and of its backward pass to its input, batch 1.

    That is what the training of a LoRA needs, but for the LoRA itself (about a hundredth). Nothing is
    computed.
    """
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet: Any = UNet2DConditionModel.from_config(shipped_config(FAMILIES[key], "unet"))
        unet.requires_grad_(requires_grad=False)
        noisy = torch.zeros(1, 4, side // 8, side // 8).requires_grad_()
        texts = torch.zeros(1, 77, FAMILIES[key].context).requires_grad_()
        counter = FlopCounterMode(display=False)
        with counter:
            unet(noisy, torch.zeros(1), texts).sample.sum().backward()
    return float(counter.get_total_flops())


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second in products of two large matrices: the best of several, as torch does them.

    On a CPU of a processor's second, as the bench's steps are: for one thread the same.
    """
    left, right = (torch.randn(SIDE, SIDE, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(4):
        _wait(device)
        begin = time.perf_counter() if device.type == "cuda" else time.process_time()
        _ = left @ right
        _wait(device)
        end = time.perf_counter() if device.type == "cuda" else time.process_time()
        best = min(best, end - begin)
    return 2.0 * SIDE**3 / best


@lru_cache
def seconds_at_best(side: int, precision: str, device: str, threads: int) -> float:
    """Seconds of one step if all of it went at the speed of plain products."""
    torch.set_num_threads(threads)
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    return step_flop(side) / peak_flops(torch.device(device), dtype)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
