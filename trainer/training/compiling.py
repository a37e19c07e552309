""" "Dynamo backend": the denoiser compiled by torch, where torch can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from trainer import settings as schema
from trainer.messages import Message


def compile_denoiser(denoiser: nn.Module, machine: schema.Machine) -> Message | None:
    """Have torch compile the denoiser at its first use; a message where this backend does not run here.

    "Dynamo repeated blocks": of its blocks those that come many times, each kind compiled once, instead of
    the whole. What cannot be compiled runs as it is, unless "Dynamo use fullgraph" forbids that.
    """
    backend, fullgraph = machine.dynamo_backend, machine.dynamo_use_fullgraph
    if backend == "no":
        return None
    options: dict[str, Any] = {
        "backend": backend,
        "mode": None if machine.dynamo_mode == "default" else machine.dynamo_mode,
        "fullgraph": fullgraph,
        "dynamic": machine.dynamo_use_dynamic or None,
    }
    try:  # backends come and go with torch's releases, and inductor needs a C compiler
        # Tried on almost nothing: the real thing takes minutes to fail.
        torch.compile(_double, **options)(torch.zeros(1))
    except Exception as error:  # noqa: BLE001  # whatever it is: training goes on without
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        return Message("training.not_compiled", {"backend": backend, "reason": reason})
    torch._dynamo.config.suppress_errors = not fullgraph  # noqa: SLF001  # its documented switch
    # In place: the module keeps its names and hooks, and nobody holds another one.
    repeated: Any = getattr(denoiser, "compile_repeated_blocks", None)  # diffusers' models have it
    (repeated if machine.dynamo_repeated_blocks and repeated else denoiser.compile)(**options)
    return None


def compile_seconds() -> float:
    """What torch has taken to compile in this process up to now."""
    from torch._dynamo.utils import calculate_time_spent

    return float(calculate_time_spent().get("total_wall_time", 0.0))


def tell_compile_time(optimizer: torch.optim.Optimizer, tell: Callable[[Message], None]) -> None:
    """After the optimizer's first step tell how long compiling took until then."""
    before = compile_seconds()

    def told(*_: Any) -> None:
        hook.remove()
        if taken := round(compile_seconds() - before):
            tell(Message("training.compiled", {"seconds": taken}))

    hook = optimizer.register_step_post_hook(told)


def _double(values: torch.Tensor) -> torch.Tensor:
    """(n,), twice as large: something to compile."""
    return values * 2
