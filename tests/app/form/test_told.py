"""The page follows what a base model says of itself; what contradicts it is one problem with one fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.form import presets
from app.form import values as form
from app.form.look import look
from tests.trainer.made import SD1, SD2, SDXL, model_file
from trainer.families.table import FAMILIES
from trainer.settings import FamilyKey

FILES: dict[FamilyKey, Any] = {"sd1": SD1, "sd2": SD2, "sdxl": SDXL}
V = {"v_pred": (0,)}
BOTH = {**V, "ztsnr": (0,)}
OFF = {"v2": False, "sdxl": False, "v_parameterization": False, "zero_terminal_snr": False}
NOOB = {"v2": False, "sdxl": True, "v_parameterization": True, "zero_terminal_snr": True}


def seen(model: Path | str, **values: Any) -> dict[str, Any]:
    chosen = {"pretrained_model_name_or_path": str(model), **values}
    return look({**form.shown_values({}), **chosen}, "en")


@pytest.mark.parametrize("before", [OFF, NOOB, {**OFF, "v2": True, "v_parameterization": True}])
@pytest.mark.parametrize("family", FILES)
@pytest.mark.parametrize("marks", [{}, V, BOTH], ids=["no mark", "v", "v and zero"])
def test_a_models_marks_decide_all_switches_at_once(
    family: FamilyKey, marks: dict[str, Any], before: dict[str, bool], tmp_path: Path
):
    file = model_file(tmp_path / "m.safetensors", {**FILES[family], **marks})
    wanted = {**OFF, **FAMILIES[family].switches, "v_parameterization": bool(marks)}
    if marks == BOTH:
        wanted["zero_terminal_snr"] = True
    elif marks == V:
        wanted["zero_terminal_snr"] = before["zero_terminal_snr"]
    changes = seen(file, **before)["model"]["changes"]
    assert {**before, **changes} == wanted
    assert not seen(file, **wanted)["model"]["changes"]


@pytest.mark.parametrize(
    ("metadata", "velocity"),
    [({"modelspec.prediction_type": "v"}, True), ({"modelspec.prediction_type": "epsilon"}, False)],
)
def test_the_words_beside_the_tensors_count(metadata: dict[str, str], velocity: bool, tmp_path: Path):
    file = model_file(tmp_path / "m.safetensors", SDXL, **metadata)
    told = seen(file, **{**NOOB, "v_parameterization": not velocity})["model"]
    assert told["changes"]["v_parameterization"] is velocity


@pytest.mark.parametrize("name", ["noob_vpred_merge", "my-v-pred", "NoobXL V_Pred 2"])
def test_a_merge_without_marks_is_taken_by_its_name(name: str, tmp_path: Path):
    file = model_file(tmp_path / f"{name}.safetensors", SDXL)
    assert seen(file)["model"]["changes"] == {"sdxl": True, "v_parameterization": True}
    off = seen(file, sdxl=True)
    problem = next(one for one in off["problems"] if one["code"] == "preflight.model_named_velocity")
    assert problem["changes"] == {"v_parameterization": True}


@pytest.mark.parametrize("family", FILES)
@pytest.mark.parametrize("marks", [{}, V, BOTH])
@pytest.mark.parametrize("before", [OFF, NOOB])
def test_one_fix_ends_a_contradiction(
    family: FamilyKey, marks: dict[str, Any], before: dict[str, bool], tmp_path: Path
):
    file = model_file(tmp_path / "m.safetensors", {**FILES[family], **marks})
    told = ("base_model.other_family", "preflight.model_velocity", "preflight.model_no_velocity",
            "preflight.v_without_v2", "preflight.model_zero_snr", "preflight.zero_snr_epsilon")  # fmt: skip
    found = [one for one in seen(file, **before)["problems"] if one["code"] in told]
    if found:
        after = seen(file, **{**before, **found[0]["changes"]})
        assert not [one["code"] for one in after["problems"] if one["code"] in told]


def test_a_button_names_only_what_it_changes(tmp_path: Path):
    file = model_file(tmp_path / "m.safetensors", SDXL)
    problem = next(one for one in seen(file)["problems"] if one["code"] == "base_model.other_family")
    assert (problem["changes"], problem["button"]) == ({"sdxl": True}, "Turn on SDXL Model")


@pytest.mark.parametrize(
    ("family", "typed", "offered"),
    [
        ("sdxl", "512,512", "1024,1024"),
        ("sdxl", "768", "1024,1024"),
        ("sdxl", "1024,1024", None),
        ("sdxl", "832,1216", None),
        ("sdxl", "much", None),
        ("sd1", "1024,1024", "512,512"),
    ],
)
def test_sizes_of_another_family_are_offered_not_set(
    family: FamilyKey, typed: str, offered: str | None, tmp_path: Path
):
    file = model_file(tmp_path / "m.safetensors", FILES[family])
    told = seen(file, sdxl=family != "sdxl", max_resolution=typed)["model"]
    assert "max_resolution" not in told["changes"]
    assert (told["offer"] and told["offer"]["changes"]) == (offered and {"max_resolution": offered})


def test_a_quick_pick_is_told_before_it_is_here_and_what_is_no_model_is_not(tmp_path: Path):
    told = seen("", model_list="stabilityai/stable-diffusion-2-1")["model"]
    assert told["changes"] == {"v2": True, "v_parameterization": True}
    assert told["note"] == "This model is Stable Diffusion 2.x, v-prediction."
    lora = model_file(tmp_path / "x.safetensors", {"lora_unet_x.lora_down.weight": (4, 320)})
    for nothing in ("", "nowhere.safetensors", lora):
        assert seen(nothing)["model"] is None
    assert seen(f'"{model_file(tmp_path / "m.safetensors", SDXL)}" ')["model"]["changes"] == {"sdxl": True}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_block_has_one_place_in_the_picture(family: FamilyKey):
    blocks, names = seen("", **FAMILIES[family].switches)["blocks"], FAMILIES[family].blocks.names
    places = [at for row in blocks["rows"] for at in (*row["down"], *row["up"])] + blocks["middle"]
    assert sorted(places) == [*FAMILIES[family].blocks.learning]
    assert len(blocks["names"]) == len(set(blocks["names"])) == len(names)
    assert {*blocks["attention"]} < {*blocks["convolutions"]} < {*places}
    assert blocks["rows"][0]["size"] * 8 == blocks["side"]


def test_a_preset_leaves_a_model_of_its_family_its_kind_of_prediction(tmp_path: Path):
    preset = presets.read("illustrious_noobai_vpred").settings.flat()
    files = {
        (True, True): model_file(tmp_path / "noob.safetensors", {**SDXL, **BOTH}),
        (False, False): model_file(tmp_path / "illustrious.safetensors", SDXL),
    }
    for wanted, file in files.items():
        values = {**form.shown_values({}), "pretrained_model_name_or_path": str(file)}
        result = presets.with_preset(preset, values)
        assert (result["v_parameterization"], result["zero_terminal_snr"]) == wanted
        assert (result["sdxl"], result["max_resolution"]) == (True, "1024,1024")
    for other in ("", str(model_file(tmp_path / "sd1.safetensors", SD1))):
        result = presets.with_preset(
            preset, {**form.shown_values({}), "pretrained_model_name_or_path": other}
        )
        assert result["v_parameterization"]
        assert result["sdxl"]
