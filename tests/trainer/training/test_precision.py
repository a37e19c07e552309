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
