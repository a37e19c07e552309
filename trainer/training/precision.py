"""Which device trains and in which number format the frozen base model is kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trainer.messages import Message


@dataclass(frozen=True)
class Precision:
    """Number format of a run. LoRA weights are float32 whatever stands here (unless "Full … training")."""

    dtype: torch.dtype
    """Of the frozen base model."""
    autocast: bool
    """Whether the forward pass runs under torch.autocast(dtype)."""
    notice: Message | None = None
    """Set where another format than the one asked for is used, or it costs much time here."""

    @property
    def scale_gradients(self) -> bool:
        """float16 gradients underflow, so the loss is scaled (torch.amp.GradScaler)."""
        return self.autocast and self.dtype == torch.float16


def pick_device() -> torch.device:
    """NVIDIA or AMD card, Apple's GPU, else the processor."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def pick_precision(mixed_precision: str, device: torch.device) -> Precision:
    """What "Mixed precision" means on this device.

    A CPU cannot run float16 (group norm refuses it), Apple's GPU has no loss scaling, and cards before
    2020 have no bfloat16.
    """
    if mixed_precision == "no":
        return Precision(torch.float32, autocast=False)
    if mixed_precision == "fp16" and device.type == "cpu":
        # The nearest that runs: half the memory where the processor has it, else exact and no slower.
        dtype, name = (
            (torch.bfloat16, "bf16")
            if _cpu_has("avx512_bf16", "amx_bf16", "bf16")
            else (torch.float32, "float32")
        )
        notice = Message("core.no_fp16_on_cpu", {"used": name})
        return Precision(dtype, autocast=dtype != torch.float32, notice=notice)
    if mixed_precision == "fp16" and device.type == "mps":
        return Precision(torch.bfloat16, autocast=True, notice=Message("core.no_fp16_on_mps"))
    if mixed_precision == "bf16" and device.type == "cpu" and not _cpu_has("avx512_f", "bf16"):
        # As asked for all the same: in float32 the model takes twice the memory.
        return Precision(torch.bfloat16, autocast=True, notice=Message("core.bf16_emulated"))
    # Emulated it would be slower than float32.
    if mixed_precision == "bf16" and device.type == "cuda" and not _card_has_bfloat16():
        return Precision(torch.float16, autocast=True, notice=Message("core.no_bf16_on_card"))
    return Precision(torch.float16 if mixed_precision == "fp16" else torch.bfloat16, autocast=True)


def _card_has_bfloat16() -> bool:
    return torch.cuda.is_bf16_supported(including_emulation=False)


def _cpu_has(*instructions: str) -> bool:
    """One of them at least. bfloat16 has its own (Intel's servers since 2020, AMD since 2022, ARM: "bf16").

    Without them it is slower than float32; without AVX-512 as well, many times slower.
    """
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in instructions)


def device_name(device: torch.device) -> str:
    """What people call it: the card's name, or CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return {"mps": "Apple GPU", "cpu": "CPU"}.get(device.type, device.type)
