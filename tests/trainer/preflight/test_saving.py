"""Checks of what is written, of training states, and of what goes together."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from tests.trainer.found import expect, find
from tests.trainer.made import SDXL, model_file, sound_settings
from trainer.preflight.check import check

LORA = {"lora_unet_mid_block_x.lora_down.weight": (4, 8), "lora_unet_mid_block_x.lora_up.weight": (8, 4)}


def test_an_existing_name_is_kept_and_the_new_one_told(tmp_path):
    settings = sound_settings(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/cat.safetensors").touch()
    problem = expect(settings, "preflight.name_exists", setting="output_name", blocks=False)
    assert problem.values == {"name": "cat.safetensors", "used": "cat-2.safetensors"}


@pytest.mark.parametrize("there", ["cat.safetensors", "cat-000003.safetensors", "cat-state"])
def test_what_is_said_to_exist_exists(tmp_path, there):
    settings = sound_settings(tmp_path)
    (tmp_path / "out" / there).mkdir(parents=True)
    problem = expect(settings, "preflight.name_exists", setting="output_name", blocks=False)
    assert problem.values == {"name": there, "used": "cat-2.safetensors"}


def test_a_file_in_place_of_the_output_folder_is_told(tmp_path):
    settings = sound_settings(tmp_path)
    wrong = settings.replace(output_dir=str(tmp_path / "model.safetensors" / "out"))
    problem = expect(wrong, "preflight.folder_is_file", setting="output_dir", blocks=True)
    assert problem.fix == {"output_dir": str(tmp_path)}


def test_a_missing_output_folder_is_no_problem_and_not_made_by_looking(tmp_path):
    assert check(sound_settings(tmp_path, output_dir=str(tmp_path / "a/b/c"))).problems == ()
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("key", ["output_dir", "logging_dir"])
def test_a_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch, key):
    settings = sound_settings(tmp_path, **{key: str(tmp_path / "locked/new")})
    (tmp_path / "locked").mkdir()
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "locked" not in str(path) and real(path, mode))
    expect(settings, "preflight.not_writable", setting=key, blocks=True)


def test_a_full_disk_is_told_before_it_is_full(tmp_path, monkeypatch):
    settings = sound_settings(tmp_path)
    needed = check(settings).plan.disk_bytes  # pyright: ignore[reportOptionalMemberAccess]  # nothing blocks
    for free, code in ((needed - 1, "preflight.disk_full"), (needed + 1, "preflight.disk_low")):
        monkeypatch.setattr("shutil.disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        assert find(check(settings), code).blocks == (code == "preflight.disk_full")


def test_eight_bit_optimizers_without_their_package_get_a_stand_in(tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.preflight.training.find_spec", lambda name: None)
    for name, plain in (("AdamW8bit", "AdamW"), ("PagedAdamW8bit", "AdamW"), ("Lion8bit", "Lion")):
        settings = sound_settings(tmp_path, optimizer=name)
        problem = expect(settings, "preflight.no_8bit", setting="optimizer", blocks=False)
        assert problem.fix == {"optimizer": plain}


def test_network_weights_must_be_a_lora(tmp_path):
    settings = sound_settings(tmp_path, network_weights=str(tmp_path / "model.safetensors"))
    expect(settings, "preflight.weights_other_file", setting="network_weights", blocks=True)
    lora = model_file(tmp_path / "l.safetensors", LORA)
    assert check(sound_settings(tmp_path, network_weights=str(lora))).problems == ()


def test_alpha_does_not_count_where_the_file_gives_it(tmp_path):
    lora = model_file(tmp_path / "l.safetensors", LORA)
    values = {"network_weights": str(lora), "dim_from_weights": True, "network_alpha": 99}
    assert check(sound_settings(tmp_path, **values)).problems == ()


@pytest.mark.parametrize("rate", [5e-5, (0, 1e-5), None])
def test_text_outputs_are_not_cached_while_an_encoder_learns(tmp_path, rate):
    values = {"sdxl": True, "sdxl_cache_text_encoder_outputs": True, "text_encoder_lr": rate}
    model_file(tmp_path / "model.safetensors", SDXL)
    key, code = "sdxl_cache_text_encoder_outputs", "preflight.cached_text_trained"
    expect(sound_settings(tmp_path, **values), code, setting=key, blocks=True)
    frozen = check(sound_settings(tmp_path, **values | {"text_encoder_lr": 0, "shuffle_caption": True}))
    assert code not in {problem.code for problem in frozen.problems}


def test_a_drive_that_is_not_there_is_told(tmp_path, monkeypatch):
    settings = sound_settings(tmp_path, logging_dir="Z:/logs")
    monkeypatch.setattr(
        "trainer.preflight.saving.nearest_existing",
        lambda path: None if "Z:" in str(path) else tmp_path,
    )
    expect(settings, "preflight.drive_missing", setting="logging_dir", blocks=True)
