"""Every LoRA type: it trains, others read its file with the same effect, it starts from its own file."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.checkpoints import random_model
from tests.second import also
from tests.trainer.foreign import apply_with_lycoris
from tests.trainer.full_size import full_size
from tests.trainer.references import reference
from tests.trainer.tiny import STEPS, answer, base_model, copied, fresh_model, gap, predict
from trainer.families.facts import FULL_SIZE
from trainer.lora.types import PRESETS
from trainer.models.sd import StableDiffusion
from trainer.network.adapters.change import WeightChange
from trainer.network.adapters.whole import whole_change
from trainer.network.lora_file import load_lora, save_lora
from trainer.network.network import LoraNetwork, build_network
from trainer.network.targets import plan_targets
from trainer.plan.memory import lora_weights
from trainer.settings import LORA_TYPES, Optimizer
from trainer.settings import Network as Settings

SIZES = {"network_dim": 4, "network_alpha": 2, "conv_dim": 2, "conv_alpha": 1}
OFT_SIZES = {"network_dim": 8, "conv_dim": 4}
READ_BY_LYCORIS: list[dict[str, Any]] = [
    {"LoRA_type": "LyCORIS/LoCon", "dora_wd": True, "use_tucker": True},
    {"LoRA_type": "LyCORIS/LoHa", "use_tucker": True, "use_scalar": True},
    {"LoRA_type": "LyCORIS/LoKr", "factor": 16, "decompose_both": True, "LyCORIS_preset": "full-lin"},
    {"LoRA_type": "LyCORIS/DyLoRA", "unit": 2},
    {"LoRA_type": "LyCORIS/GLoRA"},
    {"LoRA_type": "LyCORIS/BOFT", **OFT_SIZES},
    {"LoRA_type": "LyCORIS/Diag-OFT", **OFT_SIZES, "rescaled": True, "constrain": 0.01},
    {"LoRA_type": "LyCORIS/Native Fine-Tuning"},
    {"LoRA_type": "LyCORIS/LoHa", "train_norm": True},
    {"LoRA_type": "Kohya DyLoRA", "conv_dim": 4, "unit": 2},
    {"LoRA_type": "LoRA-FA"},
]
OTHER_OPTIONS: list[dict[str, Any]] = [
    {"LoRA_type": "LyCORIS/LoCon"},
    {"LoRA_type": "LyCORIS/LoCon", "use_tucker": True},
    {"LoRA_type": "LyCORIS/LoCon", "use_scalar": True},
    {"LoRA_type": "LyCORIS/LoHa"},
    {"LoRA_type": "LyCORIS/LoHa", "dora_wd": True},
    {"LoRA_type": "LyCORIS/LoKr", "LyCORIS_preset": "full-lin"},
    {"LoRA_type": "LyCORIS/LoKr", "network_dim": 100, "conv_dim": 100},
    {"LoRA_type": "LyCORIS/LoKr", "dora_wd": True, "use_scalar": True, "LyCORIS_preset": "attn-mlp"},
    {"LoRA_type": "LyCORIS/Diag-OFT", **OFT_SIZES},
    {"LoRA_type": "Kohya LoHa"},
    {"LoRA_type": "Kohya LoKr", "conv_dim": 0},
]
NOT_READ_BY_LYCORIS: list[dict[str, Any]] = [
    {"LoRA_type": "LyCORIS/LoKr", "factor": 4, "use_cp": True},
    {"LoRA_type": "LyCORIS/iA3"},
]
MORE_OF_THEM: list[dict[str, Any]] = [
    {"LoRA_type": "LyCORIS/LoKr", "factor": 4},
    {"LoRA_type": "LyCORIS/iA3", "train_on_input": False},
]


def named(values: dict[str, Any]) -> str:
    return (
        " ".join([values["LoRA_type"], *(f"{key}={value}" for key, value in values.items())][:1])
        + " "
        + (",".join(key for key in values if key != "LoRA_type"))
    )


ALL = [
    *READ_BY_LYCORIS,
    *NOT_READ_BY_LYCORIS,
    *also([*OTHER_OPTIONS, *MORE_OF_THEM]),
]


def settings(**values: Any) -> Settings:
    return Settings(**{**SIZES, **values})


def shake(network: LoraNetwork, size: float = 0.05) -> None:
    """Random weights, as after training."""
    generator = torch.Generator().manual_seed(3)
    for weight in network.parameters():
        weight.data += torch.randn(weight.shape, generator=generator) * size


@pytest.mark.parametrize("values", [*READ_BY_LYCORIS, *also(OTHER_OPTIONS)], ids=named)
def test_lycoris_reads_the_file_with_the_same_effect(values: dict[str, Any], tmp_path: Path) -> None:
    model, plain = fresh_model(), answer(base_model())
    network = build_network(model, settings(**values))
    shake(network)
    network.eval()
    save_lora(tmp_path / "one.safetensors", network.state_dict(), {})
    tensors, _ = load_lora(tmp_path / "one.safetensors")
    other = fresh_model()
    assert apply_with_lycoris(other, tensors) == len(network.adapters)
    ours = answer(model)
    assert gap(ours, answer(other)) < 1e-4
    assert min((a - b).abs().max().item() for a, b in zip(ours, plain, strict=True)) > 1e-3


def test_lycoris_reads_a_file_for_sd2() -> None:
    base = random_model("sd2")
    model, other = copied(base), copied(base)
    network = build_network(model, settings(LoRA_type="LyCORIS/LoHa"))
    shake(network)
    network.eval()
    assert apply_with_lycoris(other, network.state_dict()) == len(network.adapters)
    assert gap(answer(model), answer(other)) < 1e-4 < gap(answer(model), answer(base))


@pytest.mark.parametrize("values", ALL, ids=named)
def test_it_starts_as_the_base_model_and_every_weight_gets_a_gradient(values: dict[str, Any]) -> None:
    model, plain = fresh_model(), answer(base_model())
    network = build_network(model, settings(**values))
    assert gap(answer(model), plain) < 2e-5
    shake(network)
    embeds = model.text_encoders[0](torch.ones(1, 77, dtype=torch.long)).last_hidden_state
    batches = 20 if "DyLoRA" in values["LoRA_type"] else 1
    for _ in range(batches):
        network.next_batch()
        embeds = model.text_encoders[0](torch.ones(1, 77, dtype=torch.long)).last_hidden_state
        predict(model, torch.ones(1, 4, 8, 8), STEPS, embeds).pow(2).mean().backward()
    without = [
        f"{adapter.target.name} {name}"
        for adapter in network.adapters
        for name, weight in adapter.learned.items()
        if weight.grad is None
    ]
    assert not without
    assert not any(parameter.grad is not None for parameter in base_weights(model, network))


def base_weights(model: StableDiffusion, network: LoraNetwork) -> list[Any]:
    own = {id(weight) for weight in network.parameters()}
    every = [*model.denoiser.parameters(), *model.text_encoders[0].parameters()]
    return [weight for weight in every if id(weight) not in own]


@pytest.fixture(autouse=True)
def same_chance() -> None:
    """Each test draws the same numbers whatever ran before."""
    torch.manual_seed(0)


SIZES_FROM_FILE = {"dim_from_weights": True, "network_dim": 16, "conv_dim": 16, "factor": -1}


@pytest.mark.parametrize("values", ALL, ids=named)
def test_it_starts_from_its_own_file(values: dict[str, Any], tmp_path: Path) -> None:
    model = fresh_model()
    network = build_network(model, settings(**values))
    shake(network)
    network.eval()
    path = tmp_path / "own.safetensors"
    save_lora(path, network.state_dict(), {})
    wanted = answer(model)
    for sizes in ({}, SIZES_FROM_FILE):
        again = fresh_model()
        started = build_network(again, settings(**{**values, **sizes, "network_weights": str(path)}))
        started.eval()
        assert gap(answer(again), wanted) < 2e-5
        assert started.state_dict().keys() == network.state_dict().keys()


@pytest.mark.parametrize("values", [{}, {"use_cp": True}, {"decompose_both": True}], ids=str)
def test_lokr_of_a_convolution_is_what_lycoris_makes_of_it(values: dict[str, Any]) -> None:
    """LyCORIS' reader guesses the factor, wrongly for small convolutions: here it is told."""
    from lycoris.modules.lokr import LokrModule

    model = fresh_model()
    chosen = settings(LoRA_type="LyCORIS/LoKr", factor=16, **values)
    network = build_network(model, chosen, train_text_encoder=False)
    shake(network)
    for adapter in network.adapters:
        module = model.denoiser.get_submodule(adapter.target.module_path)
        if not isinstance(module, torch.nn.Conv2d) or module.kernel_size == (1, 1):
            continue
        assert isinstance(adapter, WeightChange)
        tucker, both = bool(values.get("use_cp")), bool(values.get("decompose_both"))
        theirs = LokrModule(
            "", module, lora_dim=2, alpha=1, factor=16, use_tucker=tucker, decompose_both=both
        )
        entries = {key.partition(".")[2]: tensor for key, tensor in adapter.tensors().items()}
        theirs.load_state_dict(entries)
        assert torch.allclose(theirs.get_weight(adapter.shape), whole_change(adapter), atol=1e-6)


def test_ia3_is_what_peft_makes_of_it() -> None:
    """(IA)³ multiplies; PEFT holds the factor, files the factor less one."""
    from peft import IA3Config, inject_adapter_in_model

    for on_input in (True, False):
        model = fresh_model()
        chosen = settings(LoRA_type="LyCORIS/iA3", LyCORIS_preset="attn-only", train_on_input=on_input)
        network = build_network(model, chosen, train_text_encoder=False)
        shake(network)
        for adapter in network.adapters:  # PEFT's factor covers the bias, LyCORIS' does not
            if adapter.target.module_path.endswith("to_out.0"):
                adapter.entries["weight"].data.zero_()
        tensors = network.state_dict()
        other: Any = fresh_model()
        targets = r".*attn[12]\.(to_k|to_v|to_q|to_out\.0)"
        config = IA3Config(target_modules=targets, feedforward_modules=targets if on_input else [])
        inject_adapter_in_model(config, other.denoiser)
        for target in network.targets:
            factor = other.denoiser.get_submodule(target.module_path).ia3_l["default"]
            factor.data = (1 + tensors[f"{target.name}.weight"]).reshape(factor.shape)
            assert int(tensors[f"{target.name}.on_input"]) == on_input
        embeds = torch.ones(1, 77, int(model.denoiser.config["cross_attention_dim"]))
        ours = predict(model, torch.ones(1, 4, 8, 8), STEPS, embeds)
        theirs = predict(other, torch.ones(1, 4, 8, 8), STEPS, embeds)
        assert (ours - theirs).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("recorded", "values"),
    [
        ("lycoris_locon_dim4_conv2", {"LoRA_type": "LyCORIS/LoCon"}),
        ("lycoris_loha_dim4_conv2", {"LoRA_type": "LyCORIS/LoHa"}),
        ("lycoris_lokr_dim4_conv2", {"LoRA_type": "LyCORIS/LoKr", "factor": 8}),
        ("dylora_dim4_unit2", {"LoRA_type": "Kohya DyLoRA", "unit": 2, "conv_dim": 0}),
        ("dylora_dim4_unit2_conv", {"LoRA_type": "Kohya DyLoRA", "unit": 2, "conv_dim": 4}),
    ],
)
def test_full_size_keys_and_shapes_equal_the_reference(recorded: str, values: dict[str, Any]) -> None:
    network = build_network(full_size("sd1"), settings(**values))
    shapes: dict[str, list[int]] = {}
    for adapter in network.adapters:
        for name, tensor in adapter.to_file({**adapter.entries}).items():
            shapes[f"{adapter.target.name}.{name}"] = list(tensor.shape)
        shapes[f"{adapter.target.name}.alpha"] = []
    assert shapes == reference("lycoris_keys")[recorded]


def test_sd2_projections_stand_in_files_as_convolutions() -> None:
    for kind in ("LyCORIS/LoCon", "LyCORIS/LoKr", "LyCORIS/GLoRA", "LyCORIS/Native Fine-Tuning"):
        chosen = settings(LoRA_type=kind, network_dim=512, LyCORIS_preset="attn-mlp")
        network = build_network(full_size("sd2"), chosen, train_text_encoder=False)
        projection = next(one for one in network.adapters if one.target.module_path.endswith("proj_in"))
        large = [
            tensor for name, tensor in projection.entries.items() if name != "lokr_w1" and "_b" not in name
        ]
        assert {tensor.dim() for tensor in large} == {4}


def test_presets_choose_what_is_trained() -> None:
    model = full_size("sd1")
    counts = {}
    for preset in PRESETS:
        network = settings(LoRA_type="LyCORIS/LoHa", LyCORIS_preset=preset)
        parts = Counter(target.part for target in plan_targets(model, network))
        counts[preset] = parts["unet"], parts["text_encoder"]
    assert counts == {
        "full": (282, 72),
        "full-lin": (192 + 22 + 14 + 2, 72),
        "attn-mlp": (192, 72),
        "attn-only": (128, 48),
        "unet-transformer-only": (192, 0),
        "unet-convblock-only": (22 + 14 + 44 + 6 + 2, 0),
    }
    norms = settings(LoRA_type="LyCORIS/LoHa", LyCORIS_preset="attn-mlp", train_norm=True)
    assert Counter(target.algorithm for target in plan_targets(model, norms)) == {"loha": 264, "norm": 64}


@pytest.mark.parametrize("kind", LORA_TYPES)
def test_the_planned_size_is_that_of_the_file(kind: str) -> None:
    """Every type's numbers, as the network of the full-size model has them."""
    sizes = {"network_dim": 16, "conv_dim": 12, "factor": 8, "unit": 4}
    chosen = settings(LoRA_type=kind, **sizes)
    planned = lora_weights(chosen, Optimizer(), FULL_SIZE["sd1"])
    network = build_network(full_size("sd1"), chosen)
    real = sum(weight.numel() for adapter in network.adapters for weight in adapter.entries.values())
    biases = sum(
        weight.numel()
        for adapter in network.adapters
        for name, weight in adapter.entries.items()
        if name == "diff_b"
    )
    assert planned == real - biases


@pytest.mark.parametrize(
    ("algo", "kind", "more"),
    [
        ("locon", "LyCORIS/LoCon", {"use_tucker": True}),
        ("locon", "LyCORIS/LoCon", {"dora_wd": True}),
        ("loha", "LyCORIS/LoHa", {"use_tucker": True}),
        ("lokr", "LyCORIS/LoKr", {"factor": 4}),
        ("lokr", "LyCORIS/LoKr", {"factor": 8, "use_tucker": True, "decompose_both": True}),
        ("glora", "LyCORIS/GLoRA", {}),
        ("diag-oft", "LyCORIS/Diag-OFT", {"rescaled": True}),
        ("boft", "LyCORIS/BOFT", {}),
    ],
)
def test_a_file_made_by_lycoris_is_a_start(
    algo: str, kind: str, more: dict[str, Any], tmp_path: Path
) -> None:
    other = fresh_model()
    tensors = made_by_lycoris(other.denoiser, algo, more)
    path = tmp_path / "lycoris.safetensors"
    save_lora(path, tensors, {})
    ours = fresh_model()
    chosen = settings(LoRA_type=kind, network_weights=str(path), dim_from_weights=True)
    network = build_network(ours, chosen, train_text_encoder=False)
    network.eval()
    assert gap(answer(ours), answer(other)) < 1e-4
    assert gap(answer(ours), answer(base_model())) > 1e-2
    assert network.state_dict().keys() == tensors.keys()


def made_by_lycoris(unet: Any, algo: str, more: dict[str, Any]) -> dict[str, Tensor]:
    """LyCORIS' own network in a UNet, with random weights; returns its file's tensors."""
    from lycoris import LycorisNetwork, create_lycoris

    preset = {"target_module": ["Transformer2DModel", "ResnetBlock2D"], "target_name": []}
    LycorisNetwork.LORA_PREFIX = "lora_unet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(importlib.import_module("lycoris.wrapper").PRESET, "full", preset)
        network: Any = create_lycoris(
            unet, 1.0, linear_dim=8, linear_alpha=4, conv_dim=4, conv_alpha=1, algo=algo, **more
        )
    network.apply_to()
    generator = torch.Generator().manual_seed(5)
    for weight in network.parameters():
        weight.data += torch.randn(weight.shape, generator=generator) * 0.05
    network.eval()
    return {key: tensor.detach().clone() for key, tensor in network.state_dict().items()}
