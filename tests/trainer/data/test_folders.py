"""Image folders: what is read, what is left out and why, captions, regularisation pictures."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.made import image_folder, picture
from trainer.data.folders import FolderScan, Ignored, TrainImage, matched, repeats_and_words, scan_folder


def scan(root: Path, ending: str = ".txt") -> FolderScan:
    return scan_folder(root, ending)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("10_sks cat", (10, "sks cat")),
        ("3_a_b_c", (3, "a_b_c")),
        ("10_猫", (10, "猫")),
        ("10", (10, "")),
        ("0_x", (0, "x")),
        ("cats", None),
        ("10 cats", None),
        ("x_10", None),
    ],
)
def test_folder_names_tell_repeats_and_words(name, found):
    assert repeats_and_words(name) == found


def test_pictures_are_read_with_captions_repeats_and_sizes(tmp_path):
    picture(tmp_path / "10_sks cat" / "b.png", (80, 60))
    picture(tmp_path / "10_sks cat" / "a.jpg", (64, 96))
    (tmp_path / "10_sks cat" / "a.txt").write_text("sks cat, red\nmore", encoding="utf-8")
    picture(tmp_path / "2_dog" / "c.webp", (70, 70))
    found = scan(tmp_path)
    assert [
        (i.path.name, i.folder, i.repeats, i.caption, i.caption_found, i.width, i.height)
        for i in found.images
    ] == [
        ("a.jpg", "10_sks cat", 10, "sks cat, red", True, 64, 96),
        ("b.png", "10_sks cat", 10, "sks cat", False, 80, 60),
        ("c.webp", "2_dog", 2, "dog", False, 70, 70),
    ]
    assert found.captions_found == 1


def test_blank_extension_reads_caption_files(tmp_path):
    image_folder(tmp_path, 1)
    (tmp_path / "10_sks cat" / "0.caption").write_text("from caption", encoding="utf-8")
    assert scan(tmp_path, "").images[0].caption == "from caption"
    assert scan(tmp_path, "").extensions == Counter({".txt": 1, ".caption": 1})


def test_endings_in_capital_letters_are_read(tmp_path):
    picture(tmp_path / "1_x" / "A.JPG")
    (tmp_path / "1_x" / "A.TXT").write_text("words", encoding="utf-8")
    assert scan(tmp_path).images[0].caption == "words"


def test_empty_and_odd_captions_are_told_and_do_not_stop(tmp_path):
    image_folder(tmp_path, 2)
    (tmp_path / "10_sks cat" / "0.txt").write_text(" \n", encoding="utf-8")
    (tmp_path / "10_sks cat" / "1.txt").write_bytes("赤い猫".encode("cp932"))
    found = scan(tmp_path)
    assert [image.caption for image in found.images] == ["sks cat", "赤い猫"]
    assert [path.name for path in found.blank_captions] == ["0.txt"]
    assert [path.name for path in found.odd_captions] == ["1.txt"]


def test_folders_that_are_not_read_are_listed_with_their_pictures(tmp_path):
    image_folder(tmp_path, 1)
    picture(tmp_path / "cats" / "a.png")
    picture(tmp_path / "0_off" / "a.png")
    picture(tmp_path / "10_sks cat" / "deeper" / "a.png")
    (tmp_path / "5_empty").mkdir()
    picture(tmp_path / "loose.png")
    found = scan(tmp_path)
    assert set(found.ignored) == {
        Ignored("cats", "no_number", 1),
        Ignored("0_off", "zero_repeats", 1),
        Ignored("10_sks cat/deeper", "nested", 1),
        Ignored("5_empty", "empty", 0),
    }
    assert (len(found.images), found.loose) == (1, 1)


def test_broken_pictures_are_named_with_the_reason(tmp_path):
    folder = image_folder(tmp_path, 1) / "10_sks cat"
    (folder / "empty.png").touch()
    (folder / "words.jpg").write_text("no picture", encoding="utf-8")
    for name in ("cut.png", "cut.jpg", "cut.webp", "cut.bmp"):
        whole = picture(tmp_path / name, (200, 200)).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
    found = {broken.path.name: broken.reason for broken in scan(tmp_path).broken}
    assert found == {
        "empty.png": "empty",
        "words.jpg": "no_picture",
        "cut.png": "truncated",
        "cut.jpg": "truncated",
        "cut.webp": "no_picture",
        "cut.bmp": "truncated",
    }
    assert len(scan(tmp_path).images) == 1


def test_a_picture_with_bytes_behind_its_end_is_whole(tmp_path):
    path = picture(tmp_path / "1_x" / "a.jpg")
    path.write_bytes(path.read_bytes() + b"maker notes" * 100)
    assert len(scan(tmp_path).images) == 1


def test_a_decompression_bomb_is_refused(tmp_path):
    (tmp_path / "1_x").mkdir()
    path = picture(tmp_path / "1_x" / "bomb.bmp", (8, 8))
    data = bytearray(path.read_bytes())
    data[18:26] = (30_000).to_bytes(4, "little") * 2  # width and height in the header
    path.write_bytes(data)
    assert [broken.reason for broken in scan(tmp_path).broken] == ["too_large"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_links_are_followed_and_dead_ones_told(tmp_path):
    folder = image_folder(tmp_path / "img", 1) / "10_sks cat"
    real = picture(tmp_path / "elsewhere" / "real.png")
    (folder / "link.png").symlink_to(real)
    (folder / "dead.png").symlink_to(tmp_path / "gone.png")
    (folder / "circle").symlink_to(tmp_path / "img")
    found = scan(tmp_path / "img")
    assert [image.path.name for image in found.images] == ["0.png", "link.png"]
    assert [(broken.path.name, broken.reason) for broken in found.broken] == [("dead.png", "missing")]


def test_hidden_files_and_other_files_are_left_alone(tmp_path):
    folder = image_folder(tmp_path, 1) / "10_sks cat"
    picture(folder / "._0.png")
    (folder / "Thumbs.db").touch()
    (folder / "0.npz").touch()
    picture(tmp_path / ".hidden" / "a.png")
    found = scan(tmp_path)
    assert (len(found.images), found.broken, found.ignored) == (1, (), ())
    assert found.extensions == Counter({".txt": 1})


def test_pictures_of_other_kinds_are_counted(tmp_path):
    folder = image_folder(tmp_path, 1) / "10_sks cat"
    picture(folder / "a.gif")
    picture(folder / "b.tiff")
    (folder / "c.heic").touch()
    assert scan(tmp_path).not_read == Counter({".gif": 1, ".tiff": 1, ".heic": 1})


def test_a_changed_file_is_read_again(tmp_path):
    image_folder(tmp_path, 2)
    assert [image.width for image in scan(tmp_path).images] == [64, 64]
    path = picture(tmp_path / "10_sks cat" / "0.png", (96, 64))
    os.utime(path, ns=(1, 1))
    (tmp_path / "10_sks cat" / "1.txt").write_text("other words", encoding="utf-8")
    os.utime(tmp_path / "10_sks cat" / "1.txt", ns=(2, 2))
    found = scan(tmp_path)
    assert [image.width for image in found.images] == [96, 64]
    assert found.images[1].caption == "other words"
    (tmp_path / "10_sks cat" / "0.png").unlink()
    assert len(scan(tmp_path).images) == 1


def test_unchanged_folders_are_not_opened_again(tmp_path, monkeypatch):
    image_folder(tmp_path, 3)
    first = scan(tmp_path)

    def no_reading(path: Path):
        raise AssertionError(path)

    monkeypatch.setattr("trainer.data.picture_files.read_picture_header", no_reading)
    assert scan(tmp_path) == first


def test_regularisation_pictures_are_marked(tmp_path):
    assert all(image.is_reg for image in scan_folder(image_folder(tmp_path, 2), ".txt", is_reg=True).images)


def reg(repeats: list[int]) -> list[TrainImage]:
    return [TrainImage(Path(f"{i}.png"), "r", n, "", "", False, 64, 64, True) for i, n in enumerate(repeats)]


@pytest.mark.parametrize(
    ("repeats", "wanted", "counts"),
    [
        ([1, 1, 1], 8, [3, 3, 2]),
        ([1, 1, 1, 1], 2, [1, 1]),
        ([2, 2], 4, [2, 2]),
        ([5, 1], 4, [4]),
        ([], 5, []),
        ([1], 0, []),
    ],
)
def test_regularisation_pictures_are_repeated_to_match(repeats, wanted, counts):
    assert [image.repeats for image in matched(reg(repeats), wanted)] == counts


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(0, 60))
def test_matching_gives_exactly_as_many(repeats, wanted):
    assert sum(image.repeats for image in matched(reg(repeats), wanted)) == wanted
