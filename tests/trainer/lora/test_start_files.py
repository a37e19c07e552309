"""LoRA files as a start: in diffusers' form too, with alpha 0 or none, of other families, with NaN."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.trainer.found import find
from tests.trainer.made import model_file, sound_settings
from tests.trainer.references import reference
from tests.trainer.runs import run, trained
from trainer.errors import UserError
from trainer.families.table import FAMILIES
from trainer.lora.numbers import odd_numbers
from trainer.lora.peft_names import in_kohyas_form, kohya_key
from trainer.network.lora_file import load_lora
from trainer.preflight.check import check

QUERY = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
KOHYA = f"lora_unet_{QUERY.replace('.', '_')}"
OUT = "unet.up_blocks.1.attentions.2.transformer_blocks.0.attn2"
FC1 = "lora_te_text_model_encoder_layers_3_mlp_fc1"
TEXT = "text_encoder.text_model.encoder.layers.3.mlp.fc1"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (f"unet.{QUERY}.lora_A.weight", f"{KOHYA}.lora_down.weight"),
        (f"unet.{QUERY}.lora_B.default.weight", f"{KOHYA}.lora_up.weight"),
        (f"unet.{QUERY}.lora.down.weight", f"{KOHYA}.lora_down.weight"),
        (f"base_model.model.unet.{QUERY}.lora_A.weight", f"{KOHYA}.lora_down.weight"),
        (f"unet.base_model.model.{QUERY}.lora_B.weight", f"{KOHYA}.lora_up.weight"),
        (f"unet.{QUERY}.alpha", f"{KOHYA}.alpha"),
        (
            f"{OUT}.processor.to_out_lora.up.weight",
            f"{OUT.replace('.', '_').replace('unet_', 'lora_unet_', 1)}_to_out_0.lora_up.weight",
        ),
        (f"{TEXT}.lora_linear_layer.down.weight", f"{FC1}.lora_down.weight"),
        ("text_encoder.encoder.layers.3.mlp.fc1.lora_A.weight",
         f"{FC1}.lora_down.weight"),
        ("transformer.x_embedder.lora_A.weight", ""),
        (f"{KOHYA}.lora_down.weight", ""),
    ],
)  # fmt: skip
def test_names_of_every_age_become_kohyas(name: str, key: str) -> None:
    assert kohya_key(name) == key


def test_sdxl_has_its_own_names() -> None:
    names = {f"{part}.lora_A.weight": (4, 2048) for part in (f"unet.{QUERY}", "text_encoder_2.a.b")}
    wanted = {FAMILIES["sdxl"].lora_key(QUERY), FAMILIES["sdxl"].text_key(1, "a.b")}
    assert {key.partition(".")[0] for key in in_kohyas_form(names, names)} == wanted


@pytest.mark.parametrize(
    ("written", "joint"),
    [
        ("lora_unet_{}.lora_down.weight", "_"),
        ("lycoris_{}.lora_down.weight", "_"),
        ("unet.{}.lora_A.weight", "."),
    ],
)
def test_modules_of_sdxl_are_known_by_diffusers_names(written: str, joint: str) -> None:
    """As OneTrainer, LyCORIS' wrapper and diffusers name them; every one becomes the reference's."""
    recorded = reference("sdxl_lora_keys")
    names = {}
    for path in recorded["diffusers_names"].values():
        if (key := FAMILIES["sdxl"].lora_key(path)) in recorded["lora_dim4_conv2"]:
            names[written.format(path.replace(".", joint))] = key
    shapes = {name: tuple(recorded["lora_dim4_conv2"][key][1]) for name, key in names.items()}
    found = in_kohyas_form({name: name for name in names}, shapes)
    assert {name: key.partition(".")[0] for key, name in found.items()} == names
    assert len(names) == 788
    assert in_kohyas_form(found, {key: shapes[name] for key, name in found.items()}) == found


def diffusers_form(file: Path, into: Path) -> Path:
    """The same LoRA as diffusers saves it: no alpha, lora_A and lora_B, dots."""
    from tests.trainer.runs import short_settings
    from trainer.training.encode import open_base_model
    from trainer.training.precision import Precision
    from trainer.training.prepare import Computing

    computing = Computing(torch.device("cpu"), Precision(torch.float32, autocast=False))
    model = open_base_model(short_settings(into.parent), computing, lambda _: None)
    family = model.family
    paths = {family.lora_key(path): f"unet.{path}" for path, _ in model.denoiser.named_modules()} | {
        family.text_key(0, path): f"text_encoder.{path}" for path, _ in model.text_encoders[0].named_modules()
    }
    sides = {"lora_down": "lora_A", "lora_up": "lora_B"}
    found = {}
    for key, tensor in load_file(file).items():
        name, _, entry = key.partition(".")
        if entry != "alpha":
            found[f"{paths[name]}.{sides[entry.partition('.')[0]]}.weight"] = tensor
    save_file(found, into)
    return into


def test_a_file_in_diffusers_form_is_the_same_start(tmp_path: Path) -> None:
    trained(tmp_path / "first", max_train_steps=1)
    file = tmp_path / "first" / "out" / "mascot.safetensors"
    theirs = diffusers_form(file, tmp_path / "pytorch_lora_weights.safetensors")
    starts = {"a": file, "b": theirs}
    weights = {
        name: trained(
            tmp_path / name, max_train_steps=1, network_weights=str(start), dim_from_weights=name == "b"
        )
        for name, start in starts.items()
    }
    assert weights["a"].keys() == weights["b"].keys()
    assert all(torch.equal(weights["a"][key], weights["b"][key]) for key in weights["a"])


@pytest.mark.parametrize("from_file", [True, False])
def test_alpha_0_is_the_rank(tmp_path: Path, from_file: bool) -> None:
    trained(tmp_path / "first", max_train_steps=1)
    file = tmp_path / "first" / "out" / "mascot.safetensors"
    tensors = load_file(file)
    zero = {key: tensor * (0 if key.endswith(".alpha") else 1) for key, tensor in tensors.items()}
    save_file(zero, tmp_path / "zero.safetensors")
    assert all(
        torch.equal(tensor, tensors[key])
        for key, tensor in load_lora(tmp_path / "zero.safetensors")[0].items()
    )
    job, code = run(
        tmp_path / "next", max_train_steps=1, network_weights=str(tmp_path / "zero.safetensors"),
        dim_from_weights=from_file,
    )  # fmt: skip
    assert code == 0, job.events_file.read_text()


@pytest.mark.parametrize(
    ("shapes", "found"),
    [
        ({"lora_unet_double_blocks_0_img_attn_proj.lora_down.weight": (8, 64)}, "FLUX.1"),
        ({"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": (8, 64)}, "FLUX.1"),
        ({"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (8, 1280)}, "SDXL"),
        ({"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight": (8, 1024)},
         "Stable Diffusion 2.x"),
    ],
)  # fmt: skip
def test_a_lora_of_another_family_is_told_before_the_run(shapes: Any, found: str, tmp_path: Path) -> None:
    file = model_file(tmp_path / "lora.safetensors", shapes)
    settings = sound_settings(tmp_path, network_weights=str(file), dim_from_weights=True)
    problem = find(check(settings), "preflight.weights_family")
    assert (problem.setting, problem.blocks, problem.values["found"]) == ("network_weights", True, found)


@pytest.mark.parametrize(
    "name",
    [
        "diffusion_model.layers.0.attention.to_q.lora_A.weight",
        "transformer.transformer_blocks.0.attn.to_q.lora_A.weight",
        "lora_unet_transformer_blocks_0_attn_to_q.lora_down.weight",
        "lora_unet_layers_3_attention_qkv.lora_down.weight",
        "prior.blocks.0.lora_down.weight",
    ],
)
def test_a_lora_for_no_layer_of_ours_is_told_before_the_run(name: str, tmp_path: Path) -> None:
    up = name.replace("lora_A", "lora_B").replace("lora_down", "lora_up")
    file = model_file(tmp_path / "lora.safetensors", {name: (4, 32), up: (32, 4)})
    settings = sound_settings(tmp_path, network_weights=str(file), dim_from_weights=True)
    problem = find(check(settings), "core.weights_fit_nothing")
    assert (problem.setting, problem.blocks, problem.fix) == (
        "network_weights",
        True,
        {"network_weights": ""},
    )


@pytest.mark.parametrize(
    "parts",
    [
        {"lora_down.weight": (4, 32)},
        {"lora_up.weight": (32, 4)},
        {"lora_down.weight": (4, 32), "lora_up.weight": (32, 8)},
        {"lora_down.weight": (0, 32), "lora_up.weight": (32, 0)},
        {"lora_down.weight": (4, 32), "lora_up.weight": (32, 4), "alpha": (4,)},
        {"lora_down.weight": (4, 32), "lora_up.weight": (32, 4), "alpha": (0,)},
    ],
)
def test_a_lora_whose_parts_do_not_fit_each_other_is_told_before_the_run(
    parts: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    whole = {"lora_down.weight": (4, 32), "lora_up.weight": (32, 4), "alpha": ()}
    other = KOHYA.replace("to_q", "to_k")
    shapes = {f"{other}.{part}": size for part, size in whole.items()}
    file = model_file(
        tmp_path / "lora.safetensors", {**shapes, **{f"{KOHYA}.{part}": size for part, size in parts.items()}}
    )
    settings = sound_settings(tmp_path, network_weights=str(file), dim_from_weights=True)
    assert find(check(settings), "preflight.weights_no_lora").blocks


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_file_with_nan_is_named(dtype: torch.dtype, value: float, tmp_path: Path) -> None:
    weight = torch.zeros(320, 8)
    weight[200, 5] = value
    file = tmp_path / "broken.safetensors"
    save_file(
        {f"{KOHYA}.lora_up.weight": weight.to(dtype), f"{KOHYA}.lora_down.weight": torch.ones(8, 320)}, file
    )
    assert odd_numbers(file).not_finite == f"{KOHYA}.lora_up.weight"
    problem = find(check(sound_settings(tmp_path, network_weights=str(file))), "core.weights_not_finite")
    assert (problem.setting, problem.blocks) == ("network_weights", True)
    with pytest.raises(UserError, match=r"broken\.safetensors"):
        load_lora(file)


def test_a_sound_file_has_no_odd_numbers(tmp_path: Path) -> None:
    down = {f"{KOHYA}.lora_down.weight": (8, 320)}
    assert odd_numbers(model_file(tmp_path / "a.safetensors", down)) == ("", 0, "")
    assert (
        odd_numbers(model_file(tmp_path / "b.safetensors", {**down, f"{KOHYA}.alpha": ()})).zero_alphas == 1
    )


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32, torch.int64, torch.bool])
def test_weights_that_are_whole_numbers_are_remarked(dtype: torch.dtype, tmp_path: Path) -> None:
    parts = {"lora_down.weight": torch.ones(4, 32), "lora_up.weight": torch.ones(32, 4)}
    tensors = {f"{KOHYA}.{name}": tensor.to(dtype) for name, tensor in parts.items()}
    for alpha in (torch.tensor(4), torch.tensor(4.0)):
        save_file({**tensors, f"{KOHYA}.alpha": alpha}, tmp_path / "whole.safetensors")
        settings = sound_settings(
            tmp_path, network_weights=str(tmp_path / "whole.safetensors"), dim_from_weights=True
        )
        problem = find(check(settings), "preflight.weights_whole")
        assert (problem.setting, problem.blocks) == ("network_weights", False)
    save_file(
        {**{key: tensor.half() for key, tensor in tensors.items()}, f"{KOHYA}.alpha": torch.tensor(4)},
        tmp_path / "whole.safetensors",
    )
    assert not odd_numbers(tmp_path / "whole.safetensors").whole
