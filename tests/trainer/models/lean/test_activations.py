"""Norms, SiLU and GEGLU: diffusers' answers and gradients, and less kept for the backward pass."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest
import torch
from diffusers.models.attention import FeedForward
from diffusers.models.resnet import ResnetBlock2D
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from trainer.models.lean.activations import LeanFeedForward, LeanResnetBlock
from trainer.models.lean.build import keep_activations, make_lean
from trainer.network.lean_lora import make_lora_lean


def block(channels: int = 128, **options: Any) -> ResnetBlock2D:
    """A frozen block."""
    torch.manual_seed(0)
    made = ResnetBlock2D(in_channels=96, out_channels=channels, temb_channels=16, **options)
    return made.requires_grad_(requires_grad=False)


def feed_forward() -> FeedForward:
    """A frozen one with a gated unit."""
    torch.manual_seed(0)
    return FeedForward(128, activation_fn="geglu").requires_grad_(requires_grad=False)


def ask(module: nn.Module, x: Tensor) -> Tensor:
    """What a block or a feed-forward answers for x."""
    return (
        module(x)
        if isinstance(module, FeedForward)
        else module(x, torch.linspace(-1, 1, 32, device=x.device).view(2, 16))
    )


def lean(module: nn.Module) -> nn.Module:
    """A lean copy."""
    made = copy.deepcopy(module)
    make_lean(made)
    return made


def answer(module: nn.Module, x: Tensor) -> list[Tensor]:
    """Output, and the gradient of x."""
    x = x.clone().requires_grad_()
    output = ask(module, x)
    towards = torch.linspace(-1, 1, output.numel(), device=x.device).view(output.shape).sin()
    return [output, *torch.autograd.grad((output.float() * towards).sum(), x)]


def kept_by(module: nn.Module, x: Tensor) -> int:
    """Bytes that the backward pass of a call keeps, without weights and their copies in other formats."""
    kept: dict[int, int] = {}
    weights = {weight.shape for weight in module.parameters()}

    def note(tensor: Tensor) -> Tensor:
        if not {tensor.shape, tensor.mT.shape if tensor.dim() > 1 else tensor.shape} & weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        ask(module, x.clone().requires_grad_())
    return sum(kept.values())


MAP, ROWS = (2, 96, 24, 24), (2, 50, 128)
CASES = {
    "block": (block, MAP, LeanResnetBlock, 0.6),
    "block without shortcut": (lambda: block(96), MAP, LeanResnetBlock, 0.6),
    "feed-forward": (feed_forward, ROWS, LeanFeedForward, 0.8),
}
"""Name -> module, the shape it takes, its lean class, how much of what diffusers keeps it keeps at most."""


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("autocast", [False, True])
def test_it_is_diffusers_answer_and_keeps_less(name: str, *, autocast: bool) -> None:
    make, shape, kind, share = CASES[name]
    plain, x = make(), torch.randn(shape, generator=torch.Generator().manual_seed(1))
    better = lean(plain)
    assert type(better) is kind
    assert list(better.state_dict()) == list(plain.state_dict())
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        for ours, theirs in zip(answer(better, x), answer(plain, x), strict=True):
            assert ours.dtype == theirs.dtype
            # Convolutions on small maps round in another order.
            bound = 1e-2 if autocast else 1e-5
            assert (ours.float() - theirs.float()).norm() <= bound * theirs.float().norm()
        assert kept_by(better, x) <= share * kept_by(plain, x)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("leanest", [False, True])
def test_a_lora_on_the_last_layer_learns_the_same_and_keeps_no_input(
    *, leanest: bool, autocast: bool
) -> None:
    x = torch.randn(ROWS)
    plain, better = feed_forward(), lean(feed_forward())
    for module in (plain, better):
        config = LoraConfig(r=4, target_modules=["net.2"], init_lora_weights=False)
        torch.manual_seed(0)
        inject_adapter_in_model(config, module)
        if leanest:
            make_lora_lean(module.get_submodule("net.2"))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        for module in (plain, better):
            ask(module, x).float().square().sum().backward()
        spared = kept_by(plain, x) - kept_by(better, x)
    inside = 4 * x.numel() * (2 if autocast else 4)  # bytes of an activation between the layers
    assert spared >= 2 * inside  # GELU's output and the last layer's input, and the copies that PEFT makes
    learned = [[w.grad for w in module.parameters() if w.requires_grad] for module in (plain, better)]
    for theirs, ours in zip(*learned, strict=True):
        assert theirs is not None
        assert ours is not None
        assert torch.equal(theirs, ours)


def test_a_norm_that_learns_or_is_changed_by_others_acts_as_it_is() -> None:
    module, x = lean(block()), torch.randn(MAP)
    assert isinstance(module, LeanResnetBlock)
    before = ask(module, x)
    handle = module.norm1.register_forward_hook(lambda _, __, output: cast("Tensor", output) * 2)
    assert not torch.equal(ask(module, x), before)
    handle.remove()
    module.norm2.requires_grad_()
    ask(module, x).sum().backward()
    assert module.norm2.weight.grad is not None
    assert module.norm2.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("options", [{"up": True}, {"down": True}, {"time_embedding_norm": "scale_shift"}])
def test_other_blocks_stay_diffusers_own(options: dict[str, Any]) -> None:
    assert type(lean(block(**options))) is ResnetBlock2D


def test_small_ones_stay_as_they_are() -> None:
    """A call costs more there than it saves."""
    small = nn.ModuleList(
        [
            ResnetBlock2D(in_channels=32, out_channels=32, temb_channels=16),
            FeedForward(32, activation_fn="geglu"),
        ]
    )
    make_lean(small)
    assert [type(module) for module in small] == [ResnetBlock2D, FeedForward]


def test_under_gradient_checkpointing_nothing_is_made_anew_twice() -> None:
    modules = lean(nn.ModuleList([block(), feed_forward()]))
    assert [type(module) for module in modules.children()] == [LeanResnetBlock, LeanFeedForward]
    keep_activations(modules)
    assert [type(module) for module in modules.children()] == [ResnetBlock2D, FeedForward]
