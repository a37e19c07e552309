"""Whether a sample shows a training picture again."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageEnhance, ImageOps

from tests.trainer.runs import DEMO
from trainer.judge.copying import Gallery, look_of

PICTURES = sorted((DEMO / "pictures").glob("*/*.png"))


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    return Gallery.of(PICTURES)


def opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: picture,
        lambda picture: picture.resize((96, 96)),
        lambda picture: ImageEnhance.Brightness(picture).enhance(0.7),
        ImageOps.mirror,
    ],
    ids=["itself", "smaller", "darker", "in a mirror"],
)
def test_a_picture_of_the_training_is_known_again(gallery: Gallery, change):
    nearest = gallery.nearest(change(opened(PICTURES[3])))
    assert nearest is not None
    assert nearest.index == 3
    assert nearest.distance < 0.02 < gallery.usual


def test_another_picture_lies_farther_away_than_training_pictures_from_each_other(gallery: Gallery):
    other = Image.linear_gradient("L").convert("RGB")
    nearest = gallery.nearest(other)
    assert nearest is not None
    assert nearest.distance > gallery.usual


def test_plain_and_unreadable_pictures_do_no_harm(tmp_path: Path):
    (tmp_path / "no.png").write_bytes(b"no picture")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "plain.png")
    gallery = Gallery.of([tmp_path / "no.png", tmp_path / "plain.png"])
    assert len(gallery.looks) == 1
    assert gallery.usual == 0
    nearest = gallery.nearest(opened(PICTURES[0]))
    assert nearest is not None
    assert nearest.distance == 1
    assert not look_of(Image.new("L", (5, 5))).any()
    assert Gallery.of([]).nearest(opened(PICTURES[0])) is None


def test_of_very_many_pictures_an_even_choice_is_kept():
    assert len(Gallery.of(PICTURES, most=4).looks) == 4
    assert len(Gallery.of(PICTURES, most=5).looks) == 4


def test_nearness_counts_in_the_distance_between_training_pictures(gallery: Gallery):
    assert gallery.nearness(opened(PICTURES[3])) == pytest.approx(0, abs=0.01)
    assert gallery.nearness(Image.linear_gradient("L")) > 1
    assert Gallery.of(PICTURES[:1]).nearness(opened(PICTURES[3])) == -1
