""" "Dynamo backend": the denoiser compiled by torch, where torch can."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from trainer.messages import Message


def compile_denoiser(
    denoiser: nn.Module, *, backend: str, mode: str, fullgraph: bool, dynamic: bool
) -> Message | None:
    """Have torch compile the denoiser at its first use; a message where this backend does not run here.

    What cannot be compiled of it runs as it is, unless "Dynamo use fullgraph" forbids that.
    """
    if backend == "no":
        return None
    options: dict[str, Any] = {
        "backend": backend,
        "mode": None if mode == "default" else mode,
        "fullgraph": fullgraph,
        "dynamic": dynamic or None,
    }
    try:  # backends come and go with torch's releases, and inductor needs a C compiler
        torch.compile(_double, **options)(torch.zeros(1))
    except Exception as error:  # noqa: BLE001  # whatever it is: training goes on without
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        return Message("training.not_compiled", {"backend": backend, "reason": reason})
    torch._dynamo.config.suppress_errors = not fullgraph  # noqa: SLF001  # its documented switch
    denoiser.compile(**options)
    return None


def _double(values: torch.Tensor) -> torch.Tensor:
    return values * 2
