"""Pixels of training pictures: equal to those recorded of the reference, and upright, in RGB, cropped."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainer.made import picture
from trainer.data.buckets import BucketRule, Fit
from trainer.data.picture_files import read_picture_header
from trainer.data.pixels import (
    HUE_STEPS,
    crop,
    fitted,
    load_pixels,
    random_corner,
    random_hue,
    resize_pixels,
    to_input,
    turn_hue,
)
from trainer.errors import UserError

DATA = Path(__file__).parents[2] / "data/pictures"
RULE = BucketRule((128, 128), True, 64, 256, 64, False)


def fit_of(name: str) -> Fit:
    header = read_picture_header(DATA / name)
    return RULE.fit(header.width, header.height)


def recorded(name: str) -> np.ndarray:
    return np.asarray(Image.open(DATA / f"recorded_{name}.png"))


@pytest.mark.parametrize("name", ["a02", "a03", "a04", "a06"])
def test_scaled_and_cropped_pictures_equal_the_reference(name):
    """a02 and a03 grow (Lanczos), a04 and a06 shrink (mean over the area)."""
    ours = fitted(DATA / f"{name}.png", fit_of(f"{name}.png"))
    assert np.array_equal(ours, recorded(name))


@pytest.mark.parametrize(("name", "steps"), [("hue", -3), ("hue2", -8)])
def test_turned_hues_equal_the_reference(name, steps):
    assert np.array_equal(fitted(DATA / "a06.png", fit_of("a06.png"), hue=steps), recorded(name))


def test_shrinking_is_the_mean_of_what_is_covered():
    pixels = np.arange(0, 96, dtype=np.uint8).reshape(4, 8, 3)
    assert np.array_equal(
        resize_pixels(pixels, (4, 2))[0, 0], np.round(pixels[:2, :2].mean(axis=(0, 1)) + 0.001)
    )
    assert resize_pixels(pixels, (8, 4)) is pixels


@pytest.mark.parametrize("turned", range(1, 9))
def test_pictures_are_turned_upright_by_their_exif(tmp_path, turned):
    exif = Image.Exif()
    exif[0x0112] = turned
    path = picture(tmp_path / "a.jpg", (40, 24), exif=exif, quality=95)
    upright = np.asarray(Image.open(path).convert("RGB"))
    expected = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, -1),
        7: np.rot90(upright.swapaxes(0, 1), 2),
        8: np.rot90(upright),
    }[turned]
    assert np.array_equal(load_pixels(path), expected)
    header = read_picture_header(path)
    assert (header.height, header.width) == expected.shape[:2]


@pytest.mark.parametrize("kind", ["RGB", "L", "P", "1", "CMYK", "RGBA", "LA", "YCbCr"])
def test_every_kind_of_picture_becomes_rgb(tmp_path, kind):
    ending = {"CMYK": "jpg", "YCbCr": "jpg"}.get(kind, "png")
    path = picture(tmp_path / f"a.{ending}", (16, 12), kind)
    pixels = load_pixels(path)
    assert (pixels.shape, pixels.dtype) == ((12, 16, 3), np.uint8)


def test_see_through_parts_become_white(tmp_path):
    layer = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    layer.putpixel((1, 0), (200, 0, 0, 255))
    layer.save(tmp_path / "a.png")
    assert load_pixels(tmp_path / "a.png").tolist() == [[[255, 255, 255], [200, 0, 0]]]
    assert read_picture_header(tmp_path / "a.png").transparent


def test_sixteen_bits_of_grey_keep_their_brightness(tmp_path):
    Image.fromarray(np.array([[0, 32_896, 65_535]], dtype=np.uint16)).save(tmp_path / "a.png")
    assert load_pixels(tmp_path / "a.png")[0, :, 0].tolist() == [0, 128, 255]


def test_of_an_animation_the_first_frame_is_taken(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert load_pixels(tmp_path / "a.webp")[0, 0].tolist() == [255, 0, 0]
    assert read_picture_header(tmp_path / "a.webp").animated


def test_an_unreadable_picture_is_named(tmp_path):
    whole = picture(tmp_path / "a.png", (64, 64)).read_bytes()
    (tmp_path / "a.png").write_bytes(whole[:60] + bytes(20) + whole[80:])
    with pytest.raises(UserError) as caught:
        load_pixels(tmp_path / "a.png")
    assert "a.png" in str(caught.value)


def test_crop_takes_the_window():
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    assert np.array_equal(crop(pixels, (2, 3), 1, 1), pixels[1:4, 1:3])


def test_random_crop_gives_different_windows_inside_the_picture():
    fit = Fit((64, 64), (80, 64))
    corners = {random_corner(fit, random.Random(seed)) for seed in range(50)}
    assert len(corners) > 5
    assert all(0 <= left <= 16 and top == 0 for left, top in corners)


def test_flip_mirrors_left_and_right():
    path, fit = DATA / "a04.png", fit_of("a04.png")
    assert np.array_equal(fitted(path, fit, flip=True), fitted(path, fit)[:, ::-1])


def test_color_augmentation_changes_hue_each_time_a_little():
    hues = {random_hue(random.Random(seed)) for seed in range(200)}
    assert hues == set(range(-HUE_STEPS, HUE_STEPS + 1))
    red = np.full((1, 1, 3), (200, 40, 40), np.uint8)
    turned = [turn_hue(red, steps)[0, 0].tolist() for steps in (-8, 8)]
    assert turned[0] != turned[1]
    assert all(max(colour) == 200 and colour[0] == 200 for colour in turned)  # still as bright, still reddish


def test_a_whole_turn_of_the_hue_changes_little():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert (
        np.abs(turn_hue(pixels, 180).astype(int) - pixels).max() <= 10
    )  # 8-bit hue has steps of two degrees


def test_what_the_vae_reads_lies_between_minus_one_and_one():
    values = to_input(np.array([[[0, 255, 51]]], dtype=np.uint8))
    assert values.shape == (3, 1, 1)
    assert values.dtype == np.float32
    assert values.ravel().tolist() == pytest.approx([-1, 1, -0.6])
