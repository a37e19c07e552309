"""Checks of the folders with pictures and of captions."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.trainer.found import expect, find
from tests.trainer.made import image_folder, picture, sound_settings, sound_values
from trainer.preflight.check import check
from trainer.settings import Settings


@pytest.mark.parametrize("key", ["train_data_dir", "reg_data_dir"])
def test_the_parent_folder_is_proposed(tmp_path, key):
    image_folder(tmp_path / "other", name="5_dog")
    settings = sound_settings(tmp_path, **{key: str(tmp_path / "other/5_dog")})
    problem = expect(settings, "preflight.folder_parent", setting=key, blocks=True)
    assert problem.fix == {key: str(tmp_path / "other")}


def layout(make: Callable[[Path], object]) -> Callable[[Path], str]:
    def made(tmp_path: Path) -> str:
        folder = tmp_path / "layout"
        folder.mkdir()
        make(folder)
        return str(folder)

    return made


@pytest.mark.parametrize(
    ("make", "code", "says"),
    [
        (lambda f: picture(f / "a.png"), "preflight.folder_loose", "10_layout"),
        (lambda f: picture(f / "cats/a.png"), "preflight.folder_unnumbered", "10_cats"),
        (lambda f: picture(f / "0_cat/a.png"), "preflight.folder_zero", "10_cat"),
        (lambda f: picture(f / "10_x/a.gif"), "preflight.folder_kinds", ".gif"),
        (lambda f: picture(f / "10_x/10_cat/a.png"), "preflight.folder_nested", "10_x"),
        (lambda f: (f / "10_x").mkdir(), "preflight.folder_empty", "layout"),
        (
            lambda f: [(f / "10_x").mkdir(), (f / "10_x/a.png").touch()],
            "preflight.folder_all_broken",
            "layout",
        ),
    ],
)
def test_folders_without_pictures_say_what_was_found(tmp_path, make, code, says):
    settings = sound_settings(tmp_path, train_data_dir=layout(make)(tmp_path))
    problem = find(check(settings), code)
    assert problem.blocks
    assert says in str(problem.said("en"))
    assert says in str(problem.said("ja"))


def test_a_file_in_place_of_the_folder_is_told(tmp_path):
    settings = sound_settings(tmp_path)
    wrong = settings.replace(train_data_dir=str(tmp_path / "model.safetensors"))
    assert find(check(wrong), "preflight.folder_is_file").fix == {"train_data_dir": str(tmp_path)}


@pytest.mark.parametrize(
    ("make", "code", "says"),
    [
        (lambda f: picture(f / "loose.png"), "preflight.left_loose", "1"),
        (lambda f: picture(f / "dogs/a.png"), "preflight.left_no_number", "10_dogs"),
        (lambda f: picture(f / "0_dogs/a.png"), "preflight.left_zero_repeats", "0_dogs"),
        (lambda f: picture(f / "10_sks cat/more/a.png"), "preflight.left_nested", "10_sks cat/more"),
        (lambda f: picture(f / "10_sks cat/a.tiff"), "preflight.left_kinds", ".tiff (1)"),
        (lambda f: picture(f / "10_sks cat/a.png", mode="RGBA"), "preflight.transparent", "1"),
        (lambda f: (f / "10_sks cat/bad.png").touch(), "preflight.pictures_broken", "10_sks cat/bad.png"),
        (lambda f: picture(f / "10_sks cat/new.png"), "preflight.captions_some", "10_sks cat/new.png"),
        (lambda f: (f / "10_sks cat/0.txt").write_text(""), "preflight.captions_blank", "0.txt"),
        (lambda f: (f / "10_sks cat/0.txt").write_bytes(b"\x94L"), "preflight.captions_encoding", "0.txt"),
        (lambda f: picture(f / "10_sks cat/wide.png", (640, 64)), "preflight.pictures_cut", "wide.png"),
    ],
)
def test_what_is_left_out_or_changed_is_a_hint(tmp_path, make, code, says):
    settings = sound_settings(tmp_path, enable_bucket=False) if "cut" in code else sound_settings(tmp_path)
    assert code not in [problem.code for problem in check(settings).problems]
    make(tmp_path / "img")
    problem = find(check(settings), code)
    assert not problem.blocks
    assert says in str(problem.said("en"))


def test_animations_are_told(tmp_path):
    settings = sound_settings(tmp_path)
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "img/10_sks cat/a.webp", save_all=True, append_images=frames[1:])
    assert find(check(settings), "preflight.animated")


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="needs a user who may not do everything"
)
def test_closed_folders_and_pictures_are_told(tmp_path):
    settings = sound_settings(tmp_path)
    picture(tmp_path / "img/5_dog/a.png")
    (tmp_path / "img/10_sks cat/0.png").chmod(0)
    (tmp_path / "img/5_dog").chmod(0)
    found = check(settings)
    (tmp_path / "img/5_dog").chmod(0o700)
    assert find(found, "preflight.left_no_access")
    assert find(found, "preflight.pictures_closed")


def test_pictures_that_are_too_large_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 100)
    assert find(check(sound_settings(tmp_path)), "preflight.pictures_huge")


def test_captions_of_another_ending_are_proposed(tmp_path):
    problem = find(check(sound_settings(tmp_path, caption_extension="")), "preflight.captions_elsewhere")
    assert problem.fix == {"caption_extension": ".txt"}
    assert problem.values["count"] == "4"


def test_without_captions_the_folders_words_are_told(tmp_path):
    settings = sound_settings(tmp_path)
    for path in (tmp_path / "img/10_sks cat").glob("*.txt"):
        path.unlink()
    assert "sks cat" in str(find(check(settings), "preflight.captions_none").said("en"))
    (tmp_path / "img/10_sks cat").rename(tmp_path / "img/10")
    assert find(check(settings), "preflight.captions_no_words")


def test_regularisation_pictures_are_checked(tmp_path):
    values = sound_values(tmp_path)
    same = Settings.from_flat(values | {"reg_data_dir": values["train_data_dir"] + "/."})
    expect(same, "preflight.reg_same", setting="reg_data_dir", blocks=True)
    many = Settings.from_flat(values | {"reg_data_dir": str(image_folder(tmp_path / "reg", 50, "1_cat"))})
    problem = expect(many, "preflight.reg_many", setting="reg_data_dir", blocks=False)
    assert problem.values == {"used": "40", "total": "50"}


def test_dataset_files_are_checked(tmp_path):
    path = tmp_path / "data.toml"
    settings = sound_settings(tmp_path, train_data_dir="", dataset_config=str(path))
    path.write_text("nonsense")
    assert find(check(settings), "preflight.dataset_damaged").blocks
    path.write_text("[[datasets]]\n[[datasets.subsets]]\nimage_dir = '/gone'\n")
    assert find(check(settings), "preflight.dataset_folder").blocks
    path.write_text("[general]\nshuffle_caption = true\n")
    assert find(check(settings), "preflight.dataset_empty").blocks
    path.write_text(
        f"[[datasets]]\n[[datasets.subsets]]\nimage_dir = '{tmp_path}/img/10_sks cat'\nnum_repeats = 3\n"
    )
    found = check(settings)
    assert found.problems == ()
    assert found.plan is not None
    assert found.plan.total_steps == 12


def test_scattered_pictures_are_told(tmp_path):
    settings = sound_settings(tmp_path, train_batch_size=4, max_resolution="256")
    for number, size in enumerate([(128, 256), (256, 128), (192, 192), (128, 192), (192, 128), (256, 192)]):
        picture(tmp_path / f"img/1_more/{number}.png", size)
        (tmp_path / f"img/1_more/{number}.txt").write_text("x")
    for path in (tmp_path / "img/10_sks cat").glob("[1-3].*"):
        path.unlink()
    assert find(check(settings), "preflight.batches_scattered")
