"""Adapters on single layers: dropouts, limits of the norm, states, memory-saving recomputation, strength."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainer.errors import UserError
from trainer.lora.target import LoraTarget
from trainer.lora.types import TYPES
from trainer.network.adapters.adapter import Mode
from trainer.network.adapters.build import make_adapter
from trainer.network.adapters.change import WeightChange
from trainer.network.adapters.low_rank import DyLoRA
from trainer.network.adapters.whole import whole_change
from trainer.settings import Network as Settings

CHANGES = [kind for kind in TYPES if kind not in ("Standard", "Kohya LoCon", "LoRA-FA")]
LINEAR_ONES = [kind for kind in CHANGES if "OFT" not in kind]


def layer(kind: str = "linear") -> nn.Module:
    torch.manual_seed(0)
    if kind == "linear":
        return nn.Linear(12, 16)
    return nn.Conv2d(12, 16, 3, stride=2, padding=1) if kind == "conv" else nn.GroupNorm(4, 12)


def built(kind: str, module: nn.Module, **values: Any) -> tuple[WeightChange, Mode]:
    """An adapter on `module` with random weights."""
    values = {"LoRA_type": kind, "network_dim": 4, "network_alpha": 2, "unit": 2, **values}
    network, mode = Settings(**values), Mode()
    algorithm = "norm" if isinstance(module, nn.GroupNorm) else TYPES[kind]
    target = LoraTarget("lora_unet_x", "unet", "x", network.network_dim, 2.0, algorithm=algorithm)
    adapter = make_adapter(target, module, network, mode)
    adapter.initialise(torch.float32)
    generator = torch.Generator().manual_seed(1)
    for weight in adapter.entries.values():
        weight.data += torch.randn(weight.shape, generator=generator) * 0.3
    return adapter, mode


def example(module: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    shape = (3, 5, 12) if isinstance(module, nn.Linear) else (3, 12, 6, 6)
    return torch.randn(shape, generator=generator)


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("sort", ["linear", "conv"])
def test_it_is_the_layer_with_a_changed_weight(kind: str, sort: str) -> None:
    module, plain = layer(sort), layer(sort)
    adapter, mode = built(kind, module)
    mode.training = False
    assert isinstance(plain, (nn.Linear, nn.Conv2d))
    plain.weight.data += whole_change(adapter).detach()
    if "diff_b" in adapter.entries:
        assert plain.bias is not None
        plain.bias.data += adapter.entries["diff_b"].detach()
    x = example(plain)
    assert torch.allclose(module(x), plain(x), atol=1e-5)
    adapter.enable(False)
    assert torch.equal(module(x), layer(sort)(x))


@pytest.mark.parametrize("kind", CHANGES)
def test_half_the_strength_is_half_the_change(kind: str) -> None:
    module = layer()
    adapter, mode = built(kind, module)
    mode.training = False
    x, before = example(module), layer()(example(layer()))
    whole = module(x) - before
    adapter.set_strength(0.5)
    assert torch.allclose(module(x) - before, whole / 2, atol=1e-5)


@pytest.mark.parametrize("kind", LINEAR_ONES)
@pytest.mark.parametrize("sort", ["linear", "conv"])
def test_a_change_that_is_too_large_shrinks_to_the_limit(kind: str, sort: str) -> None:
    adapter, mode = built(kind, layer(sort), use_tucker=True)
    mode.training = False
    norm = adapter.change_norm()
    assert norm is not None
    x, before = example(layer(sort)), layer(sort)(example(layer(sort)))
    bias = "diff_b" in adapter.entries
    if bias:
        adapter.entries["diff_b"].data.zero_()
    change = adapter.layer(x) - before
    adapter.shrink(0.25)
    assert adapter.change_norm() == pytest.approx(norm / 4, rel=1e-4)
    assert torch.allclose(adapter.layer(x) - before, change / 4, atol=1e-4)


@pytest.mark.parametrize("kind", ["LyCORIS/LoCon", "LyCORIS/LoHa", "LyCORIS/LoKr"])
def test_a_learned_scalar_shrinks_and_goes_into_the_file(kind: str) -> None:
    adapter, mode = built(kind, layer(), use_scalar=True)
    mode.training = False
    x = example(layer())
    wanted = adapter.layer(x)
    assert "lora_unet_x.scalar" not in adapter.tensors()
    again, mode = built(kind, layer(), use_scalar=True)
    mode.training = False
    again.load({key.partition(".")[2]: tensor for key, tensor in adapter.tensors().items()})
    assert torch.allclose(again.layer(x), wanted, atol=1e-6)
    norm = adapter.change_norm()
    assert norm is not None
    adapter.shrink(0.5)
    assert adapter.change_norm() == pytest.approx(norm / 2, rel=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in CHANGES if "DyLoRA" not in kind])
def test_rank_dropout_leaves_out_outputs_and_can_keep_their_mean(kind: str) -> None:
    module = layer()
    adapter, mode = built(kind, module, rank_dropout=0.5)
    mode.training = False
    x, before = example(module), layer()(example(layer()))
    whole = module(x) - before
    mode.training = True
    torch.manual_seed(3)
    dropped = module(x) - before
    out = (dropped.abs().amax((0, 1)) < 1e-6) & (whole.abs().amax((0, 1)) > 1e-5)
    assert 2 < int(out.sum()) < 14
    assert torch.allclose(dropped[..., ~out], whole[..., ~out], atol=1e-5)
    adapter.dropouts = adapter.dropouts._replace(rank_scale=True)
    torch.manual_seed(3)
    ratio = 16 / (16 - int(out.sum()))
    if int((whole.abs().amax((0, 1)) > 1e-5).sum()) == 16:
        assert torch.allclose((module(x) - before)[..., ~out], whole[..., ~out] * ratio, atol=1e-4)


def test_bypass_drops_ranks_instead() -> None:
    module = layer()
    adapter, mode = built("LyCORIS/LoCon", module, rank_dropout=0.5, bypass_mode=True)
    torch.manual_seed(5)
    kept_ranks = (torch.rand(4) > 0.5).float()
    assert 0 < kept_ranks.sum() < 4
    torch.manual_seed(5)
    found = module(example(module)) - layer()(example(module))
    up, down = adapter.entries["lora_up.weight"], adapter.entries["lora_down.weight"]
    assert mode.training
    assert torch.allclose(found, example(module) @ (up * kept_ranks @ down).T * 0.5, atol=1e-5)


@pytest.mark.parametrize("kind", CHANGES)
def test_module_and_network_dropout_act_only_while_training(kind: str) -> None:
    module = layer()
    adapter, mode = built(kind, module, module_dropout=1.0)
    before = layer()(example(module))
    assert torch.equal(module(example(module)), before)
    adapter.dropouts = adapter.dropouts._replace(module=0.0, network=0.5)
    torch.manual_seed(0)
    mode.batch += 1
    first, second = module(example(module)), module(example(module))
    assert not torch.allclose(first, second)
    mode.training = False
    assert torch.equal(module(example(module)), module(example(module)))


def test_train_norm_changes_weight_and_bias() -> None:
    module, plain = layer("norm"), layer("norm")
    adapter, _ = built("LyCORIS/LoHa", module)
    assert isinstance(plain, nn.GroupNorm)
    plain.weight.data += adapter.entries["w_norm"].detach()
    plain.bias.data += adapter.entries["b_norm"].detach()
    x = example(module)
    assert torch.allclose(module(x), plain(x), atol=1e-6)
    assert set(adapter.tensors()) == {"lora_unet_x.w_norm", "lora_unet_x.b_norm"}
    assert adapter.change_norm() is None


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("scalar", [False, True])
def test_a_state_is_exact(kind: str, scalar: bool) -> None:
    adapter, mode = built(kind, layer(), use_scalar=scalar)
    other, _ = built(kind, layer(), use_scalar=scalar)
    for weight in other.entries.values():
        weight.data.zero_()
    other.restore({name: tensor.clone() for name, tensor in adapter.state().items()})
    assert mode.training
    for name, weight in adapter.entries.items():
        assert torch.equal(other.entries[name], weight)
    with pytest.raises(KeyError):
        other.restore({})


@pytest.mark.parametrize("kind", CHANGES)
def test_gradient_checkpointing_gives_the_same_gradients(kind: str) -> None:
    """What was drawn, DyLoRA's rank too, holds when the forward pass is computed again."""
    gradients = []
    for again in (False, True):
        module = layer()
        adapter, mode = built(kind, module, network_dropout=0.3, rank_dropout=0.3)
        torch.manual_seed(0)
        random.seed(0)
        for _ in range(3):
            mode.batch += 1
            x = example(module).requires_grad_()
            out = checkpoint(module, x, use_reentrant=False) if again else module(x)
            assert isinstance(out, Tensor)
            random.random()  # others draw as well
            out.pow(2).sum().backward()
        gradients.append([weight.grad for weight in adapter.entries.values()])
    for plain, computed_again in zip(*gradients, strict=True):
        assert (plain is None) == (computed_again is None)
        assert plain is None or torch.allclose(plain, computed_again, atol=1e-5)


@pytest.mark.parametrize("kind", CHANGES)
def test_half_precision_models_train_it_in_float32(kind: str) -> None:
    for sort in ("linear", "conv"):
        module = layer(sort)
        module.to(torch.bfloat16)
        adapter, mode = built(kind, module)
        out = module(example(module).bfloat16())
        assert out.dtype == torch.bfloat16
        out.float().pow(2).sum().backward()
        assert {weight.grad.dtype for weight in adapter.entries.values() if weight.grad is not None} == {
            torch.float32
        }
        mode.training = False
        with torch.autocast("cpu", torch.bfloat16):
            assert module(example(module)).isfinite().all()


def test_dylora_trains_one_group_of_ranks_and_grows() -> None:
    for kind, scale in (("Kohya DyLoRA", 0.5), ("LyCORIS/DyLoRA", 0.5)):
        module = layer()
        adapter, mode = built(kind, module)
        assert isinstance(adapter, DyLoRA)
        seen = set()
        x, before = example(module), layer()(example(layer()))
        for _ in range(12):
            mode.batch += 1
            out = module(x)
            group = adapter.chosen()
            seen.add(group)
            entries = adapter.entries
            for weight in entries.values():
                weight.grad = None
            out.pow(2).sum().backward()
            learning = {name for name, weight in entries.items() if weight.grad is not None}
            assert learning == {f"lora_down.{group}", f"lora_up.{group}"}
            acting = range(group + 1) if "LyCORIS" in kind else range(2)
            down = torch.cat([entries[f"lora_down.{i}"] for i in acting])
            up = torch.cat([entries[f"lora_up.{i}"] for i in acting], 1)
            share = 4 / (2 * (group + 1))
            stronger = share if "LyCORIS" in kind else share**0.5
            assert torch.allclose(out - before, x @ (up @ down).T * scale * stronger, atol=1e-5)
        assert seen == {0, 1}


def test_dora_keeps_lengths_and_directions_apart() -> None:
    for kind in ("LyCORIS/LoCon", "LyCORIS/LoHa", "LyCORIS/LoKr"):
        module = layer()
        adapter, _ = built(kind, module, dora_wd=True)
        assert isinstance(module, nn.Linear)
        merged = module.weight + whole_change(adapter)
        lengths = adapter.entries["dora_scale"].flatten()
        assert torch.allclose(merged.norm(dim=1), lengths.abs(), atol=1e-5)


def test_constrain_limits_how_far_oft_turns() -> None:
    def turn(**values: Any) -> float:
        adapter, _ = built("LyCORIS/Diag-OFT", layer(), **values)
        return float(whole_change(adapter).detach().norm())

    assert turn(constrain=0.001) < turn(constrain=0.01) < turn()
    adapter, _ = built("LyCORIS/Diag-OFT", layer(), constrain=0.001)
    assert float(adapter.tensors()["lora_unet_x.alpha"]) == pytest.approx(0.001)
    assert isinstance(adapter.layer, nn.Linear)
    turned = (adapter.layer.weight + whole_change(adapter)).detach()
    assert float(turned.norm()) == pytest.approx(float(adapter.layer.weight.norm()), rel=1e-5)


def test_boft_says_which_rank_it_cannot_have() -> None:
    with pytest.raises(UserError) as caught:
        built("LyCORIS/BOFT", nn.Linear(4, 320), network_dim=8)
    assert caught.value.message.code == "core.boft_rank"
    assert caught.value.message.values == {"rank": 8, "outputs": 320}


def test_another_alpha_in_the_file_acts_as_in_the_file() -> None:
    for kind in ("LyCORIS/LoHa", "LyCORIS/LoCon", "Kohya DyLoRA"):
        adapter, mode = built(kind, layer())
        mode.training = False
        entries = {key.partition(".")[2]: tensor for key, tensor in adapter.tensors().items()}
        x, before = example(layer()), layer()(example(layer()))
        whole = adapter.layer(x) - before
        other, mode = built(kind, layer())
        mode.training = False
        other.load({**entries, "alpha": torch.tensor(6.0)})
        assert torch.allclose(other.layer(x) - before, whole * 3, atol=1e-4)
