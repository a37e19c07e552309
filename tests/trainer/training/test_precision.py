"""What "Mixed precision" becomes on each device."""

from __future__ import annotations

import pytest
import torch

from trainer.messages import say
from trainer.training.precision import pick_device, pick_precision


@pytest.mark.parametrize(
    ("asked", "device", "dtype", "autocast", "scaled"),
    [
        ("no", "cpu", torch.float32, False, False),
        ("no", "cuda", torch.float32, False, False),
        ("bf16", "cpu", torch.bfloat16, True, False),
        ("fp16", "cuda", torch.float16, True, True),
        ("fp16", "mps", torch.bfloat16, True, False),
    ],
)
def test_precision_by_device(
    asked: str, device: str, dtype: torch.dtype, autocast: bool, scaled: bool
) -> None:
    precision = pick_precision(asked, torch.device(device))
    assert precision.dtype == dtype
    assert precision.autocast == autocast
    assert precision.scale_gradients == scaled


def test_fp16_on_a_cpu_is_replaced_and_said() -> None:
    precision = pick_precision("fp16", torch.device("cpu"))
    assert precision.dtype in {torch.bfloat16, torch.float32}
    assert precision.autocast == (precision.dtype == torch.bfloat16)
    assert precision.notice is not None
    for language in ("en", "ja"):
        assert "Mixed precision" in str(say(precision.notice, language))


def test_a_device_is_found() -> None:
    assert pick_device().type in {"cpu", "cuda", "mps"}


@pytest.mark.parametrize(
    ("instructions", "fp16_becomes", "bf16_is_slow"),
    [
        ({}, torch.float32, True),
        ({"avx512_f": True, "avx512_bf16": False}, torch.float32, False),
        ({"avx512_f": True, "avx512_bf16": True}, torch.bfloat16, False),
        ({"bf16": True}, torch.bfloat16, False),
    ],
)
def test_a_processor_is_asked_what_it_can(instructions, fp16_becomes, bf16_is_slow, monkeypatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)
    cpu = torch.device("cpu")
    assert pick_precision("fp16", cpu).dtype == fp16_becomes
    asked_for = pick_precision("bf16", cpu)
    assert asked_for.dtype == torch.bfloat16
    assert (asked_for.notice is not None) == bf16_is_slow
