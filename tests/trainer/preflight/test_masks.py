"""Masks that leave nothing, cannot be read or do not fit are told before the run, with the pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainer.found import expect, find
from tests.trainer.made import picture, sound_settings
from trainer.preflight.check import check
from trainer.settings import Settings


def see_through(path: Path, *, box: tuple[int, int, int, int] | None = None) -> None:
    picture = Image.new("RGBA", (64, 64), (200, 10, 10, 0))
    if box:
        picture.paste((200, 10, 10, 255), box)
    picture.save(path)


@pytest.mark.parametrize("empty", [1, 4])
def test_pictures_that_a_mask_leaves_nothing_of_are_named(empty: int, tmp_path: Path) -> None:
    settings = sound_settings(tmp_path, masked_loss=True)
    for number in range(4):
        path = tmp_path / "img" / "10_sks cat" / f"{number}.png"
        see_through(path, box=None if number < empty else (10, 10, 30, 30))
    problem = find(check(settings), "preflight.masks_empty")
    assert problem.values["count"] == str(empty)
    assert problem.blocks == (empty == 4)
    settings = settings.replace(masked_loss=False)
    assert "preflight.masks_empty" not in {found.code for found in check(settings).problems}


def with_mask_files(tmp_path: Path, masks: int = 4, **values: object) -> Settings:
    """A run whose dataset file names a folder of masks, white but for what a test writes over."""
    run = sound_settings(tmp_path, masked_loss=True, **values)
    folder = tmp_path / "masks"
    for number in range(masks):
        folder.mkdir(exist_ok=True)
        Image.new("L", (64, 64), 255).save(folder / f"{number}.png")
    file = tmp_path / "d.toml"
    file.write_text(
        "[[datasets]]\n[[datasets.subsets]]\n"
        f"image_dir = '{tmp_path / 'img' / '10_sks cat'}'\nconditioning_data_dir = '{folder}'\n"
        "caption_extension = '.txt'\n",
        encoding="utf-8",
    )
    return run.replace(dataset_config=str(file), train_data_dir="")


def black(path: Path) -> None:
    Image.new("RGB", (64, 64)).save(path)


def only_blue(path: Path) -> None:
    Image.new("RGB", (64, 64), (0, 0, 255)).save(path)


def see_through_white(path: Path) -> None:
    Image.new("RGBA", (64, 64), (0, 0, 0, 255)).save(path)


def with_masks_of(write: Callable[[Path], None], count: int, tmp_path: Path) -> Settings:
    """Settings whose first pictures have such masks."""
    settings = with_mask_files(tmp_path)
    for number in range(count):
        write(tmp_path / "masks" / f"{number}.png")
    return settings


@pytest.mark.parametrize("write", [black, only_blue, see_through_white])
@pytest.mark.parametrize("empty", [1, 4])
def test_a_mask_file_that_leaves_nothing_is_named(write, empty: int, tmp_path: Path) -> None:
    settings = with_masks_of(write, empty, tmp_path)
    problem = find(check(settings), "preflight.masks_empty")
    assert "10_sks cat/0.png (masks/0.png)" in problem.values["names"]
    assert (problem.values["count"], problem.blocks) == (str(empty), empty == 4)


def ones(path: Path) -> None:
    Image.new("L", (64, 64), 1).save(path)


def sixteen_bits(path: Path) -> None:
    Image.fromarray(np.full((64, 64), 255, np.uint16)).save(path)


def dark_palette(path: Path) -> None:
    palette = Image.new("P", (64, 64), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    palette.save(path)


@pytest.mark.parametrize("write", [ones, dark_palette, sixteen_bits])
@pytest.mark.parametrize("faint", [1, 4])
def test_masks_that_are_black_to_the_eye_are_named(write, faint: int, tmp_path: Path) -> None:
    settings = with_masks_of(write, faint, tmp_path)
    codes = {problem.code: problem.blocks for problem in check(settings).problems}
    code = "preflight.masks_empty" if write is sixteen_bits else "preflight.masks_faint"
    assert codes == {code: faint == 4}


def test_a_soft_mask_passes(tmp_path: Path) -> None:
    settings = with_mask_files(tmp_path)
    Image.new("L", (64, 64), 60).save(tmp_path / "masks" / "1.png")
    assert not check(settings).problems


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_a_mask_file_that_cannot_be_read_stops_the_run(content: bytes, tmp_path: Path) -> None:
    settings = with_mask_files(tmp_path)
    (tmp_path / "masks" / "2.png").write_bytes(content)
    problem = expect(settings, "preflight.masks_unreadable", setting="masked_loss", blocks=True)
    assert problem.values["names"] == ["10_sks cat/2.png (masks/2.png)"]


@pytest.mark.parametrize(
    ("size", "told"),
    [((64, 64), False), ((32, 32), False), ((641, 640), False), ((64, 32), True), ((65, 80), True)],
)
def test_a_mask_of_another_shape_is_told(size: tuple[int, int], told: bool, tmp_path: Path) -> None:
    settings = with_mask_files(tmp_path)
    Image.new("L", size, 255).save(tmp_path / "masks" / "1.png")
    found = {problem.code for problem in check(settings).problems}
    assert ("preflight.masks_shape" in found) == told


def test_a_mask_whose_white_part_is_cropped_away_leaves_nothing(tmp_path: Path) -> None:
    """With one size for all, the left third of a wide picture is cut off."""
    settings = with_mask_files(tmp_path, enable_bucket=False)
    picture(tmp_path / "img" / "10_sks cat" / "0.png", (192, 64))
    mask = Image.new("L", (192, 64))
    mask.paste(255, (0, 0, 40, 64))
    mask.save(tmp_path / "masks" / "0.png")
    assert find(check(settings), "preflight.masks_empty").values["count"] == "1"
    file = tmp_path / "d.toml"
    file.write_text(file.read_text(encoding="utf-8") + "random_crop = true\n", encoding="utf-8")
    loose = check(settings.replace(cache_latents=False, cache_latents_to_disk=False))
    assert "preflight.masks_empty" not in {problem.code for problem in loose.problems}


def test_white_masks_pass_and_count_only_with_masked_loss(tmp_path: Path) -> None:
    settings = with_mask_files(tmp_path)
    assert not check(settings).problems
    black(tmp_path / "masks" / "0.png")
    off = {problem.code for problem in check(settings.replace(masked_loss=False)).problems}
    assert off == {"preflight.dataset_masks_idle"}
