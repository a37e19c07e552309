"""What the checks say of a dataset file: nothing of it is silently left out, and it goes before the form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.trainer.made import image_folder, picture, sound_settings
from trainer.messages import LANGUAGES
from trainer.preflight.check import Checked, check
from trainer.settings import Settings


def with_file(folder: Path, text: str, **values: Any) -> Settings:
    path = folder / "data.toml"
    path.write_text(text, encoding="utf-8")
    return sound_settings(folder, train_data_dir="", dataset_config=str(path), **values)


def pictures(folder: Path) -> str:
    return f"image_dir = '{image_folder(folder / 'own', 4, 'cats') / 'cats'}'"


def found(checked: Checked, code: str) -> str:
    problem = next((one for one in checked.problems if one.code == code), None)
    assert problem, [one.code for one in checked.problems]
    for language in LANGUAGES:
        assert str(problem.said(language))
    return str(problem.said("en"))


NOT_FOLLOWED = {
    "flip": "unknown_near", "nonsense_at_all": "unknown", "network_multiplier": "network_multiplier",
    "validation_split": "validation_split", "resize_interpolation": "resize_interpolation",
    "face_crop_aug_range": "face_crop_aug_range", "custom_attributes": "custom_attributes",
}  # fmt: skip


@pytest.mark.parametrize("where", ["general", "datasets", "subsets"])
@pytest.mark.parametrize("key", NOT_FOLLOWED)
def test_every_value_that_is_not_followed_is_named(tmp_path, key, where):
    line = f"{key} = 0.5"
    lines = {place: line if place == where else "" for place in ("general", "datasets", "subsets")}
    text = (
        f"[general]\n{lines['general']}\n[[datasets]]\n{lines['datasets']}\n[[datasets.subsets]]\n"
        f"{pictures(tmp_path)}\n{lines['subsets']}\n"
    )
    checked = check(with_file(tmp_path, text))
    assert f"{key} = 0.5" in found(checked, f"preflight.dataset_{NOT_FOLLOWED[key]}")
    assert not checked.blocked


def test_the_folders_of_musubis_file_are_learned_and_it_is_named(tmp_path):
    folder = pictures(tmp_path).replace("image_dir", "image_directory")
    text = f"[general]\nbatch_size = 2\n[[datasets]]\n{folder}\nnum_repeats = 3\ncache_directory = 'c'\n"
    checked = check(with_file(tmp_path, text))
    assert "musubi-tuner" in found(checked, "preflight.dataset_musubi")
    assert "cache_directory = c" in found(checked, "preflight.dataset_musubi_idle")
    assert not checked.blocked
    assert checked.plan
    assert (checked.plan.images, checked.plan.batches_per_epoch) == (4, 6)


@pytest.mark.parametrize("key", ["resolution = 96", "batch_size = 3", "enable_bucket = false"])
def test_sizes_in_a_subset_are_named(tmp_path, key):
    text = f"[[datasets]]\n[[datasets.subsets]]\n{pictures(tmp_path)}\n{key}\n"
    checked = check(with_file(tmp_path, text))
    assert key.split()[0] in found(checked, "preflight.dataset_not_in_subset")
    assert checked.plan
    assert (checked.plan.datasets[0].width, checked.plan.batch_size) == (64, 1)


def test_captions_of_a_metadata_file_stop_the_run(tmp_path):
    text = f"[[datasets]]\n[[datasets.subsets]]\n{pictures(tmp_path)}\nmetadata_file = 'meta.json'\n"
    checked = check(with_file(tmp_path, text))
    assert "meta.json" in found(checked, "preflight.dataset_metadata_file")
    assert checked.blocked


def test_folders_that_are_left_out_are_named(tmp_path):
    (tmp_path / "none").mkdir()
    one = pictures(tmp_path)
    text = (
        f"[[datasets]]\n[[datasets.subsets]]\n{one}\n[[datasets.subsets]]\n{one}\nnum_repeats = 9\n"
        f"[[datasets.subsets]]\nimage_dir = '{tmp_path}/none'\n"
        f"[[datasets.subsets]]\nimage_dir = '{tmp_path}/own'\nnum_repeats = 0\n"
    )
    checked = check(with_file(tmp_path, text))
    assert "cats" in found(checked, "preflight.dataset_twice")
    assert "none" in found(checked, "preflight.dataset_folder_empty")
    assert "own" in found(checked, "preflight.dataset_zero_repeats")
    assert checked.plan
    assert checked.plan.total_steps == 4


def test_a_dataset_without_folders_is_named(tmp_path: Path):
    text = f"[[datasets]]\n[[datasets.subsets]]\n{pictures(tmp_path)}\n[[datasets]]\nresolution = 128\n"
    told = found(check(with_file(tmp_path, text)), "preflight.dataset_no_subsets")
    assert "datasets[1]" in told
    assert "resolution" in told


def test_single_brackets_where_double_ones_belong_are_shown(tmp_path: Path):
    told = found(check(with_file(tmp_path, "[datasets]\nresolution = 64\n")), "preflight.dataset_damaged")
    assert "[[datasets]]" in told
    inner = "[[datasets]]\n[datasets.subsets]\nimage_dir = 'x'\n"
    assert "[[datasets.subsets]]" in found(check(with_file(tmp_path, inner)), "preflight.dataset_damaged")


@pytest.mark.parametrize("line", [
    "resolution = [512, 768, 1024]", "resolution = 'large'", "resolution = 64.5", "batch_size = 0",
    "batch_size = 2.5", "batch_size = true", "flip_aug = 'yes'", "caption_dropout_rate = 1.5",
    "caption_extension = 3", "enable_bucket = 1", "min_bucket_reso = '256'", "keep_tokens = -1",
])  # fmt: skip
def test_a_value_of_another_kind_is_named_with_its_place(tmp_path, line):
    text = f"[[datasets]]\n{line}\n[[datasets.subsets]]\n{pictures(tmp_path)}\n"
    checked = check(with_file(tmp_path, text))
    assert f"datasets[0].{line.split()[0]}" in found(checked, "preflight.dataset_damaged")


def test_what_goes_before_the_form_is_named_and_one_click_makes_them_the_same(tmp_path):
    text = (
        f"[general]\nflip_aug = true\n[[datasets]]\nresolution = 96\nbatch_size = 2\n"
        f"[[datasets.subsets]]\n{pictures(tmp_path)}\n"
    )
    settings = with_file(tmp_path, text)
    checked = check(settings)
    said = found(checked, "preflight.dataset_first")
    assert "**Max resolution** 96 (64,64)" in said
    assert "**Train batch size** 2 (1)" in said
    assert "**Flip augmentation** True (False)" in said
    [problem] = [one for one in checked.problems if one.code == "preflight.dataset_first"]
    assert problem.fix == {"max_resolution": "96", "train_batch_size": 2, "flip_aug": True}
    again = check(settings.replace(**(problem.fix or {})))
    assert "preflight.dataset_first" not in [one.code for one in again.problems]
    assert again.plan == checked.plan


def test_values_that_differ_between_datasets_have_no_button(tmp_path):
    one = pictures(tmp_path)
    text = "".join(f"[[datasets]]\nresolution = {n}\n[[datasets.subsets]]\n{one}\n" for n in (64, 96))
    checked = check(with_file(tmp_path, text))
    assert "**Max resolution** 64 / 96" in found(checked, "preflight.dataset_first")
    [problem] = [one for one in checked.problems if one.code == "preflight.dataset_first"]
    assert problem.fix is None


def test_a_bad_size_is_told_of_the_file_not_of_the_form(tmp_path):
    text = f"[[datasets]]\nresolution = 32\n[[datasets.subsets]]\n{pictures(tmp_path)}\n"
    checked = check(with_file(tmp_path, text, min_bucket_reso=32))
    [problem] = [one for one in checked.problems if one.blocks]
    assert (problem.setting, problem.code) == ("dataset_config", "preflight.dataset_value")
    assert "64 pixels" in str(problem.said("en"))


def test_the_form_is_not_blamed_for_what_the_file_decides(tmp_path):
    """Sizes and changes of the form that no picture is learned with."""
    text = (
        f"[general]\nrandom_crop = false\ncaption_dropout_rate = 0.0\n[[datasets]]\nresolution = 64\n"
        f"[[datasets.subsets]]\n{pictures(tmp_path)}\n"
    )
    settings = with_file(
        tmp_path, text, max_resolution="8", random_crop=True, cache_latents=True, caption_dropout_rate=1.0
    )
    assert {one.code for one in check(settings).problems} == {"preflight.dataset_first"}


@pytest.mark.parametrize(("key", "code"), [
    ("random_crop", "preflight.cached_crop"), ("color_aug", "preflight.cached_color"),
])  # fmt: skip
def test_the_files_changes_do_not_go_with_cached_latents(tmp_path, key, code):
    text = f"[[datasets]]\n[[datasets.subsets]]\n{pictures(tmp_path)}\n{key} = true\n"
    checked = check(with_file(tmp_path, text, cache_latents=True))
    [problem] = [one for one in checked.problems if one.blocks]
    assert problem.values["said"].code == code
    assert not check(with_file(tmp_path, text, **(problem.fix or {}))).blocked


def test_training_options_beside_the_datasets_are_named_where_the_form_says_else(tmp_path):
    text = (
        f"network_dim = 24\nlearning_rate = 3e-4\nno_such_thing = 1\n"
        f"[[datasets]]\n[[datasets.subsets]]\n{pictures(tmp_path)}\n"
    )
    said = found(check(with_file(tmp_path, text)), "preflight.dataset_beside")
    assert all(part in said for part in ("network_dim = 24", "learning_rate", "no_such_thing"))
    same = with_file(tmp_path, text.replace("no_such_thing = 1\n", ""), network_dim=24, learning_rate=3e-4)
    assert "preflight.dataset_beside" not in [one.code for one in check(same).problems]


def test_captions_are_judged_by_the_files_ending(tmp_path):
    one = pictures(tmp_path)
    text = f"[general]\ncaption_extension = '.cap'\n[[datasets]]\n[[datasets.subsets]]\n{one}\n"
    said = found(check(with_file(tmp_path, text)), "preflight.dataset_captions_elsewhere")
    assert ".cap" in said
    assert ".txt" in said
    right = check(with_file(tmp_path, text.replace(".cap", ".txt"), caption_extension=".caption"))
    assert not [one for one in right.problems if "captions" in one.code]


def test_masks_without_masked_loss_are_named(tmp_path):
    picture(tmp_path / "masks" / "0.png")
    text = f"[[datasets]]\n[[datasets.subsets]]\n{pictures(tmp_path)}\nconditioning_data_dir = 'masks'\n"
    found(check(with_file(tmp_path, text)), "preflight.dataset_masks_idle")
    on = check(with_file(tmp_path, text, masked_loss=True))
    assert not {"preflight.dataset_masks_idle", "preflight.no_masks"} & {one.code for one in on.problems}


def test_a_regularisation_folder_beside_the_file_is_told_to_be_idle(tmp_path):
    text = f"[[datasets]]\n[[datasets.subsets]]\n{pictures(tmp_path)}\n"
    checked = check(with_file(tmp_path, text, reg_data_dir=str(tmp_path / "own")))
    assert "is_reg" in found(checked, "preflight.dataset_reg_idle")
    assert checked.plan
    assert checked.plan.reg_images == 0
