"""What the dataset room tells of pictures is what the trainer does with them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from app.dataset.room import as_json, settings_for_pictures
from tests.app.dataset.conftest import Desk
from trainer.data.pixels import fitted, load_pixels, resize_pixels
from trainer.plan.inputs import read_inputs


def named(room, name):
    return next(one for one in room.pictures if one.path.name == name)


def test_the_crop_that_is_drawn_is_what_the_trainer_cuts(desk: Desk):
    path = desk.picture("10_cat/a.png", size=(150, 64))
    room = desk.room()
    [fit] = [room.fits[at] for at in named(room, "a.png").fits]
    shown = as_json(room)["fits"][0]
    left, top = shown["corner"]
    wide, high = shown["bucket"]
    scaled = resize_pixels(load_pixels(path), tuple(shown["resized"]))
    assert (scaled[top : top + high, left : left + wide] == fitted(path, fit)).all()


def test_a_picture_on_its_side_is_told_upright(desk: Desk):
    path = desk.data / "10_cat" / "a.jpg"
    path.parent.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (90, 60)).save(path, exif=exif)
    picture = named(desk.room(), "a.jpg")
    assert (picture.width, picture.height) == (60, 90)


def test_repeats_words_captions_and_other_endings_are_told(desk: Desk):
    desk.picture("7_black cat/a.png", "one\ntwo")
    desk.picture("7_black cat/b.png", "mine", ending=".caption")
    desk.picture("0_left out/c.png")
    desk.picture("loose/d.png")
    room = desk.room()
    assert [(one.repeats, one.words) for one in room.folders] == [(7, "black cat")]
    assert (named(room, "a.png").caption, named(room, "b.png").caption) == ("one", "")
    assert (named(room, "a.png").others, named(room, "b.png").others) == ((), (".caption",))
    assert {(name, reason) for name, reason, _ in room.left_out} == {
        ("0_left out", "zero_repeats"), ("loose", "no_number"),
    }  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2])
def test_the_pictures_that_a_run_keeps_back_are_marked(desk: Desk, seed: int):
    for number in range(8):
        desk.picture(f"10_cat/{number}.png")
    desk.values |= {"validation_split": 0.25, "validation_seed": seed}
    judging = read_inputs(settings_for_pictures(desk.values, desk.roots)).plan().judging
    marked = [f"10_cat/{one['name']}" for one in as_json(desk.room())["pictures"] if one.get("held_out")]
    assert judging is not None
    assert (marked, len(marked)) == ([*judging.held_out], 2)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"x" * 40])
def test_what_cannot_be_read_is_among_the_pictures_and_said(desk: Desk, content: bytes):
    desk.picture("10_cat/a.png")
    (desk.data / "10_cat" / "b.png").write_bytes(content)
    assert named(desk.room(), "b.png").unreadable
    assert not named(desk.room(), "a.png").unreadable


def test_a_picture_of_two_datasets_is_one_with_two_buckets(desk: Desk):
    folder = desk.picture("pictures/a.png", "x", size=(300, 200)).parent
    text = "\n".join(
        f"[[datasets]]\nresolution = {side}\n[[datasets.subsets]]\nimage_dir = '{folder}'\nnum_repeats = 3"
        for side in (64, 128)
    )
    (desk.data / "set.toml").write_text(text, encoding="utf-8")
    desk.values |= {"dataset_config": str(desk.data / "set.toml"), "bucket_no_upscale": False}
    room = desk.room()
    [picture] = room.pictures
    assert len({room.fits[at].bucket for at in picture.fits}) == 2


@pytest.mark.parametrize("no_upscale", [True, False])
@pytest.mark.parametrize(("size", "small"), [((64, 64), False), ((60, 62), False), ((40, 40), True)])
def test_pictures_with_too_few_pixels_are_told_enlarged_or_not(desk: Desk, no_upscale, size, small):
    desk.picture("10_cat/a.png", size=size)
    desk.values |= {"bucket_no_upscale": no_upscale, "max_bucket_reso": 1024}
    assert (desk.room().pictures[0].small > 0) is small


def test_sizes_that_are_none_leave_the_pictures(desk: Desk):
    desk.picture("10_cat/a.png")
    desk.values["max_resolution"] = "large"
    [picture] = desk.room().pictures
    assert picture.fits == ()


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_links_out_of_the_folders_are_named_and_not_shown(desk: Desk, tmp_path: Path):
    secret = tmp_path / "secret"
    Image.new("RGB", (64, 64)).save(tmp_path / "out.png")
    (tmp_path / "out.txt").write_text("secret words", encoding="utf-8")
    desk.picture("10_cat/a.png")
    for name in ("out.png", "out.txt"):
        (desk.data / "10_cat" / name).symlink_to(tmp_path / name)
    (secret / "10_dog").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(secret / "10_dog" / "b.png")
    (desk.data / "10_dog").symlink_to(secret / "10_dog")
    told = as_json(desk.room())
    shown = {one["name"]: one for one in told["pictures"]}
    assert "stamp" in shown["a.png"]
    for name in ("out.png", "b.png"):
        assert "stamp" not in shown[name]
    assert "secret words" not in str(told)
    assert "error" in desk.write(out="mine")
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == "secret words"


@pytest.mark.parametrize(
    "name", ["a b.png", "ねこ😺.png", "10% #1 &c.png", "-rf.png", "a.b.c.png", "'q'.png"]
)
def test_hostile_names_are_pictures_like_others(desk: Desk, name: str):
    desk.picture(f"10_cat/{name}", "old")
    picture = named(desk.room(), name)
    assert picture.caption == "old"
    assert desk.write(**{Path(name).stem: "new"})["count"] == 1
    assert named(desk.room(), name).caption == "new"


def test_a_folder_outside_is_refused_in_a_sentence(desk: Desk, tmp_path: Path):
    desk.values["train_data_dir"] = str(tmp_path)
    assert "outside" in desk.ask("room")["error"]["what"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="everything may be read")
def test_a_folder_that_may_not_be_read_is_told(desk: Desk):
    path = desk.picture("10_cat/a.png").parent
    path.chmod(0)
    try:
        assert ("10_cat", "no_access", 0) in desk.room().left_out
    finally:
        path.chmod(0o700)
