"""The demo's training pictures, and the judge that tests and README rely on."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from presets.demo.make import draw, measure, pictures
from presets.demo.make.shapes import FIGURES


def test_twelve_pictures_with_captions(demo_folder: Path):
    folder = demo_folder / "pictures" / "10_sks mascot"
    paths = sorted(folder.glob("*.png"))
    assert len(paths) == 12
    for path in paths:
        with Image.open(path) as picture:
            assert picture.size == (256, 256)
        caption = path.with_suffix(".txt").read_text(encoding="utf-8").strip()
        ground = measure.ground_of(measure.read_picture(path, 128))
        assert caption == f"sks mascot on a {ground} background"


def test_pictures_are_drawn_again_alike(demo_folder: Path, tmp_path: Path):
    """The shipped pictures are the program's: same seed, same pixels (give or take a drawing library)."""
    pictures.write_pictures(tmp_path)
    for path in sorted((demo_folder / "pictures" / pictures.FOLDER_NAME).glob("*.png")):
        shipped, fresh = (measure.read_picture(p, 64).astype(int) for p in (path, tmp_path / path.name))
        assert np.abs(shipped - fresh).mean() < 1


@pytest.mark.parametrize("figure", [*FIGURES])
def test_judge_knows_every_figure(figure: str):
    rng = random.Random(figure)
    for color in ("red", "cyan", "brown"):
        picture = draw.to_array(draw.draw_scene(draw.Scene(figure, color, "yellow"), rng, 128))
        assert (measure.shape_of(picture), measure.main_color(picture)) == (figure, color)
        assert measure.ground_of(picture) == "yellow"


def test_mascot_distance_tells_mascots_from_others():
    """Mascots never seen before are near on any ground; a purple bear, a monster of its kind, is far."""
    rng = random.Random(2026)
    for ground in draw.GROUNDS:
        mascot = draw.to_array(draw.draw_mascot(ground, rng, 128))
        assert measure.mascot_distance(mascot) < measure.LIKE_MASCOT
    for figure in FIGURES:
        other = draw.to_array(draw.draw_scene(draw.Scene(figure, "purple", "white"), rng, 128))
        assert measure.mascot_distance(other) > measure.LIKE_MASCOT


def test_picture_change_is_zero_only_for_the_same_picture():
    rng = random.Random(4)
    circle, star = (
        draw.to_array(draw.draw_scene(draw.Scene(f, "red", "white"), rng, 128)) for f in ("circle", "star")
    )
    assert measure.picture_change(circle, circle) == 0
    assert measure.picture_change(circle, star) > 0.1
