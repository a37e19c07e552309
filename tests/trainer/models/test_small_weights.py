"""A base with small weights: close to the whole one, or the same, and learning goes through it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

from tests.checkpoints import random_model, write_checkpoint
from tests.trainer.tiny import FRAMING
from trainer import settings as schema
from trainer.models import small_weights
from trainer.models.base import Conditioning
from trainer.models.load import open_model
from trainer.models.opening import Opening
from trainer.models.sd import StableDiffusion
from trainer.models.small_weights import FORMATS, SmallWeights, squeeze
from trainer.network.network import build_network
from trainer.plan.memory import KeptBase
from trainer.settings import EightBitFormat, FamilyKey


@pytest.fixture(scope="module", params=["sd1", "sdxl"])
def model(request: pytest.FixtureRequest) -> StableDiffusion:
    torch.manual_seed(0)
    return random_model(request.param)


def opened(path: Path, family: FamilyKey, kind: KeptBase | None) -> StableDiffusion:
    section = schema.Model(pretrained_model_name_or_path=str(path), sdxl=family == "sdxl")
    found = open_model(Opening(section, small_weights=kind))
    assert isinstance(found, StableDiffusion)
    return found


@torch.no_grad()
def answer(model: StableDiffusion) -> torch.Tensor:
    torch.manual_seed(1)
    family = model.family.key
    width = {"sd1": 48, "sdxl": 88}[family]
    pooled = torch.randn(1, 40) if family == "sdxl" else None
    told = Conditioning(torch.randn(1, 77, width), pooled)
    return model.predict(torch.randn(1, 4, 8, 8), torch.tensor([500]), told, FRAMING)


def save_folder(model: StableDiffusion, folder: Path) -> Path:
    model.denoiser.save_pretrained(folder / "unet")
    model.vae.save_pretrained(folder / "vae")
    for encoder, told in zip(model.text_encoders, model.family.text_encoders, strict=True):
        encoder.save_pretrained(folder / told.part)
    (folder / "model_index.json").write_text(f'{{"_class_name": "{model.family.pipeline}"}}')
    return folder


@pytest.mark.parametrize(("layout", "kind"), [("file", "int8"), ("folder", "int8"), ("file", "float8")])
def test_a_base_in_8_bits_answers_nearly_the_same(
    model: StableDiffusion, layout: str, kind: EightBitFormat, tmp_path: Path
) -> None:
    write = write_checkpoint if layout == "file" else lambda place, whole: save_folder(whole, place)
    path = tmp_path / ("base.safetensors" if layout == "file" else "base")
    write(path, model)
    small = opened(path, model.family.key, kind)
    stored = [layer.stored for layer in small.denoiser.modules() if isinstance(layer, SmallWeights)]
    assert stored
    assert {tensor.dtype for tensor in stored} == {FORMATS[kind]}
    whole, near = answer(model), answer(small)
    assert 0 < (near - whole).norm() / whole.norm() < 0.1


@pytest.mark.parametrize("layout", ["file", "folder"])
@pytest.mark.parametrize("held", [torch.float16, torch.bfloat16, torch.float32])
def test_a_base_as_it_is_in_the_file_answers_the_same(
    model: StableDiffusion, layout: str, held: torch.dtype, tmp_path: Path
) -> None:
    path = tmp_path / ("base.safetensors" if layout == "file" else "base")
    if layout == "file":
        write_checkpoint(path, model, held)
    else:
        whole = random_model(model.family.key)
        for part in (whole.denoiser, whole.vae, *whole.text_encoders):
            part.to(held)
        save_folder(whole, path)
    small = opened(path, model.family.key, "file")
    stored = [layer.stored for layer in small.denoiser.modules() if isinstance(layer, SmallWeights)]
    assert {tensor.dtype for tensor in stored} == {held}
    # Small maps are unfolded in the one and not in the other: only the last digits may differ.
    assert torch.allclose(answer(small), answer(opened(path, model.family.key, None)), atol=1e-5)


@pytest.mark.parametrize(("kind", "most"), [("int8", 0.012), ("float8", 0.04)])
@pytest.mark.parametrize("scale", [1e-6, 0.01, 300.0])
def test_no_weight_is_too_small_or_too_large_for_8_bits(
    kind: EightBitFormat, most: float, scale: float
) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(64, 64)
    layer.weight.data *= scale
    layer.weight.data[5] = 0
    small: Any = squeeze(nn.Sequential(layer), kind).get_submodule("0")
    error = (small.weight - layer.weight).norm() / layer.weight.norm()
    assert 0 < error < most


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rows_of_int8_have_no_bias_in_half_precision(dtype: torch.dtype) -> None:
    """The factor of a row is the same number in every format: no row becomes larger or smaller as a whole."""
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 32, 3).to(dtype)
    small: Any = squeeze(nn.Sequential(layer), "int8").get_submodule("0")
    assert small.weight.dtype == dtype
    assert torch.equal(small.factor.to(dtype).float(), small.factor)
    along = (small.weight.double() * layer.weight.double()).flatten(1).sum(1)
    assert torch.allclose(
        along / layer.weight.double().flatten(1).square().sum(1), torch.ones(32).double(), atol=2e-3
    )


@pytest.mark.parametrize(
    ("kind", "eight_bits"),
    [("Standard", "float8"), ("Kohya LoCon", "int8"), ("LyCORIS/LoHa", "int8"), ("LyCORIS/BOFT", "int8")],
)
def test_gradients_are_those_of_the_restored_weights(kind: Any, eight_bits: EightBitFormat) -> None:
    """Forward and back through 8-bit layers equals layers that hold what these stand for.

    In float64: BOFT solves equations, and how far float32 rounds there differs from machine to machine.
    """
    gradients = []
    for plain in (False, True):
        torch.manual_seed(0)
        model = random_model("sd1")
        model.denoiser.double()
        squeeze(model.denoiser, eight_bits)
        if plain:
            _restore(model.denoiser)
        torch.manual_seed(2)
        settings = schema.Network(LoRA_type=kind, network_dim=16, conv_dim=16)
        network = build_network(model, settings, train_text_encoder=False, dtype=torch.float64)
        told = Conditioning(torch.ones(1, 77, 48).double())
        model.predict(
            torch.ones(1, 4, 8, 8).double(), torch.tensor([500]), told, FRAMING
        ).square().mean().backward()
        gradients.append([weight.grad for weight in network.parameters()])
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", ["Standard", "Kohya LoCon"])
def test_a_lora_is_built_without_making_a_weight(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model("sd1")
    squeeze(model.denoiser, "int8")
    made: list[torch.Tensor] = []
    monkeypatch.setattr(small_weights, "dequantized", lambda stored, *_: made.append(stored))
    network = build_network(model, schema.Network(LoRA_type=kind, conv_dim=2), train_text_encoder=False)
    assert network.targets
    assert made == []


def _restore(module: nn.Module) -> None:
    for name, layer in list(module.named_children()):
        if not isinstance(layer, SmallWeights):
            _restore(layer)
            continue
        module_: Any = layer
        bias, made = layer.bias is not None, cast("Any", None)
        if isinstance(layer, nn.Conv2d):
            sizes = (module_.in_channels, module_.out_channels, module_.kernel_size, module_.stride)
            made = nn.Conv2d(*sizes, module_.padding, bias=bias)
        else:
            made = nn.Linear(module_.in_features, module_.out_features, bias=bias)
        made.weight = nn.Parameter(layer.weight, requires_grad=False)
        made.bias = module_.bias
        setattr(module, name, made)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_way_back_keeps_8_bits_only(kind: EightBitFormat) -> None:
    """What a layer keeps for its gradient is no weight in full length."""
    layer = squeeze(nn.Sequential(nn.Linear(32, 32)), kind)
    kept: list[torch.Tensor] = []
    values = torch.ones(4, 32, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda t: t):
        layer(values).sum().backward()
    assert {tensor.dtype for tensor in kept if tensor.numel() > 32} == {FORMATS[kind]}


@pytest.mark.parametrize("kind", FORMATS)
def test_layers_of_all_sizes_take_turns_in_and_out_of_inference(kind: EightBitFormat) -> None:
    torch.manual_seed(0)
    layers: Any = squeeze(nn.Sequential(nn.Linear(8, 32), nn.Linear(32, 4), nn.Linear(4, 64)), kind)
    values = torch.randn(3, 8, requires_grad=True)
    wanted = values
    for layer in layers:
        wanted = nn.functional.linear(wanted, layer.weight, layer.bias)
    with torch.inference_mode():
        assert torch.equal(layers(values), wanted)
    found = layers(values)
    assert torch.equal(found, wanted)
    ours, theirs = (torch.autograd.grad(answer.sum(), values)[0] for answer in (found, wanted))
    assert torch.allclose(ours, theirs)
