"""What is never built acts as if it were: outputs and gradients of every type against the whole ΔW."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trainer.lora.target import LoraTarget
from trainer.lora.types import TYPES
from trainer.network.adapters.adapter import Mode
from trainer.network.adapters.build import make_adapter
from trainer.network.adapters.change import WeightChange
from trainer.network.adapters.factored import COST_OF_BUILDING, Hadamard, LowRank
from trainer.network.adapters.whole import whole_change
from trainer.settings import Network

DECOMPOSED = ("LyCORIS/LoCon", "LyCORIS/LoHa", "LyCORIS/LoKr")
OTHERS = ("LyCORIS/GLoRA", "LyCORIS/iA3", "LyCORIS/Diag-OFT", "LyCORIS/BOFT", "LyCORIS/Native Fine-Tuning")
SWITCHES = ("use_tucker", "decompose_both", "dora_wd", "use_scalar", "rescaled", "train_on_input")


@st.composite
def modules(draw: st.DrawFn) -> nn.Module:
    torch.manual_seed(0)
    inner, out = draw(st.sampled_from([4, 6, 12, 16])), draw(st.sampled_from([4, 8, 16]))
    bias = draw(st.booleans())
    if draw(st.booleans()):
        return nn.Linear(inner, out, bias=bias)
    kernel = draw(st.sampled_from([1, 3]))
    stride = draw(st.sampled_from([1, 2]))
    return nn.Conv2d(inner, out, kernel, stride=stride, padding=kernel // 2, bias=bias)


def built(kind: Any, module: nn.Module, dim: int, **values: Any) -> WeightChange:
    network = Network(LoRA_type=kind, network_dim=dim, network_alpha=2, **values)
    target = LoraTarget("lora_unet_x", "unet", "x", dim, 2.0, algorithm=TYPES[kind])
    adapter = make_adapter(target, module, network, Mode(training=False))
    adapter.initialise(torch.float32)
    for weight in adapter.entries.values():
        weight.data += torch.randn(weight.shape) * 0.3
    return adapter


def example(module: nn.Module, places: int) -> Tensor:
    if isinstance(module, nn.Linear):
        return torch.randn(2, places, module.in_features)
    assert isinstance(module, nn.Conv2d)
    return torch.randn(2, module.in_channels, places, 4)


def gradients(output: Tensor, x: Tensor, adapter: WeightChange) -> list[Tensor]:
    towards = torch.randn(output.shape, generator=torch.Generator().manual_seed(5))
    return list(torch.autograd.grad((output * towards).sum(), [x, *adapter.entries.values()]))


def with_whole_change(adapter: WeightChange, x: Tensor, rows: Tensor | None = None) -> Tensor:
    """The module's output for `x` with W + ΔW as its weight, and the bias that learns."""
    layer, bias = adapter.layer, adapter.layer.bias
    own = adapter.entries.get("diff_b")
    if own is not None and bias is not None:
        bias = bias + (own if rows is None else own * rows)
    change = whole_change(adapter, rows=rows).reshape(layer.weight.shape)
    weight = (layer.weight + change).to(x.dtype)
    if isinstance(layer, nn.Linear):
        return nn.functional.linear(x, weight, bias)
    padding = cast("tuple[int, int]", layer.padding)
    return nn.functional.conv2d(x, weight, bias, layer.stride, padding, layer.dilation)


def assert_close(ours: list[Tensor], whole: list[Tensor]) -> None:
    for a, b in zip(ours, whole, strict=True):
        assert a.shape == b.shape
        assert (a - b).norm().item() <= 2e-5 * b.norm().item() + 1e-5


@pytest.mark.parametrize("kind", [*DECOMPOSED, *OTHERS])
@settings(max_examples=15)
@given(data=st.data())
def test_outputs_and_gradients_are_those_of_the_whole_change(kind: str, data: st.DataObject) -> None:
    module = data.draw(modules())
    values: dict[str, Any] = {name: data.draw(st.booleans()) for name in SWITCHES}
    adapter = built(
        kind, module, data.draw(st.sampled_from([2, 4])), factor=data.draw(st.sampled_from([-1, 2])), **values
    )
    share = data.draw(st.sampled_from([0.0, 0.5]))
    adapter.dropouts = adapter.dropouts._replace(rank=share)
    adapter.mode.training = share > 0
    x = example(module, data.draw(st.sampled_from([1, 5]))).requires_grad_()
    if share and kind == "LyCORIS/LoCon" and not values["dora_wd"]:
        adapter.mode.training = False  # it drops outputs of its chain: see test_adapters
    torch.manual_seed(3)
    rows = (torch.rand(adapter.shape[0]) > share).float() if adapter.mode.training else None
    torch.manual_seed(3)
    ours = module(x)
    whole = with_whole_change(adapter, x, rows)
    assert_close([ours, *gradients(ours, x, adapter)], [whole, *gradients(whole, x, adapter)])


@pytest.mark.parametrize("switch", ["dora_wd", "use_scalar"])
@pytest.mark.parametrize("places", [1, 1000])
def test_a_hadamard_product_that_is_built_hands_on_what_its_strength_learns(switch: str, places: int) -> None:
    """Rank 16 is 256 ranks of a chain: with many places it is built instead."""
    torch.manual_seed(0)
    module = nn.Linear(32, 32)
    adapter = built("LyCORIS/LoHa", module, 16, **{switch: True})
    x = example(module, places).requires_grad_()
    ours, whole = module(x), with_whole_change(adapter, x)
    assert_close([ours, *gradients(ours, x, adapter)], [whole, *gradients(whole, x, adapter)])


@pytest.mark.parametrize("kind", [*DECOMPOSED, "LyCORIS/GLoRA", "LyCORIS/iA3", "LyCORIS/Native Fine-Tuning"])
@settings(max_examples=8)
@given(data=st.data())
def test_the_norm_is_that_of_the_whole_change(kind: str, data: st.DataObject) -> None:
    values: dict[str, Any] = {name: data.draw(st.booleans()) for name in SWITCHES if name != "dora_wd"}
    adapter = built(kind, data.draw(modules()), data.draw(st.sampled_from([2, 4])), **values)
    assert adapter.change_norm() == pytest.approx(float(whole_change(adapter).detach().norm()), rel=1e-4)


@pytest.mark.parametrize("rank", [2, 8, 40])
@pytest.mark.parametrize("places", [1, 4000])
def test_a_product_of_rank_r_squared_is_taken_while_it_is_small(rank: int, places: int) -> None:
    layer, sides = (
        nn.Linear(64, 64),
        [LowRank(torch.randn(64, rank), torch.randn(rank, 64)) for _ in range(2)],
    )
    product, x = Hadamard(*sides), torch.randn(1, places, 64)
    found = product.applied(x, 1.0, layer)
    assert ("low_rank" in vars(product)) == (rank**2 * 2 * places < 64 * (places + COST_OF_BUILDING))
    whole = (sides[0].up @ sides[0].down) * (sides[1].up @ sides[1].down)
    assert torch.allclose(found, x @ whole.T, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("kind", [kind for kind in (*DECOMPOSED, *OTHERS) if "Native" not in kind])
@pytest.mark.parametrize("dora", [False, True])
def test_little_is_kept_for_the_backward_pass(kind: str, dora: bool) -> None:
    """x and the module's output, which others keep as well, and the ranks: nothing else of their size."""
    module = nn.Linear(64, 64)
    adapter = built(kind, module, 4, dora_wd=dora)
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    x = example(module, 1000).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = module(x)
    for tensor in (x, *adapter.entries.values(), module.weight):
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    of_output = output.numel() * 4 if dora or kind in ("LyCORIS/Diag-OFT", "LyCORIS/BOFT") else 0
    assert sum(kept.values()) < 1.1 * of_output + 0.3 * x.numel() * 4  # LoHa has 4 × 4 ranks
