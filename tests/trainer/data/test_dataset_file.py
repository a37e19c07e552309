"""Dataset files (sd-scripts' TOML) name folders one by one."""

from __future__ import annotations

import pytest

from tests.trainer.made import image_folder, picture
from trainer.data.dataset_file import DatasetFileError, read_pictures, read_places


def test_subsets_become_pictures_with_their_repeats(tmp_path):
    picture(tmp_path / "plain" / "a.png")
    picture(tmp_path / "reg" / "r.png")
    (tmp_path / "plain" / "a.cap").write_text("by its own ending", encoding="utf-8")
    (tmp_path / "data.toml").write_text(
        f"""
        [general]
        caption_extension = ".txt"
        [[datasets]]
          [[datasets.subsets]]
          image_dir = '{tmp_path / "plain"}'
          num_repeats = 7
          class_tokens = "sks cat"
          caption_extension = ".cap"
          [[datasets.subsets]]
          image_dir = "reg"
          is_reg = true
        """,
        encoding="utf-8",
    )
    pictures, reg = read_pictures("", "", str(tmp_path / "data.toml"), "")
    (image,) = pictures.images
    assert (image.folder, image.repeats, image.class_tokens, image.caption) == (
        "plain",
        7,
        "sks cat",
        "by its own ending",
    )
    assert [(image.path.name, image.repeats, image.is_reg) for image in reg.images] == [("r.png", 1, True)]


def test_a_dataset_file_goes_before_the_image_folder(tmp_path):
    picture(tmp_path / "other" / "b.png")
    image_folder(tmp_path / "img")
    (tmp_path / "data.toml").write_text(
        "[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'other'\n", encoding="utf-8"
    )
    pictures, _ = read_pictures(str(tmp_path / "img"), "", str(tmp_path / "data.toml"), "")
    assert [image.path.name for image in pictures.images] == ["b.png"]


def test_missing_folders_are_told(tmp_path):
    (tmp_path / "data.toml").write_text(
        "[[datasets]]\n[[datasets.subsets]]\nimage_dir = '/gone'\n", encoding="utf-8"
    )
    pictures, _ = read_pictures("", "", str(tmp_path / "data.toml"), "")
    assert [(ignored.name, ignored.reason) for ignored in pictures.ignored] == [("/gone", "missing")]


@pytest.mark.parametrize(
    "text",
    [
        "not toml at all",
        "datasets = 3",
        "[[datasets]]\nsubsets = 3",
        "[[datasets]]\n[[datasets.subsets]]\nnum_repeats = 2",
        "[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'x'\nnum_repeats = 'often'",
        "[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'x'\nclass_tokens = 3",
    ],
)
def test_malformed_files_are_refused(tmp_path, text):
    (tmp_path / "data.toml").write_text(text, encoding="utf-8")
    with pytest.raises(DatasetFileError):
        list(read_places(tmp_path / "data.toml"))
    assert not any(scan.images for scan in read_pictures("", "", str(tmp_path / "data.toml"), ""))


def test_what_is_not_there_gives_no_pictures(tmp_path):
    assert not any(scan.images for scan in read_pictures(str(tmp_path / "gone"), "", "", ""))
    assert not any(scan.images for scan in read_pictures("", "", "", ""))
