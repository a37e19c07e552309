"""A base in 8 bits: close to the whole one, smaller, and learning goes through it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

from tests.checkpoints import random_model, write_checkpoint
from tests.trainer.tiny import FRAMING
from trainer import settings as schema
from trainer.models.base import Conditioning
from trainer.models.float8 import STORED, Float8, squeeze
from trainer.models.load import open_model
from trainer.models.sd import StableDiffusion
from trainer.network.network import build_network
from trainer.settings import FamilyKey


@pytest.fixture(scope="module", params=["sd1", "sdxl"])
def model(request: pytest.FixtureRequest) -> StableDiffusion:
    torch.manual_seed(0)
    return random_model(request.param)


def opened(path: Path, family: FamilyKey, *, float8: bool) -> StableDiffusion:
    section = schema.Model(pretrained_model_name_or_path=str(path), sdxl=family == "sdxl")
    return open_model(section, float8=float8)


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


@pytest.mark.parametrize("layout", ["file", "folder"])
def test_a_base_in_8_bits_answers_nearly_the_same(
    model: StableDiffusion, layout: str, tmp_path: Path
) -> None:
    write = write_checkpoint if layout == "file" else lambda place, whole: save_folder(whole, place)
    path = tmp_path / ("base.safetensors" if layout == "file" else "base")
    write(path, model)
    small = opened(path, model.family.key, float8=True)
    stored = [layer.stored for layer in small.denoiser.modules() if isinstance(layer, Float8)]
    assert stored
    assert {tensor.dtype for tensor in stored} == {STORED}
    whole, near = answer(model), answer(small)
    assert 0 < (near - whole).norm() / whole.norm() < 0.1


@pytest.mark.parametrize("scale", [1e-6, 0.01, 300.0])
def test_no_weight_is_too_small_or_too_large_for_8_bits(scale: float) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(64, 64)
    layer.weight.data *= scale
    small: Any = squeeze(nn.Sequential(layer)).get_submodule("0")
    error = (small.weight - layer.weight).norm() / layer.weight.norm()
    assert error < 0.04


@pytest.mark.parametrize("kind", ["Standard", "Kohya LoCon", "LyCORIS/LoHa", "LyCORIS/BOFT"])
def test_gradients_are_those_of_the_restored_weights(kind: Any) -> None:
    """Forward and back through 8-bit layers equals layers that hold what these stand for."""
    gradients = []
    for plain in (False, True):
        torch.manual_seed(0)
        model = random_model("sd1")
        squeeze(model.denoiser)
        if plain:
            _restore(model.denoiser)
        torch.manual_seed(2)
        settings = schema.Network(LoRA_type=kind, network_dim=16, conv_dim=16)
        network = build_network(model, settings, train_text_encoder=False)
        told = Conditioning(torch.ones(1, 77, 48))
        model.predict(torch.ones(1, 4, 8, 8), torch.tensor([500]), told, FRAMING).square().mean().backward()
        gradients.append([weight.grad for weight in network.parameters()])
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-7)


def _restore(module: nn.Module) -> None:
    for name, layer in list(module.named_children()):
        if not isinstance(layer, Float8):
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


def test_the_way_back_keeps_8_bits_only() -> None:
    """What a layer keeps for its gradient is no weight in full length."""
    layer = squeeze(nn.Sequential(nn.Linear(32, 32)))
    kept: list[torch.Tensor] = []
    values = torch.ones(4, 32, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda t: t):
        layer(values).sum().backward()
    assert {tensor.dtype for tensor in kept} == {STORED}
