"""Checks by family; and no fix of one problem brings another back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.trainer.found import find
from tests.trainer.made import SD1, SD2, SDXL, image_folder, model_file, sound_settings
from trainer.preflight.check import check
from trainer.settings import Settings

XL = {"sdxl": True, "max_resolution": "1024,1024", "enable_bucket": True, "mixed_precision": "bf16"}


@pytest.fixture
def xl(tmp_path: Path) -> Settings:
    run = sound_settings(tmp_path, **XL)
    model_file(tmp_path / "model.safetensors", SDXL)
    return run


@pytest.mark.parametrize(
    ("values", "code", "fix"),
    [
        ({"max_resolution": "512,512"}, "preflight.resolution_family", {"max_resolution": "1024,1024"}),
        ({"max_resolution": "512,1024"}, "preflight.resolution_family", {"max_resolution": "1024,1024"}),
        ({"bucket_reso_steps": 16}, "preflight.steps_family", {"bucket_reso_steps": 64}),
        ({"mixed_precision": "fp16"}, "preflight.half_vae", {"sdxl_no_half_vae": True}),
    ],
)
def test_what_does_not_suit_sdxl_is_said(xl, values, code, fix):
    problem = find(check(xl.replace(**values)), code)
    assert problem.fix == fix
    assert not problem.blocks
    assert code not in [other.code for other in check(xl.replace(**{**values, **fix})).problems]


@pytest.mark.parametrize(
    "values",
    [
        {"max_resolution": "768,768"},
        {"bucket_reso_steps": 32},
        {"mixed_precision": "fp16", "sdxl_no_half_vae": True},
        {"mixed_precision": "fp16", "vae": "a/sdxl-vae-fp16-fix"},
    ],
)
def test_what_suits_sdxl_is_not_spoken_of(xl, values):
    codes = {problem.code for problem in check(xl.replace(**values)).problems}
    assert not {code for code in codes if "steps" in code or "resolution" in code or "half_vae" in code}


@pytest.mark.parametrize("step", [1, 16])
def test_one_wrong_step_is_one_problem(xl, step):
    found = [
        problem for problem in check(xl.replace(bucket_reso_steps=step)).problems if "steps" in problem.code
    ]
    assert len(found) == 1


MLP = "cond_stage_model.transformer.text_model.encoder.layers.{}.mlp.{}.weight"


@pytest.mark.parametrize(
    ("layers", "value", "stops"), [(4, 4, False), (4, 5, True), (4, 12, True), (12, 12, False)]
)
def test_clip_skip_is_a_layer_of_the_text_encoder(tmp_path, layers, value, stops):
    run = sound_settings(tmp_path, clip_skip=value)
    text = {MLP.format(n, part): (48, 48) for n in range(layers) for part in ("fc1", "fc2")}
    model_file(tmp_path / "model.safetensors", {**SD1, **text})
    found = [problem for problem in check(run).problems if problem.setting == "clip_skip"]
    assert [(problem.code, problem.blocks) for problem in found] == [("core.clip_skip_layers", True)][:stops]
    assert not stops or not check(run.replace(**(found[0].fix or {}))).problems


def test_sdxl_has_no_clip_skip(xl):
    assert "core.clip_skip_layers" not in [
        problem.code for problem in check(xl.replace(clip_skip=12)).problems
    ]


@pytest.mark.parametrize(
    ("name", "shapes", "code"),
    [
        (
            "vae-ft-mse-840000-ema-pruned",
            {"decoder.conv_in.weight": (8, 4, 3, 3)},
            "preflight.vae_other_family",
        ),
        ("ae", {"decoder.conv_in.weight": (8, 16, 3, 3)}, "preflight.vae_other_space"),
        ("model_sd1", SD1, "preflight.vae_other_family"),
    ],
)
def test_a_vae_of_another_family_is_told(xl, tmp_path, name, shapes, code):
    vae = model_file(tmp_path / f"{name}.safetensors", shapes)
    assert find(check(xl.replace(vae=str(vae))), code).fix == {"vae": ""}


@pytest.mark.parametrize(("scale", "told"), [(0.18215, True), (0.13025, False)])
def test_a_folder_with_a_vae_tells_its_scale(xl, tmp_path, scale, told):
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae/config.json").write_text(json.dumps({"scaling_factor": scale, "latent_channels": 4}))
    codes = [problem.code for problem in check(xl.replace(vae=str(tmp_path / "vae"))).problems]
    assert ("preflight.vae_other_family" in codes) == told


def test_zero_terminal_snr_of_the_file_is_asked_for(xl, tmp_path):
    model_file(tmp_path / "model.safetensors", {**SDXL, "v_pred": (0,), "ztsnr": (0,)})
    problem = find(check(xl), "preflight.model_zero_snr")
    assert problem.fix == {"zero_terminal_snr": True, "v_parameterization": True}


INPUTS = st.sampled_from([(), (9,)])
MARKS: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "none": {}, "v": {"v_pred": (0,)}, "zero": {"ztsnr": (0,)}, "both": {"v_pred": (0,), "ztsnr": (0,)},
}  # fmt: skip
FORM = st.fixed_dictionaries(
    {
        "v2": st.booleans(),
        "sdxl": st.booleans(),
        "v_parameterization": st.booleans(),
        "zero_terminal_snr": st.booleans(),
        "sdxl_no_half_vae": st.booleans(),
        "sdxl_cache_text_encoder_outputs": st.booleans(),
        "shuffle_caption": st.booleans(),
        "clip_skip": st.sampled_from([0, 1, 2]),
        "mixed_precision": st.sampled_from(["no", "fp16", "bf16"]),
        "max_resolution": st.sampled_from(["64,64", "512,512", "1024,1024"]),
        "bucket_reso_steps": st.sampled_from([8, 32, 64]),
        "text_encoder_lr": st.sampled_from([None, 0.0, 1e-5]),
    }
)


def made(root: Path, shapes: Mapping[str, Any], marks: Mapping[str, Any], name: str, told: str) -> Path:
    metadata = {"modelspec.prediction_type": told} if told else {}
    return model_file(root / f"{name}.safetensors", {**shapes, **marks}, **metadata)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    form=FORM,
    shapes=st.sampled_from([SD1, SD2, SDXL]),
    marks=st.sampled_from(list(MARKS.values())),
    name=st.sampled_from(["model", "v2-1_768"]),
    told=st.sampled_from(["", "v", "epsilon"]),
    choices=st.lists(st.integers(0, 20), min_size=8, max_size=8),
)
def test_no_fix_brings_back_what_another_has_mended(tmp_path, form, shapes, marks, name, told, choices):
    """Whichever offered buttons are pressed, in whatever order: a problem that went away stays away."""
    if not (tmp_path / "img").exists():
        image_folder(tmp_path / "img")
    model = made(tmp_path, shapes, marks, name, told)
    run = sound_settings(tmp_path, **{**form, "pretrained_model_name_or_path": str(model)})
    gone: set[tuple[str, str]] = set()
    for choice in choices:
        offered = [problem for problem in check(run).problems if problem.fix]
        if not offered:
            break
        before = {(problem.setting, problem.code) for problem in offered}
        assert not before & gone, before & gone
        pressed = offered[choice % len(offered)]
        run = run.replace(**(pressed.fix or {}))
        after = {(problem.setting, problem.code) for problem in check(run).problems}
        assert (pressed.setting, pressed.code) not in after
        gone |= before - after
