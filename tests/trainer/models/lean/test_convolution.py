"""Convolutions that learn nothing: torch's answers and gradients, and little kept for the backward pass."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.checkpoints import random_model
from trainer.models.lean.build import make_lean
from trainer.models.lean.convolution import FrozenConv2d, multiplies, unfolds


def frozen(plain: nn.Conv2d) -> FrozenConv2d:
    """A lean copy."""
    lean = copy.deepcopy(plain)
    lean.__class__ = FrozenConv2d
    assert isinstance(lean, FrozenConv2d)
    return lean


def found(module: nn.Module, x: Tensor) -> list[Tensor]:
    """Output, and the gradient of x."""
    x = x.clone().requires_grad_()
    output = module(x)
    towards = torch.linspace(-1, 1, output.numel()).view(output.shape).sin()
    return [output, *torch.autograd.grad((output.float() * towards).sum(), x)]


def same(plain: nn.Conv2d, x: Tensor, bound: float) -> None:
    """Torch's and ours, within a share of their size."""
    for ours, wanted in zip(found(frozen(plain), x), found(plain, x), strict=True):
        assert ours.dtype == wanted.dtype
        assert ours.shape == wanted.shape
        assert (ours.float() - wanted.float()).norm() <= bound * wanted.float().norm()


@settings(max_examples=40)
@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 17),
    width=st.integers(1, 17),
    kernel=st.sampled_from([1, 3]),
    stride=st.integers(1, 2),
    padded=st.booleans(),
    bias=st.booleans(),
)
def test_it_is_torchs_answer(
    batch: int, height: int, width: int, kernel: int, stride: int, padded: bool, bias: bool
) -> None:
    torch.manual_seed(0)
    padding = kernel // 2 if padded or min(height, width) < kernel else 0
    plain = nn.Conv2d(3, 5, kernel, stride, padding, bias=bias).requires_grad_(requires_grad=False)
    same(plain, torch.randn(batch, 3, height, width), 1e-5)


@pytest.mark.parametrize("side", [8, 24])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_in_bfloat16_and_in_either_order_of_memory(side: int, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(32, 32, 3, padding=1).requires_grad_(requires_grad=False).to(torch.bfloat16)
    x = torch.randn(1, 32, side, side, dtype=torch.bfloat16).contiguous(memory_format=layout)
    same(plain, x, 1e-2)


def test_small_maps_are_unfolded_and_large_ones_are_not() -> None:
    module = nn.Conv2d(4, 4, 3, padding=1)
    assert unfolds(module, torch.zeros(1, 4, 16, 16))
    assert unfolds(module, torch.zeros(4, 4, 8, 8))
    assert not unfolds(module, torch.zeros(2, 4, 16, 16))
    assert not unfolds(nn.Conv2d(4, 4, 1), torch.zeros(1, 4, 8, 8))


def test_pointwise_convolutions_are_products() -> None:
    x = torch.zeros(1, 4, 24, 24)
    assert multiplies(nn.Conv2d(4, 4, 1), x)
    assert not multiplies(nn.Conv2d(4, 4, 1), x.contiguous(memory_format=torch.channels_last))
    assert not multiplies(nn.Conv2d(4, 4, 1, stride=2), x)
    assert not multiplies(nn.Conv2d(4, 4, 1, padding=1), x)
    assert not multiplies(nn.Conv2d(4, 4, 3, padding=1), x)


@pytest.mark.parametrize("side", [8, 24])
def test_nothing_but_the_weight_is_kept(side: int) -> None:
    module = frozen(nn.Conv2d(4, 4, 3, padding=1).requires_grad_(requires_grad=False))
    kept: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        module(torch.randn(1, 4, side, side).requires_grad_() * 1)
    assert {tensor.data_ptr() for tensor in kept if tensor.numel() > 1} == {module.weight.data_ptr()}


def test_a_weight_that_learns_still_does() -> None:
    module = frozen(nn.Conv2d(4, 4, 3, padding=1))
    module(torch.randn(1, 4, 8, 8)).sum().backward()
    assert module.weight.grad is not None


def test_a_models_large_convolutions_are_lean_and_its_answer_stays() -> None:
    model = random_model("sd1")
    unet = nn.Sequential(copy.deepcopy(model.denoiser.conv_in), nn.Conv2d(32, 256, 3, padding=1))
    names = list(unet.state_dict())
    make_lean(unet)
    assert [type(module) for module in unet] == [nn.Conv2d, FrozenConv2d]  # the first has few weights
    assert list(unet.state_dict()) == names
