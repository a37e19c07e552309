"""What a step keeps for its backward pass: all, attention's output, or nothing but the blocks' inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.trainer.looks import quiet
from tests.trainer.runs import short_settings
from tests.trainer.tiny import STEPS, fresh_model, predict
from trainer.files.job_folder import JobFolder
from trainer.models.checkpointing import enable_gradient_checkpointing
from trainer.network.network import build_network
from trainer.plan.inputs import read_inputs
from trainer.settings import Network as Settings
from trainer.training.build import build_parts

Kept = Literal["all", "attention", "inputs"]


class Watch(TorchDispatchMode):
    """Counts attention's forward passes, and what of all that was computed is still in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = 0
        self._made: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        name = str(func)
        self.attention += "scaled_dot_product" in name and "backward" not in name
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self._made[storage._cdata] = StorageWeakRef(storage), storage.nbytes()  # its identity
        return found

    def kept(self) -> int:
        """Bytes of what was computed and is still there."""
        return sum(size for reference, size in self._made.values() if not reference.expired())


def step(kept: Kept, kind: str, dtype: torch.dtype | None) -> tuple[int, int, list[Tensor]]:
    """Bytes kept after the forward pass, attention's forward passes in all, and the gradients."""
    model = fresh_model()
    torch.manual_seed(1)
    network = build_network(model, Settings(LoRA_type=kind, network_dim=4, conv_dim=2))  # pyright: ignore[reportArgumentType]  # any of them
    generator = torch.Generator().manual_seed(3)
    for weight in network.parameters():
        weight.data += torch.randn(weight.shape, generator=generator) * 0.1
    if kept != "all":
        enable_gradient_checkpointing(model, keep_attention=kept == "attention")
    noisy, texts = torch.ones(2, 4, 16, 16), torch.ones(2, 77, 48)
    autocast = nullcontext() if dtype is None else torch.autocast("cpu", dtype)
    with Watch() as watch:
        with autocast:
            answer = predict(model, noisy, STEPS, texts)
        bytes_kept = watch.kept()
        answer.float().pow(2).mean().backward()
    gradients = [weight.grad for weight in network.parameters("unet") if weight.grad is not None]
    return bytes_kept, watch.attention, gradients


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("Standard", None),
        pytest.param("Kohya LoCon", torch.bfloat16, marks=pytest.mark.long),
        pytest.param("LyCORIS/LoHa", None, marks=pytest.mark.long),
    ],
)
def test_keeping_attention_costs_some_memory_and_saves_its_second_pass(
    kind: str, dtype: torch.dtype | None
) -> None:
    everything, attention, inputs = (step(kept, kind, dtype) for kept in ("all", "attention", "inputs"))
    assert inputs[0] < attention[0] < everything[0]
    assert everything[1] == attention[1] > 0
    assert inputs[1] > attention[1]
    assert sum(float(gradient.abs().sum()) for gradient in everything[2]) > 0
    for plain, *others in zip(everything[2], attention[2], inputs[2], strict=True):
        assert all(torch.allclose(plain, other, rtol=1e-4, atol=1e-7) for other in others)


@pytest.mark.parametrize("keep", [True, pytest.param(False, marks=pytest.mark.long)])
def test_the_run_is_built_so_that_attention_is_kept(tmp_path: Path, keep: bool) -> None:
    settings = short_settings(
        tmp_path, gradient_checkpointing=True, checkpointing_keeps_attention=keep, text_encoder_lr=0
    )
    parts = build_parts(read_inputs(settings), JobFolder.create(tmp_path, settings), quiet)
    denoiser: Any = parts.model.denoiser
    width = denoiser.config["cross_attention_dim"]
    with Watch() as watch:
        answer = predict(parts.model, torch.ones(1, 4, 8, 8), STEPS, torch.ones(1, 77, width))
        once = watch.attention
        answer.pow(2).mean().backward()
    assert once > 0
    assert (watch.attention == once) == keep
