"""LoRA files as a start: in diffusers' form too, with alpha 0 or none, of other families, with NaN."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.trainer.found import find
from tests.trainer.made import SD1, SDXL, model_file, sound_settings
from tests.trainer.references import reference
from tests.trainer.runs import run, trained
from trainer.errors import UserError
from trainer.families.table import FAMILIES
from trainer.kohya.start_file import start_file_of
from trainer.lora.numbers import odd_numbers
from trainer.lora.peft_names import in_kohyas_form, kohya_key
from trainer.messages import LANGUAGES, Message, say
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
        (f"base_model.model.{QUERY}.lora_A.weight", f"{KOHYA}.lora_down.weight"),
        (f"{QUERY.removesuffix('.to_q')}.processor.to_q_lora.up.weight", f"{KOHYA}.lora_up.weight"),
        (f"{QUERY}.alpha", f"{KOHYA}.alpha"),
        (f"{QUERY}.weight", ""),
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
        {"lora_down.weight": (4, 32), "lora_up.weight": (32, 4), "dora_scale": (7, 1)},
        {"hada_w1_a": (32, 4), "hada_w1_b": (4, 32)},
        {"hada_w1_a": (32, 4), "hada_w1_b": (2, 32), "hada_w2_a": (32, 4), "hada_w2_b": (4, 32)},
        {"lokr_w1": (4, 4)},
        {"lokr_w1": (4, 4), "lokr_w2_a": (8, 4)},
        {"lokr_w1_a": (4, 2), "lokr_w1_b": (3, 4), "lokr_w2": (8, 8)},
        {"a1.weight": (32, 4), "a2.weight": (4, 32)},
        {"hada_w2_b": (4, 32)},
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


@pytest.mark.parametrize(
    "parts",
    [
        {"lora_down.weight": (4, 32), "lora_up.weight": (32, 4), "dora_scale": (32, 1)},
        {"lora_down.weight": (4, 32, 1, 1), "lora_mid.weight": (4, 4, 3, 3), "lora_up.weight": (32, 4, 1, 1)},
        {"hada_w1_a": (32, 4), "hada_w1_b": (4, 9), "hada_w2_a": (32, 4), "hada_w2_b": (4, 9)},
        {"hada_t1": (4, 4, 3, 3), "hada_w1_a": (4, 32), "hada_w1_b": (4, 9), "hada_t2": (4, 4, 3, 3),
         "hada_w2_a": (4, 32), "hada_w2_b": (4, 9)},
        {"lokr_w1": (4, 4), "lokr_w2": (8, 8)},
        {"lokr_w1_a": (4, 2), "lokr_w1_b": (2, 4), "lokr_w2_a": (8, 2), "lokr_w2_b": (2, 8)},
        {"lokr_w1": (4, 4), "lokr_t2": (2, 2, 3, 3), "lokr_w2_a": (2, 8), "lokr_w2_b": (2, 8)},
        {"a1.weight": (32, 4), "a2.weight": (4, 32), "b1.weight": (32, 4), "b2.weight": (4, 32)},
        {"diff": (32, 32)}, {"oft_blocks": (4, 8, 8)}, {"w_norm": (32,), "b_norm": (32,)},
    ],
    ids=str,
)  # fmt: skip
def test_a_sound_file_of_every_type_is_whole(parts: dict[str, tuple[int, ...]]) -> None:
    found = start_file_of({f"{KOHYA}.{part}": size for part, size in {**parts, "alpha": ()}.items()}, {})
    assert found is None or not found.torn


@pytest.mark.parametrize("alpha", [-8.0, 1e6, -1e-3])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_an_alpha_that_no_training_writes_is_told(alpha: float, dtype: torch.dtype, tmp_path: Path) -> None:
    parts = {"lora_down.weight": torch.ones(4, 32), "lora_up.weight": torch.ones(32, 4)}
    tensors = {f"{KOHYA}.{name}": tensor for name, tensor in parts.items()}
    save_file({**tensors, f"{KOHYA}.alpha": torch.tensor(alpha, dtype=dtype)}, tmp_path / "odd.safetensors")
    problem = find(
        check(sound_settings(tmp_path, network_weights=str(tmp_path / "odd.safetensors"))),
        "preflight.weights_alpha",
    )
    assert (problem.setting, problem.blocks) == ("network_weights", True)


@pytest.mark.parametrize(
    ("shapes", "kind"),
    [
        (SD1, "model"),
        (SDXL, "model"),
        ({"emb_params": (4, 768)}, "embedding"),
        ({"clip_l": (4, 768), "clip_g": (4, 1280)}, "embedding"),
        ({"control_model.input_blocks.0.0.weight": (32, 4, 3, 3)}, "controlnet"),
        ({"decoder.conv_in.weight": (512, 4, 3, 3), "encoder.conv_in.weight": (128, 3, 3, 3)}, "vae"),
        ({"image_proj.proj.weight": (3072, 1024), "ip_adapter.1.to_k_ip.weight": (320, 768)}, "addition"),
        ({"text_model.encoder.layers.0.mlp.fc1.weight": (8, 8)}, "text_encoder"),
    ],
)
def test_what_is_no_lora_is_named_for_what_it_is(shapes: Any, kind: str, tmp_path: Path) -> None:
    file = model_file(tmp_path / "x.safetensors", shapes)
    problem = find(check(sound_settings(tmp_path, network_weights=str(file))), "preflight.weights_other_file")
    assert problem.values["kind"] == Message(f"file_kind.{kind}")
    for language in LANGUAGES:
        assert say(problem.values["kind"], language).what in problem.said(language).what


def test_a_folder_with_one_lora_offers_it(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    settings = sound_settings(tmp_path, network_weights=str(folder))
    assert find(check(settings), "preflight.file_is_folder").fix == {"network_weights": ""}
    file = model_file(folder / "adapter_model.safetensors")
    problem = find(check(settings), "preflight.lora_in_folder")
    assert (problem.blocks, problem.fix) == (True, {"network_weights": str(file)})
    model_file(folder / "another.safetensors")
    assert find(check(settings), "preflight.file_is_folder")


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
    assert odd_numbers(model_file(tmp_path / "a.safetensors", down)) == ("", 0, "", None)
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
