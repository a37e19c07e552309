"""Pictures into the folder layout: what is made can be trained on, originals stay, nothing is replaced."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.data.folders import scan_folder
from trainer.errors import UserError
from trainer.tools.checks import check_values
from trainer.tools.forms.prepare import PREPARE
from trainer.tools.picture_copies import CopyMode, CopyOptions, Format
from trainer.tools.prepare import TrainingFolder, carry_out, preparation_of, training_folder_name


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Pictures as people have them: in folders, of one name twice, one lying on its side, one broken."""
    folder = tmp_path / "own"
    (folder / "more").mkdir(parents=True)
    for name, size in (("a.png", (60, 40)), ("more/a.jpg", (300, 200)), ("b.webp", (40, 40))):
        Image.new("RGB", size, "red").save(folder / name)
    (folder / "a.txt").write_text("sks cat, red", encoding="utf-8")
    side = Image.new("RGB", (80, 20), "blue")
    exif = side.getexif()
    exif[0x0112] = 6
    side.save(folder / "side.jpg", exif=exif)
    (folder / "broken.png").write_bytes(b"")
    return folder


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_result_is_what_training_reads(own: Path, tmp_path: Path) -> None:
    before = snapshot(own)
    preparation = preparation_of(
        tmp_path / "cat",
        [TrainingFolder(own, training_folder_name(7, instance_prompt="sks", class_prompt="cat"))],
        CopyOptions(),
    )
    assert not (tmp_path / "cat").exists(), "a plan makes nothing"
    assert [(path.name, why) for path, why in preparation.left_out] == [("broken.png", "empty")]
    assert carry_out(preparation) == []
    assert preparation.pictures == 4
    scan = scan_folder(tmp_path / "cat" / "img", ".txt")
    assert {(image.repeats, image.class_tokens) for image in scan.images} == {(7, "sks cat")}
    assert sorted(image.path.stem for image in scan.images) == ["a", "a-2", "b", "side"], "none is replaced"
    assert [image.caption for image in scan.images if image.path.name == "a.png"] == ["sks cat, red"]
    assert snapshot(own) == before
    assert {path.name for path in (tmp_path / "cat").iterdir()} == {"img", "reg", "log", "model"}


def test_again_it_adds_only_what_is_new(own: Path, tmp_path: Path) -> None:
    sources = [TrainingFolder(own, "1_x")]
    carry_out(preparation_of(tmp_path / "cat", sources, CopyOptions()))
    (tmp_path / "cat/img/1_x/a.txt").write_text("edited", encoding="utf-8")
    Image.new("RGB", (9, 9)).save(own / "new.png")
    again = preparation_of(tmp_path / "cat", sources, CopyOptions())
    assert [step.target.name for step in again.steps] == ["new.png"]
    carry_out(again)
    assert (tmp_path / "cat/img/1_x/a.txt").read_text(encoding="utf-8") == "edited"


def test_smaller_and_converted_copies_are_upright_and_keep_their_shape(own: Path, tmp_path: Path) -> None:
    carry_out(
        preparation_of(
            tmp_path / "cat", [TrainingFolder(own, "1_x")], CopyOptions(longest_side=50, format="webp")
        )
    )
    sizes = {}
    for path in (tmp_path / "cat/img/1_x").glob("*.webp"):
        with Image.open(path) as image:
            sizes[path.stem] = image.size
    assert sizes == {"a": (50, 33), "a-2": (50, 33), "b": (40, 40), "side": (12, 50)}


def test_links_take_no_room_and_captions_are_copies(own: Path, tmp_path: Path) -> None:
    carry_out(preparation_of(tmp_path / "cat", [TrainingFolder(own, "1_x")], CopyOptions(how="link")))
    made = tmp_path / "cat/img/1_x"
    assert (made / "a.png").samefile(own / "a.png")
    assert not (made / "a.txt").samefile(own / "a.txt"), "editing it must not change the original"


def test_regularisation_pictures_go_beside(own: Path, tmp_path: Path) -> None:
    sources = [
        TrainingFolder(own, "10_sks cat"),
        TrainingFolder(own / "more", training_folder_name(1, class_prompt="cat"), "reg"),
    ]
    carry_out(preparation_of(tmp_path / "cat", sources, CopyOptions()))
    assert [image.path.name for image in scan_folder(tmp_path / "cat/reg", ".txt", is_reg=True).images] == [
        "a.jpg"
    ]


def test_the_made_folder_inside_the_pictures_is_not_taken_again(own: Path) -> None:
    carry_out(preparation_of(own / "cat", [TrainingFolder(own, "1_x")], CopyOptions()))
    assert not preparation_of(own / "cat", [TrainingFolder(own, "1_x")], CopyOptions()).steps


@pytest.mark.parametrize(
    "word",
    ["a/b", "..\\x", "a:b", "what?", "end.", "two\nlines", "a\ttab", "zero\0", "un\u200bseen", "猫" * 80],
)
@pytest.mark.parametrize("setting", ["instance_prompt", "class_prompt"])
def test_words_that_cannot_stand_in_a_name_are_refused(setting: str, word: str) -> None:
    with pytest.raises(UserError) as refused:
        training_folder_name(1, **{setting: word})
    assert refused.value.setting == setting


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        preparation_of(tmp_path / "cat", [TrainingFolder(tmp_path, "1_x")], CopyOptions())
    assert (refused.value.message.code, refused.value.setting) == ("tools.prepare_no_pictures", "pictures")


def pictures_of(kind: str, folder: Path) -> None:
    """A whole picture, one that its kind of colours or its form makes odd, and one that is cut off inside."""
    folder.mkdir()
    plain = Image.radial_gradient("L").resize((60, 40))
    plain.convert("RGB").save(folder / "whole.png")
    noise = Image.effect_noise((300, 300), 90).convert("RGB")
    noise.save(folder / "damaged.png")
    data = bytearray((folder / "damaged.png").read_bytes())
    data[3000:3100] = bytes(100)
    (folder / "damaged.png").write_bytes(data)
    (folder / "damaged.txt").write_text("sks", encoding="utf-8")
    if kind == "CMYK":
        plain.convert("CMYK").save(folder / "odd.jpg", icc_profile=b"no profile of RGB")
    elif kind == "16 bit":
        plain.convert("I").point(lambda value: value * 257).convert("I;16").save(folder / "odd.png")
    elif kind == "animation":
        plain.convert("RGB").save(
            folder / "odd.webp", save_all=True, append_images=[Image.new("RGB", (60, 40))]
        )
    elif kind == "wrong ending":
        plain.convert("RGB").save(folder / "odd.bmp")
        (folder / "odd.bmp").rename(folder / "odd.jpg")
    elif kind == "too wide":
        Image.new("RGB", (16_500, 2)).save(folder / "odd.png")
    else:
        plain.convert(kind).save(folder / "odd.png")


@pytest.mark.parametrize("format_", ["png", "jpg", "webp"])
@pytest.mark.parametrize(
    "kind", ["CMYK", "16 bit", "animation", "wrong ending", "too wide", "1", "L", "LA", "P", "RGBA"]
)
def test_each_kind_of_picture_can_be_drawn_and_a_damaged_one_is_left_out(
    kind: str, format_: Format, tmp_path: Path
) -> None:
    pictures_of(kind, tmp_path / "own")
    before = snapshot(tmp_path / "own")
    preparation = preparation_of(
        tmp_path / "cat", [TrainingFolder(tmp_path / "own", "1_x")], CopyOptions(format=format_)
    )
    assert [path.name for path in carry_out(preparation)] == ["damaged.png"]
    made = tmp_path / "cat/img/1_x"
    assert {path.name for path in made.iterdir()} == {f"whole.{format_}", f"odd.{format_}"}
    with Image.open(made / f"odd.{format_}") as image:
        assert image.mode in {"RGB", "RGBA"}
        assert not image.info.get("icc_profile")
        if kind not in {"1", "too wide"}:
            grey = np.asarray(image.convert("L"))
            assert grey[20, 30] < 40, "as dark as the picture is"
            assert grey[1, 1] > 180
    assert snapshot(tmp_path / "own") == before


def test_pictures_of_kinds_that_are_not_read_are_told(own: Path, tmp_path: Path) -> None:
    for name in ("phone.heic", "more/phone.HEIC", "old.gif", ".hidden.gif"):
        (own / name).write_bytes(b"x")
    preparation = preparation_of(tmp_path / "cat", [TrainingFolder(own, "1_x")], CopyOptions())
    assert preparation.not_read == ((own, [".gif (1)", ".heic (2)"]),)
    (tmp_path / "phone").mkdir()
    (tmp_path / "phone" / "a.heic").write_bytes(b"x")
    with pytest.raises(UserError) as refused:
        preparation_of(tmp_path / "cat", [TrainingFolder(tmp_path / "phone", "1_x")], CopyOptions())
    assert refused.value.message.code == "tools.pictures_of_other_kinds"


def test_an_edited_caption_stays_where_its_picture_is_made_anew(own: Path, tmp_path: Path) -> None:
    sources = [TrainingFolder(own, "1_x")]
    carry_out(preparation_of(tmp_path / "cat", sources, CopyOptions()))
    made = tmp_path / "cat/img/1_x"
    (made / "a.txt").write_text("edited", encoding="utf-8")
    (made / "a.png").unlink()
    carry_out(preparation_of(tmp_path / "cat", sources, CopyOptions()))
    assert (made / "a.png").exists()
    assert (made / "a.txt").read_text(encoding="utf-8") == "edited"


@pytest.mark.parametrize(("how", "format_"), [("copy", "as it is"), ("link", "as it is"), ("copy", "webp")])
def test_a_new_picture_of_an_old_name_takes_no_place_that_is_taken(
    own: Path, tmp_path: Path, how: CopyMode, format_: Format
) -> None:
    sources, options = [TrainingFolder(own, "1_x")], CopyOptions(how, format=format_)
    carry_out(preparation_of(tmp_path / "cat", sources, options))
    before = snapshot(tmp_path / "cat")
    (own / "A").mkdir()  # its pictures come first
    Image.new("RGB", (9, 9), "green").save(own / "A" / "b.webp")
    os.utime(own / "A" / "b.webp", (1, 1))
    again = preparation_of(tmp_path / "cat", sources, options)
    assert [(step.source, step.target.name) for step in again.steps] == [(own / "A" / "b.webp", "b-2.webp")]
    carry_out(again)
    assert before.items() <= snapshot(tmp_path / "cat").items()


@pytest.mark.parametrize("place", ["inside", "dotted", "linked", "same"])
def test_what_was_made_is_never_taken_for_an_original(own: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "link").symlink_to(own)
    folder = tmp_path / "link" if place == "linked" else own
    root = {"dotted": own / "more" / ".." / "cat", "same": own}.get(place, own / "cat")
    for count in (4, 0):
        preparation = preparation_of(root, [TrainingFolder(folder, "1_x")], CopyOptions())
        assert preparation.pictures == count
        carry_out(preparation)


def test_links_that_lead_in_a_circle_are_followed_once(own: Path, tmp_path: Path) -> None:
    (own / "self").symlink_to(own)
    (own / "more" / "up").symlink_to(own)
    (own / "again").symlink_to(own / "more")
    preparation = preparation_of(tmp_path / "cat", [TrainingFolder(own, "1_x")], CopyOptions())
    assert preparation.pictures == 4


def test_a_link_of_a_link_is_a_link_to_the_picture(own: Path, tmp_path: Path) -> None:
    (own / "z.png").symlink_to("a.png")
    carry_out(preparation_of(tmp_path / "cat", [TrainingFolder(own, "1_x")], CopyOptions(how="link")))
    made = tmp_path / "cat/img/1_x/z.png"
    assert not made.is_symlink()
    assert made.samefile(own / "a.png")


def test_regularisation_pictures_below_the_others_are_no_training_images(own: Path, tmp_path: Path) -> None:
    sources = [TrainingFolder(own, "10_sks cat"), TrainingFolder(own / "more", "1_cat", "reg")]
    preparation = preparation_of(tmp_path / "cat", sources, CopyOptions())
    assert [step.source.name for step in preparation.steps if "img" in step.target.parts] == [
        "a.png", "a.txt", "b.webp", "side.jpg",
    ]  # fmt: skip


def codes(own: Path, root: Path, **values: object) -> tuple[list[str], list[str]]:
    """Codes of the problems that the form tells, and of the lines of its dry run."""
    learned = {"pictures": str(own), "instance_prompt": "x", "repeats": 1, "output": str(root)}
    form, problems = check_values(PREPARE, {**learned, **values})
    assert form is not None
    assert PREPARE.preview is not None
    return [problem.code for problem in problems], [line.code for line in PREPARE.preview(form)]


@pytest.mark.parametrize(("how", "format_"), [("copy", "as it is"), ("link", "as it is"), ("copy", "jpg")])
def test_its_own_copies_are_told_as_there_and_no_name_as_taken(
    own: Path, tmp_path: Path, how: CopyMode, format_: Format
) -> None:
    root, options = tmp_path / "cat", CopyOptions(how, 50, format=format_)
    carry_out(preparation_of(root, [TrainingFolder(own, "1_x")], options))
    before = snapshot(tmp_path)
    again = preparation_of(root, [TrainingFolder(own, "1_x")], options)
    assert (again.steps, len(again.there)) == ((), 4)
    assert [why for _, why in again.left_out] == ["empty"]
    carry_out(again)
    assert snapshot(tmp_path) == before
    problems, lines = codes(own, root, how=how, longest_side=50, format=format_)
    assert "tools.prepare_all_there" in problems
    assert (lines.count("tools.prepare_there"), "tools.prepare_taken" in lines) == (4, False)


def of_one_time(folder: Path, time: float) -> None:
    """As unpacked from an archive, or copied by a program that keeps no times."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (time, time))


@pytest.mark.parametrize("format_", ["as it is", "png"])
def test_copies_are_known_by_what_is_in_them(tmp_path: Path, format_: Format) -> None:
    own, root = tmp_path / "own", tmp_path / "cat"
    for number, colour in enumerate(("red", "green", "blue")):
        (own / f"{number}").mkdir(parents=True)
        Image.new("RGB", (40, 30), colour).save(own / f"{number}" / "same.bmp")
    of_one_time(own, 1e9)
    sources, options = [TrainingFolder(own, "1_x")], CopyOptions(format=format_)
    carry_out(preparation_of(root, sources, options))
    of_one_time(root, 2e9)
    assert not preparation_of(root, sources, options).steps, "their times are lost"
    of_one_time(root, 1e9)
    (own / "-").mkdir()  # comes first, with the time, size and name of the others
    Image.new("RGB", (40, 30), "white").save(own / "-" / "same.bmp")
    of_one_time(own, 1e9)
    again = preparation_of(root, sources, options)
    assert [step.source for step in again.steps] == [own / "-" / "same.bmp"]
    assert len(again.there) == 3


@pytest.mark.parametrize(("later", "fits"), [(0.0, True), (0.3, False)])
def test_a_picture_saved_anew_a_moment_later_is_no_copy(tmp_path: Path, later: float, fits: bool) -> None:
    own, root, time = tmp_path / "own", tmp_path / "cat", 1e9 + 0.25
    own.mkdir()
    sources = [TrainingFolder(own, "1_x")]
    Image.new("RGB", (40, 30), "red").save(own / "a.bmp")
    of_one_time(own, time)
    carry_out(preparation_of(root, sources, CopyOptions()))
    Image.new("RGB", (40, 30), "red" if fits else "blue").save(own / "a.bmp")  # as many bytes
    of_one_time(own, time + later)
    again = preparation_of(root, sources, CopyOptions())
    assert (len(again.there), [why for _, why in again.left_out]) == ((1, []) if fits else (0, ["taken"]))


def test_copies_made_with_other_settings_are_told_as_taken_names(own: Path, tmp_path: Path) -> None:
    root = tmp_path / "cat"
    carry_out(preparation_of(root, [TrainingFolder(own, "1_x")], CopyOptions(longest_side=50)))
    again = preparation_of(root, [TrainingFolder(own, "1_x")], CopyOptions(longest_side=30))
    assert again.there == ()
    assert [why for _, why in again.left_out].count("taken") == 4
    problems, lines = codes(own, root, longest_side=30)
    assert "tools.prepare_taken_names" in problems
    assert "tools.prepare_all_there" not in problems
    assert lines.count("tools.prepare_taken") == 4


def test_a_caption_that_came_later_is_added(own: Path, tmp_path: Path) -> None:
    sources = [TrainingFolder(own, "1_x")]
    carry_out(preparation_of(tmp_path / "cat", sources, CopyOptions()))
    (own / "b.txt").write_text("later", encoding="utf-8")
    carry_out(preparation_of(tmp_path / "cat", sources, CopyOptions()))
    assert (tmp_path / "cat/img/1_x/b.txt").read_text(encoding="utf-8") == "later"


@pytest.mark.parametrize("name", ["odd.webp", "odd.png"])
def test_an_animation_is_told_before_its_frames_are_lost(name: str, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    frames[0].save(own / name, save_all=True, append_images=frames[1:])
    frames[0].save(own / "still.webp")
    form, problems = check_values(
        PREPARE,
        {"pictures": str(own), "instance_prompt": "x", "output": str(tmp_path / "cat"), "format": "png"},
    )
    told = [problem for problem in problems if problem.code == "tools.prepare_animations"]
    assert [(problem.setting, problem.values["names"]) for problem in told] == [("pictures", [name])]
    assert form is not None
    assert PREPARE.preview is not None
    lines = [line.values["path"] for line in PREPARE.preview(form) if line.code == "tools.prepare_animation"]
    assert lines == [str(own / name)]
