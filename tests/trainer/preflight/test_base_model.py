"""Checks of the base model and the VAE."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainer.found import expect, find
from tests.trainer.made import SD1, SD2, SDXL, model_file, picture, sound_settings
from trainer.preflight.check import check


@pytest.mark.parametrize(
    ("shapes", "metadata", "chosen", "code", "fix"),
    [
        (SD2, {}, {}, "base_model.other_family", {"v2": True}),
        (SDXL, {}, {"v2": True}, "base_model.other_family", {"v2": False, "sdxl": True}),
        (SD1, {}, {"v2": True, "v_parameterization": True, "zero_terminal_snr": True},
         "base_model.other_family", {"v2": False, "v_parameterization": False, "zero_terminal_snr": False}),
        (SD2, {"modelspec.predict_key": "v"}, {}, "base_model.other_family",
         {"v2": True, "v_parameterization": True}),
        (SD2, {"modelspec.predict_key": "v"}, {"v2": True}, "preflight.model_velocity",
         {"v_parameterization": True}),
        (SD2, {"modelspec.predict_key": "epsilon"}, {"v2": True, "v_parameterization": True},
         "preflight.model_no_velocity", {"v_parameterization": False}),
    ],
)  # fmt: skip
def test_the_family_of_the_file_is_told(tmp_path, shapes, metadata, chosen, code, fix):
    settings = sound_settings(tmp_path, **chosen)
    model_file(tmp_path / "model.safetensors", shapes, **metadata)
    problem = find(check(settings), code)
    assert {key: new for key, new in (problem.fix or {}).items() if settings.get(key) != new} == fix
    assert code not in [other.code for other in check(settings.replace(**fix)).problems]


@pytest.mark.parametrize(
    ("shapes", "code"),
    [
        ({"lora_unet_x.lora_down.weight": (4, 8)}, "base_model.is_lora"),
        ({"first_stage_model.encoder.conv_in.weight": (8, 3, 3, 3)}, "base_model.is_vae"),
        ({"joint_blocks.0.x": (8, 8)}, "base_model.is_named"),
        (
            {**SD1, "model.diffusion_model.input_blocks.0.0.weight": (32, 9, 3, 3)},
            "base_model.is_inpainting",
        ),
    ],
)
def test_files_that_are_no_base_model_are_refused(tmp_path, shapes, code):
    settings = sound_settings(tmp_path)
    model_file(tmp_path / "model.safetensors", shapes)
    assert find(check(settings), code).blocks


def test_a_768_model_of_the_2x_family_gets_a_hint(tmp_path):
    path = model_file(tmp_path / "v2-1_768-ema-pruned.safetensors", SD2)
    settings = sound_settings(tmp_path, pretrained_model_name_or_path=str(path), v2=True)
    expect(settings, "preflight.model_likely_velocity", setting="v_parameterization", blocks=False)


def test_damaged_models_are_refused(tmp_path):
    settings = sound_settings(tmp_path)
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    assert find(check(settings), "preflight.model_incomplete").blocks
    path.write_bytes(b"noise" + whole)
    assert find(check(settings), "preflight.model_damaged").blocks
    picture(tmp_path / "cat.png")
    wrong = settings.replace(pretrained_model_name_or_path=str(tmp_path / "cat.png"))
    assert find(check(wrong), "preflight.model_ending").blocks
    wrong = settings.replace(pretrained_model_name_or_path=str(tmp_path / "img"))
    assert find(check(wrong), "preflight.model_no_model").blocks


def test_the_quick_pick_goes_before_the_path(tmp_path):
    settings = sound_settings(
        tmp_path, pretrained_model_name_or_path="", model_list="stabilityai/stable-diffusion-2-1"
    )
    problem = find(check(settings), "base_model.other_family")
    assert problem.fix == {"v2": True, "sdxl": False, "v_parameterization": True}
    assert "preflight.model_missing" not in [other.code for other in check(settings).problems]


def test_a_model_in_the_hubs_cache_is_not_announced(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    settings = sound_settings(tmp_path, pretrained_model_name_or_path="no-one/nothing")
    assert find(check(settings), "preflight.model_download")
    (tmp_path / "hub/models--no-one--nothing/snapshots/1").mkdir(parents=True)
    assert check(settings).problems == ()


def test_a_vae_must_be_one(tmp_path):
    lora = model_file(tmp_path / "l.safetensors", {"lora_unet_x.lora_down.weight": (4, 8)})
    expect(sound_settings(tmp_path, vae=str(lora)), "preflight.vae_no_vae", setting="vae", blocks=True)
    lora.write_bytes(b"broken")
    expect(sound_settings(tmp_path, vae=str(lora)), "preflight.vae_damaged", setting="vae", blocks=True)
    (tmp_path / "folder").mkdir()
    expect(
        sound_settings(tmp_path, vae=str(tmp_path / "folder")),
        "preflight.vae_no_vae",
        setting="vae",
        blocks=True,
    )
    vae = model_file(tmp_path / "v.safetensors", {"decoder.conv_in.weight": (8, 4, 3, 3)})
    assert check(sound_settings(tmp_path, vae=str(vae))).problems == ()


def test_a_model_that_may_not_be_opened_is_told(tmp_path, monkeypatch):
    def closed(path: Path):
        raise PermissionError(path)

    monkeypatch.setattr("trainer.preflight.base_model.read_model", closed)
    assert find(check(sound_settings(tmp_path)), "preflight.model_no_access").blocks
