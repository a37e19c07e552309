"""What is found out in the background: tokens, words in pieces, look-alikes."""

from __future__ import annotations

import random
import shutil

from PIL import Image, ImageDraw

from app.dataset import alike
from app.dataset.study import Study, told_of
from app.pictures import SIDES, Thumbs, forget_oldest
from tests.app.dataset.conftest import Desk


def scene(seed: int, size: int = 256) -> Image.Image:
    rng = random.Random(seed)
    picture = Image.new("RGB", (size, size), tuple(rng.randrange(256) for _ in range(3)))
    draw = ImageDraw.Draw(picture)
    for _ in range(9):
        x, y, wide = (rng.randrange(size) for _ in range(3))
        draw.ellipse((x, y, x + wide // 2, y + wide // 3), fill=tuple(rng.randrange(256) for _ in range(3)))
    return picture


def studied(desk: Desk) -> dict:
    room = desk.room()
    thumbs = Thumbs(desk.roots, desk.workspace / "views")
    study = Study(room, lambda path, stamp: thumbs.made(path, stamp, SIDES[1]))
    study.start()
    study.wait()
    names = [picture.path.name for picture in room.pictures]
    news = study.news(captions_known=False, seen=-1)
    told = {key: [{names[at] for at in group} for group in news[key]] for key in ("alike", "equal")}
    return {**news, **told, "unreadable": {names[at] for at in news["unreadable"]}}


def test_copies_resized_and_recompressed_are_alike_and_others_are_not(desk: Desk):
    folder = desk.data / "10_cat"
    folder.mkdir()
    for seed in range(24):
        scene(seed).save(folder / f"{seed:02}.png")
    scene(3).resize((190, 190)).save(folder / "small.jpg", quality=60)
    scene(3).crop((2, 2, 254, 254)).save(folder / "cropped.webp")
    shutil.copy(folder / "05.png", folder / "same.png")
    news = studied(desk)
    assert sorted(news["alike"], key=len) == [{"05.png", "same.png"}, {"03.png", "small.jpg", "cropped.webp"}]
    assert news["equal"] == [{"05.png", "same.png"}]
    assert (news["done"], news["total"]) == (27, 27)


def test_five_thousand_equal_looks_are_one_group():
    look = alike.look_at(scene(1))
    others = [alike.look_at(scene(seed)) for seed in range(2, 40)]
    found = alike.groups([look] * 5000 + others + [None])
    assert found == [list(range(5000))]
    assert alike.groups([]) == []


def test_a_plain_picture_is_not_like_a_plain_one_of_another_colour():
    looks = [alike.look_at(Image.new("RGB", (64, 64), colour)) for colour in ("white", "navy", "gold")]
    assert alike.groups(looks) == []


def test_a_long_caption_tells_what_is_cut_off_and_hard_words_are_named():
    told = told_of("momo, " + "red, " * 60 + "last", 75)
    assert told["tokens"] > 75
    assert told["cut"].endswith("last")
    assert told_of("ももちゃん, a cat, xqzjvk", 75)["words"].keys() == {"ももちゃん", "xqzjvk"}
    assert told_of("a photo of a dog, café", 75).keys() == {"tokens"}


def test_a_picture_whose_pixels_are_damaged_is_told(desk: Desk):
    path = desk.picture("10_cat/a.png", size=(200, 200))
    data = bytearray(path.read_bytes())
    data[60:120] = b"x" * 60
    path.write_bytes(bytes(data))
    assert studied(desk)["unreadable"] == {"a.png"}


def test_views_are_made_once_and_the_oldest_go(desk: Desk):
    path = desk.picture("10_cat/a.png")
    thumbs = Thumbs(desk.roots, desk.workspace / "views")
    data, tag = thumbs.get(str(path), SIDES[1]) or (b"", "")
    kept = list((desk.workspace / "views").glob("??/*.jpg"))
    assert [one.read_bytes() for one in kept] == [data]
    kept[0].write_bytes(b"kept")
    again = Thumbs(desk.roots, desk.workspace / "views")
    assert again.get(str(path), SIDES[1]) == (b"kept", tag)
    assert thumbs.get(str(path), 5000) is None
    forget_oldest(desk.workspace / "views", most=0)
    assert not list((desk.workspace / "views").glob("??/*.jpg"))
